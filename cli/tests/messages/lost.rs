//! An API server that goes away while something is waited for.

use std::{fs::File, process::Stdio};

use crate::{home_and_api, kubectl_arl, unread::eventually};

#[test]
fn who_waits_is_told_that_nothing_new_is_seen() {
    let (home, api) = home_and_api();
    let calls = [("wait", &["task", "wait", "t"][..]), ("get", &["get", "tasks", "--watch"])];
    let mut children = calls.map(|(name, arguments)| {
        let err = File::create(home.path().join(name)).unwrap();
        let mut command = kubectl_arl(home.path());
        command.args(arguments).args(["-n", "silent"]).stdout(Stdio::null()).stderr(err).spawn().unwrap()
    });
    // That of `get` asks first whether it may.
    eventually("both watch", || (api.watches() >= 3).then_some(()));
    api.lose();
    for (name, what) in [("wait", "Task t"), ("get", "tasks")] {
        let expected = format!("waiting: cannot watch {what}: ");
        eventually(&expected, || {
            std::fs::read_to_string(home.path().join(name)).unwrap().contains(&expected).then_some(())
        });
    }
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn who_needs_a_pod_that_does_not_answer_is_told_so_once() {
    let (home, _api) = home_and_api();
    let here = home.path().join("here").display().to_string();
    let calls = [
        ("exec", &["exec", "s", "-n", "silent", "--", "true"][..]),
        ("ps", &["ps", "s", "-n", "silent"]),
        ("kill", &["kill", "s", "--all", "-n", "silent"]),
        ("cp", &["cp", "s:/x", &here, "-n", "silent"]),
        ("snapshot", &["snapshot", "s", "-n", "silent"]),
    ];
    let mut children = calls.map(|(name, arguments)| {
        let err = File::create(home.path().join(name)).unwrap();
        let mut command = kubectl_arl(home.path());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(err).spawn().unwrap()
    });
    for (name, _) in calls {
        let expected = "waiting: nothing answers in pod p yet; `kubectl arl why -n silent pod/p` says more\n";
        eventually(&format!("{name}: {expected}"), || {
            (std::fs::read_to_string(home.path().join(name)).unwrap() == expected).then_some(())
        });
    }
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
