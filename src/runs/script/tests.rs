#[path = "../../../tests/files/mod.rs"]
mod cases;

use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    process::{Command, Output, Stdio},
};

use cases::{By, CASES, CONTENT, Case, no_chmod, scene::Scene};
use serde_json::json;

use super::*;
use crate::runs::exec::said;

fn step(value: serde_json::Value) -> Step {
    serde_json::from_value(value).unwrap()
}

fn run(call: &Call, input: &str) -> Output {
    let arguments = &call.arguments;
    let mut child = Command::new(&arguments[0])
        .args(&arguments[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.as_mut().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn a_plain_command_needs_no_shell() {
    let plain = step(json!({"name": "a", "type": "Command", "command": ["prog", "$HOME", ""]}));
    let call = command(&plain, plain.command.as_ref().unwrap(), &BTreeMap::new());
    assert_eq!(call.arguments, ["prog", "$HOME", ""]);
    assert_eq!(call.shell, None);
}

#[test]
fn nothing_a_user_writes_is_read_as_shell() {
    let nasty = ["a b", "", "$HOME", "`id`", "x=y", "line\nline", "'\"", "-n", "*", "\u{1f980}"];
    let words: Vec<String> = ["printf", "<%s>"].into_iter().chain(nasty).map(str::to_owned).collect();
    let with_env =
        step(json!({"name": "a", "type": "Command", "command": words, "workDir": "/", "env": {"V": "a b\n$(id)='\""}}));
    let output = run(&command(&with_env, &words, &BTreeMap::new()), "");
    let expected = format!("<{}>", nasty.join("><"));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    let show: Vec<String> = ["printenv", "V"].map(str::to_owned).to_vec();
    assert_eq!(
        String::from_utf8(run(&command(&with_env, &show, &BTreeMap::new()), "").stdout).unwrap(),
        "a b\n$(id)='\"\n"
    );
}

/// The shells of this machine that an image may have as its `sh`, and what each is called as.
fn shells() -> Vec<(&'static str, std::path::PathBuf)> {
    let known = ["dash", "bash", "busybox"].into_iter().filter_map(|name| {
        let found = Command::new("sh").args(["-c", "command -v \"$0\"", name]).output().unwrap();
        let path = String::from_utf8(found.stdout).unwrap();
        found.status.success().then(|| (name, path.trim().into()))
    });
    known.collect()
}

#[test]
fn a_variable_of_any_name_arrives_as_it_is_whatever_the_shell() {
    let letters = ('a'..='z').chain('A'..='Z').map(|letter| letter.to_string());
    let kept = [
        "UID",
        "EUID",
        "PPID",
        "SHLVL",
        "OPTIND",
        "RANDOM",
        "LINENO",
        "PWD",
        "OLDPWD",
        "SHELLOPTS",
        "IFS",
        "_X",
        "LC_ALL",
        "LC_CTYPE",
        "PIPESTATUS",
        "BASH_ALIASES",
        "BASH_ARGC",
        "BASH_ARGV",
        "BASH_CMDS",
        "BASH_LINENO",
        "BASH_SOURCE",
        "BASH_COMPAT",
        "BASH_XTRACEFD",
    ];
    let names: Vec<String> = letters.chain(kept.map(str::to_owned)).collect();
    assert!(!shells().is_empty());
    for (shell, path) in shells() {
        for (name, value) in names.iter().flat_map(|name| ["0", "2", "3", "4", "5", "abc"].map(|value| (name, value))) {
            let words = ["printenv", name, "z"].map(str::to_owned);
            let with_env =
                step(json!({"name": "a", "type": "Command", "command": words, "env": {name: value, "z": "last"}}));
            let call = command(&with_env, &words, &BTreeMap::new());
            let mut as_sh = Command::new(&path);
            std::os::unix::process::CommandExt::arg0(&mut as_sh, "sh");
            let output = as_sh.args(&call.arguments[1..]).output().unwrap();
            let expected = if name == "z" { "last\nlast\n".to_owned() } else { format!("{value}\nlast\n") };
            let printed = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
            assert_eq!(printed, (expected, String::new()), "{shell}: {name}={value}");
        }
    }
}

#[test]
fn a_bad_directory_is_126_and_a_missing_program_127() {
    let code = |step: &Step| run(&command(step, step.command.as_ref().unwrap(), &BTreeMap::new()), "").status.code();
    let bad_directory = step(json!({"name": "a", "type": "Command", "command": ["true"], "workDir": "/no/such"}));
    let missing = step(json!({"name": "a", "type": "Command", "command": ["no-such-program"], "workDir": "/"}));
    assert_eq!((code(&bad_directory), code(&missing)), (Some(126), Some(127)));
}

#[test]
fn a_work_dir_is_what_it_says_even_where_cd_knows_a_short_form() {
    let base = std::env::temp_dir().join(format!("arl-script-dir-{}", std::process::id()));
    std::fs::create_dir_all(base.join("-")).unwrap();
    let dash = step(json!({"name": "a", "type": "Command", "command": ["pwd"], "workDir": "-"}));
    let unset = step(json!({"name": "a", "type": "Command", "command": ["pwd"], "workDir": ""}));
    let call = command(&dash, dash.command.as_ref().unwrap(), &BTreeMap::new());
    let output = Command::new("sh").args(&call.arguments[1..]).current_dir(&base).env("OLDPWD", "/").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}\n", base.join("-").display()));
    assert_eq!(command(&unset, unset.command.as_ref().unwrap(), &BTreeMap::new()).arguments, ["pwd"], "empty is unset");
    std::fs::remove_dir_all(&base).unwrap();
}

#[test]
fn files_are_written_whole_and_keep_their_mode() {
    let dir = std::env::temp_dir().join(format!("arl-script-{}", std::process::id()));
    let base = dir.to_str().unwrap();
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(dir.join("taken")).unwrap();
    let write = |path: &str, content: &str| {
        let patch = step(json!({"name": "a", "type": "FilePatch", "path": path, "content": content, "workDir": base}));
        run(&file_patch(&patch, path, content.len()), content)
    };
    let mode = |path: &str| std::fs::metadata(dir.join(path)).unwrap().permissions().mode() & 0o777;

    assert!(write("deep/er/$x 'y'.txt", "caf\u{e9}\nno newline at the end").status.success());
    assert_eq!(std::fs::read_to_string(dir.join("deep/er/$x 'y'.txt")).unwrap(), "caf\u{e9}\nno newline at the end");
    assert_eq!(mode("deep/er/$x 'y'.txt"), 0o644);

    std::fs::write(dir.join("tool"), "a longer old content").unwrap();
    std::fs::set_permissions(dir.join("tool"), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(write("tool", "new").status.success());
    assert_eq!((std::fs::read_to_string(dir.join("tool")).unwrap().as_str(), mode("tool")), ("new", 0o755));

    assert!(write("-dash", "").status.success());
    assert_eq!(std::fs::read_to_string(dir.join("-dash")).unwrap(), "");

    let refused = write("taken", "x");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("taken is a directory"));
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|n| n.to_str().unwrap().starts_with(".arl-")), "{left:?}");
    std::fs::remove_dir_all(&dir).unwrap();
}

fn write(scene: &Scene, case: &Case, by: By, path: &str) -> Result<(), String> {
    let step = json!({
        "name": "a", "type": "FilePatch", "path": case.path, "content": CONTENT, "workDir": scene.place(case),
    });
    let call = file_patch(&serde_json::from_value(step).unwrap(), case.path, CONTENT.len());
    let mut shell: Command = scene.command(by, "env");
    shell.arg(format!("PATH={path}")).args(&call.arguments);
    let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Leftovers open until the end, as in pods/exec.
    let mut input = child.stdin.take().unwrap();
    let _ = input.write_all(CONTENT.as_bytes());
    let output = child.wait_with_output().unwrap();
    drop(input);
    let says_so = output.stdout.ends_with(call.last_word.unwrap().as_bytes());
    assert_eq!(output.status.success(), says_so, "{}: {output:?}", case.path);
    if output.status.success() { Ok(()) } else { Err(said(&String::from_utf8_lossy(&output.stderr))) }
}

#[test]
fn a_program_that_runs_is_replaced() {
    for shell in ["dash", "bash", "busybox"] {
        let Some((scene, path)) = place(shell, By::Root, "busy") else { continue };
        let folder = scene.place(&CASES[0]);
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join("program");
        fs::copy("/bin/sleep", &program).unwrap();
        // Another test that starts a process meanwhile may have the file open for a moment.
        let mut running = loop {
            match Command::new(&program).arg("71061").spawn() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
                started => break started.unwrap(),
            }
        };
        let writes = step(json!({"name": "a", "type": "FilePatch", "path": program, "content": CONTENT}));
        let call = file_patch(&writes, program.to_str().unwrap(), CONTENT.len());
        let mut shell_of = scene.command(By::Root, "env");
        shell_of.arg(format!("PATH={path}")).args(&call.arguments);
        let mut child = shell_of.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(CONTENT.as_bytes());
        let output = child.wait_with_output().unwrap();
        running.kill().unwrap();
        running.wait().unwrap();
        assert!(output.status.success(), "{shell}: {output:?}");
        assert_eq!(fs::read_to_string(&program).unwrap(), CONTENT, "{shell}");
    }
}

/// As the container has it whose securityContext drops all capabilities: uid 0 is then a user as others.
#[test]
fn root_without_capabilities_replaces_no_file_that_it_may_not_write() {
    for shell in ["dash", "bash", "busybox"] {
        let Some((scene, path)) = place(shell, By::Root, "no-capabilities") else { continue };
        let case = &CASES[0];
        let protected = scene.place(case).join("protected");
        fs::create_dir_all(scene.place(case)).unwrap();
        fs::write(&protected, "old").unwrap();
        fs::set_permissions(&protected, fs::Permissions::from_mode(0o444)).unwrap();
        let writes = step(json!({"name": "a", "type": "FilePatch", "path": protected, "content": CONTENT}));
        let call = file_patch(&writes, protected.to_str().unwrap(), CONTENT.len());
        let mut shell_of = scene.command(By::Root, "setpriv");
        shell_of.args(["--bounding-set=-all", "--inh-caps=-all", "env", &format!("PATH={path}")]).args(&call.arguments);
        let mut child = shell_of.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(CONTENT.as_bytes());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("ermission denied; uid 0"), "{shell}: {output:?}");
        assert_eq!(fs::read_to_string(&protected).unwrap(), "old", "{shell}");
    }
}

/// A place for the cases, and the PATH of a shell, with busybox's tools too where it is busybox; nothing where it is not there.
fn place(shell: &str, by: By, name: &str) -> Option<(Scene, String)> {
    let program = ["/bin", "/usr/bin"].iter().map(|d| format!("{d}/{shell}")).find(|p| fs::exists(p).unwrap())?;
    let scene = Scene::new(&format!("{name}-{shell}-{by:?}"))?;
    let tools = scene.directory.join("tools");
    fs::create_dir(&tools).unwrap();
    let applets: &[&str] = &["cat", "chmod", "chown", "head", "id", "mkdir", "mv", "readlink", "rm", "stat", "wc"];
    let named = if shell == "busybox" { applets } else { &[] };
    for name in named.iter().chain(&["sh"]) {
        symlink(&program, tools.join(name)).unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", tools.display());
    Some((scene, path))
}

fn wrong(scene: &Scene, by: By, path: &str, cases: impl Iterator<Item = &'static Case>) -> Vec<String> {
    cases.filter_map(|case| scene.judge(case, by, &write(scene, case, by, path))).collect()
}

fn every_case(shell: &str) {
    for by in [By::Root, By::User] {
        let Some((scene, path)) = place(shell, by, "every") else { return };
        let wrong = wrong(&scene, by, &path, CASES.iter().filter(|case| case.by.contains(&by)));
        assert!(wrong.is_empty(), "{shell}: {wrong:#?}");
    }
}

#[test]
fn files_are_written_where_chmod_is_refused() {
    for shell in ["busybox", "dash", "bash"] {
        for by in [By::Root, By::User] {
            let Some((scene, path)) = place(shell, by, "no-chmod") else { continue };
            let wrong = no_chmod::run(|| wrong(&scene, by, &path, no_chmod::cases(by)));
            assert!(wrong.is_empty(), "{shell}: {wrong:#?}");
        }
    }
}

#[test]
fn every_kind_of_file_is_written_or_refused_as_the_rule_says_with_busybox() {
    every_case("busybox");
}

#[test]
fn every_kind_of_file_is_written_or_refused_as_the_rule_says_with_dash() {
    every_case("dash");
}

#[test]
fn every_kind_of_file_is_written_or_refused_as_the_rule_says_with_bash() {
    every_case("bash");
}
