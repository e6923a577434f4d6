//! Calls at a terminal, which script(1) gives them: narrow ones, and full namespaces.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{fake_api, home, home_and_api, unread};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kubectl-arl");
const COLUMNS: usize = 40;
const ROWS: usize = 20;

/// A call at a terminal of this size; what is written to its input is typed.
fn at_terminal(home: &Path, line: &str) -> Child {
    let script = format!("stty cols {COLUMNS} rows {ROWS}; {PROGRAM} {line}");
    Command::new("script")
        .args(["-qec", &script, "/dev/null"])
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "xterm")
        .current_dir(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The text between control sequences; each that moves the cursor begins a line.
fn lines(printed: &str) -> Vec<String> {
    let mut text = String::new();
    let mut parts = printed.split("\u{1b}[");
    text += parts.next().unwrap_or_default();
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(part.len() - 1);
        if part[end..].starts_with('H') {
            text.push('\n');
        }
        text += &part[end + 1..];
    }
    text.lines().map(|line| line.trim_end_matches('\r').to_owned()).collect()
}

/// What `top` shows first.
fn frame(home: &Path, line: &str) -> Vec<String> {
    let mut child = at_terminal(home, line);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut printed = Vec::new();
    // A frame ends in what clears the rest.
    while !printed.ends_with(b"\x1b[J") {
        assert!(out.read_until(b'J', &mut printed).unwrap() > 0, "{}", String::from_utf8_lossy(&printed));
    }
    child.stdin.take().unwrap().write_all(b"q").unwrap();
    out.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(unread::code(&mut child), Some(0));
    lines(&String::from_utf8(printed).unwrap())
}

#[test]
fn a_terminal_of_forty_columns_is_enough() {
    let (home, _) = home();
    for (line, words) in [
        ("get -n wide", ["POOL", "Scaling", "StepFailed"]),
        ("get tasks -n wide", ["TASK", "Failed", "StepFailed"]),
        ("why pool/a-name-that-is-longer-than-others -n wide", ["ImagePullBackOff", "credentials", "What to do"]),
    ] {
        let mut child = at_terminal(home.path(), line);
        let mut printed = String::new();
        child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        assert_eq!(unread::code(&mut child), Some(0), "{printed}");
        let lines = lines(&printed);
        // Sentences are broken by the terminal.
        let is_narrow = lines.iter().all(|line| line.chars().count() <= COLUMNS);
        assert!(is_narrow || line.starts_with("why"), "{line}: {lines:#?}");
        let text = lines.iter().map(|line| line.trim()).collect::<String>();
        for word in words {
            let whole: String = word.split(' ').collect();
            assert!(text.replace(' ', "").contains(&whole), "{line} lacks {word}: {lines:#?}");
        }
    }
    let top = frame(home.path(), "top -n wide");
    assert!(top.iter().all(|line| line.chars().count() <= COLUMNS), "{top:#?}");
    assert!(top.iter().any(|line| line.contains("1 pool,")), "{top:#?}");
}

#[test]
fn a_screen_does_not_wait_for_what_is_measured() {
    let (home, _) = home();
    let top = frame(home.path(), "top -n silent");
    assert!(top.iter().any(|line| line.contains("0 pools")), "{top:#?}");
}

#[test]
fn ten_thousand_tasks_fill_one_screen() {
    let (home, _) = home();
    let top = frame(home.path(), "top -n many");
    assert!(top.len() <= ROWS + 2, "{top:#?}");
    let counted = format!("{} pending", fake_api::TASKS);
    let text = top.join(" ");
    assert!(text.contains(&counted) && text.contains(" more"), "{top:#?}");
}

#[test]
fn a_screen_that_may_be_old_says_so() {
    let (home, api) = home_and_api();
    let mut child = at_terminal(home.path(), "top");
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut until = |words: &str| {
        let mut printed = Vec::new();
        while !String::from_utf8_lossy(&printed).contains(words) {
            assert!(out.read_until(b'J', &mut printed).unwrap() > 0, "{}", String::from_utf8_lossy(&printed));
        }
    };
    until("0 pools");
    api.lose();
    until("not updated since");
    child.stdin.take().unwrap().write_all(b"q").unwrap();
    out.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(unread::code(&mut child), Some(0));
}

#[test]
fn a_terminal_that_is_closed_ends_us() {
    let (home, _) = home();
    // The shell outlives its terminal, to tell.
    let mut child =
        at_terminal(home.path(), &format!("version --client; trap : HUP; {PROGRAM} top 2>err; echo $? >code"));
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_until(b'J', &mut Vec::new()).unwrap();
    child.kill().unwrap();
    let code = unread::eventually("it has ended", || {
        std::fs::read_to_string(home.path().join("code")).ok().filter(|code| !code.is_empty())
    });
    assert_eq!(code, "129\n", "{}", std::fs::read_to_string(home.path().join("err")).unwrap());
    child.wait().unwrap();
}
