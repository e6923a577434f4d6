//! What newcomers are told to paste goes on where an API server takes its time: what was just made has no status yet, and that of a
//! definition is null.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use crate::{DEFINITIONS, kind, markdown::pages, read, root};

/// A kubectl before an API server that was just started: each call fails once, and a wait for a definition fails at once.
const SLOW: &str = r#"#!/bin/sh
shift 2
echo "$*" >>calls
case $1 in
  wait) echo 'error: .status.conditions accessor error: <nil> is of the type <nil>, expected []interface{}' >&2; exit 1 ;;
esac
[ "$(grep -cxF -e "$*" calls)" -gt 1 ] || { echo 'Error from server: the server is currently unable to handle the request' >&2; exit 1; }
"#;

#[test]
fn a_slow_api_server_is_waited_for_until_the_kinds_can_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    for (path, text) in [("dev/apply-crds", read("dev/apply-crds").as_str()), (".cluster/kubectl", SLOW)] {
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        fs::write(at(path), text).unwrap();
        fs::set_permissions(at(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let done = Command::new(at("dev/apply-crds")).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let calls = fs::read_to_string(at("calls")).unwrap();
    for crd in DEFINITIONS.iter() {
        let used = format!("get {}.", crd["spec"]["names"]["plural"].as_str().unwrap());
        assert!(calls.lines().filter(|call| call.starts_with(&used)).count() > 1, "{used} is not in:\n{calls}");
    }
    for script in ["dev/demo", "Makefile"] {
        assert!(read(script).contains("dev/apply-crds"), "{script}");
    }
}

/// That kubectl describe shows outputs twice is no error.
#[test]
fn what_readers_were_surprised_by_is_said() {
    let page = read("docs/semantics.md").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        page.contains("They are copies of what that step has in `steps`, so that `kubectl describe` shows them twice")
    );
}

/// The conditions that people may wait for.
fn conditions(kind: &str) -> &'static [&'static str] {
    match kind {
        "WarmPool" | "Sandbox" => &["Ready"],
        "Task" => &["Finished", "Succeeded"],
        other => panic!("{other}"),
    }
}

/// What is wrong with a call of `kubectl wait`.
fn fault(call: &str) -> Option<String> {
    let words: Vec<&str> = call.split_whitespace().collect();
    let value = |flag: &str| words.iter().find_map(|word| word.strip_prefix(flag)?.strip_prefix('='));
    let Some(condition) = value("--for").and_then(|wanted| wanted.strip_prefix("condition=")) else {
        return Some(format!("it waits for no condition: {call}"));
    };
    // Of other kinds, such as definitions, the conditions may be null, which kubectl takes for an error.
    let named = |crd: &serde_json::Value| {
        let names = &crd["spec"]["names"];
        let plural = format!("{}.arl.infra.io/", names["plural"].as_str().unwrap());
        let singular = format!("{}/", names["singular"].as_str().unwrap());
        words.iter().any(|word| word.starts_with(&plural) || word.starts_with(&singular))
    };
    let Some(crd) = DEFINITIONS.iter().find(|crd| named(crd)) else {
        return Some(format!("it waits for none of our kinds: {call}"));
    };
    let is_there = conditions(kind(crd)).contains(&condition);
    (!is_there || value("--timeout").is_none()).then(|| format!("no such condition, or no timeout: {call}"))
}

fn waits(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| line.contains("kubectl") && line.contains(" wait ") && !line.trim_start().starts_with('#'))
}

#[test]
fn what_one_is_told_to_wait_for_is_a_condition_that_comes() {
    let pages = pages();
    let code = || pages.iter().flat_map(|page| page.blocks.iter().map(|(_, text)| text.as_str()));
    let calls: Vec<&str> = code().flat_map(waits).collect();
    assert!(calls.len() >= 5, "{calls:?}");
    let found: Vec<String> = calls.into_iter().filter_map(fault).collect();
    assert_eq!(found, Vec::<String>::new());
    let scripts = fs::read_dir(root().join("dev")).unwrap().map(|entry| entry.unwrap().path());
    for script in scripts.filter(|path| path.is_file()) {
        let text = fs::read_to_string(&script).unwrap();
        let is_told = |line: &str| !line.trim_start().starts_with('#') && line.contains("Established");
        assert!(!text.lines().any(is_told), "{} waits for what may be null", script.display());
    }
}

#[test]
fn the_check_of_waits_can_fail() {
    let good = "kubectl wait --for=condition=Finished tasks.arl.infra.io/run-python --timeout=300s";
    assert_eq!(waits(good).find_map(fault), None);
    for bad in [
        "kubectl wait --for=condition=Established crd/tasks.arl.infra.io --timeout=300s",
        "kubectl wait --for=condition=Complete tasks.arl.infra.io/t --timeout=300s",
        "kubectl wait --for=condition=Ready warmpools.arl.infra.io/p",
    ] {
        assert!(waits(bad).find_map(fault).is_some(), "{bad}");
    }
}
