//! What `kubectl arl` says where it needs no cluster: the help of each verb, and why something was not done. The texts are in golden/;
//! `make docs` writes them anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake_api;
mod lost;
mod places;
mod release;
#[cfg(target_os = "linux")]
mod terminal;
mod ui;
mod unread;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use arl_cli::command_line::Arguments;
use clap::CommandFactory;
use fake_api::Api;
use tempfile::TempDir;

/// The binary in an environment that says nothing, below `home`.
fn kubectl_arl(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-arl"));
    command.env_clear().env("HOME", home).env("COLUMNS", "100").current_dir(home).stdin(Stdio::null());
    command
}

/// A home with a kubeconfig of an API server that refuses.
fn home() -> (TempDir, String) {
    let (home, api) = home_and_api();
    (home, api.address.to_string())
}

fn home_and_api() -> (TempDir, Api) {
    let (home, api) = (tempfile::tempdir().unwrap(), Api::start());
    std::fs::create_dir(home.path().join(".kube")).unwrap();
    fake_api::kubeconfig(api.address, &home.path().join(".kube/config"));
    (home, api)
}

/// A call and what it says, as at a terminal.
fn transcript(home: &Path, line: &str) -> String {
    let Output { status, stdout, stderr } =
        kubectl_arl(home).args(line.split(' ').filter(|w| !w.is_empty())).output().unwrap();
    let mut text = format!("$ kubectl arl {line}\n{}", String::from_utf8(stdout).unwrap());
    for line in String::from_utf8(stderr).unwrap().lines() {
        text.extend([format!("! {line}").trim_end(), "\n"]);
    }
    text.extend(["[", &status.code().unwrap().to_string(), "]\n\n"]);
    text
}

/// Compares, or writes where UPDATE_DOCS is set.
fn keep(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/messages/golden").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, text).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "{} is not what is said: look at it, and run `make docs` if it is meant:\n{text}",
        path.display()
    );
}

fn keep_all(name: &str, lines: &[&str]) {
    let (home, address) = home();
    let text: String = lines.iter().map(|line| transcript(home.path(), line)).collect();
    keep(name, &text.replace(&address, "ADDRESS").replace(home.path().to_str().unwrap(), "HOME"));
}

#[test]
fn each_verb_has_its_help() {
    let home = tempfile::tempdir().unwrap();
    keep("help", &transcript(home.path(), ""));
    for verb in Arguments::command().get_subcommands() {
        let name = verb.get_name();
        let mut text = transcript(home.path(), &format!("{name} --help"));
        for action in verb.get_subcommands() {
            text += &transcript(home.path(), &format!("{name} {} --help", action.get_name()));
        }
        keep(&format!("help-{name}"), &text);
    }
}

#[test]
fn what_is_written_wrongly_is_said() {
    keep_all(
        "usage",
        &[
            "nosuch",
            "rum p -- true",
            "run",
            "run p",
            "run p true",
            "run p --nosuch -- true",
            "run p -e A -- true",
            "run p -t -- true",
            "release pool/p",
            "get sandboxes pool/p",
            "version -o wide",
            "fork s -c 0",
            "fork s -c 1000000000",
            "pool scale sandbox.arl.infra.io/p 1",
            "run p --timeout 5 -- true",
            "run p --cp-in nosuch -- true",
            "run p --task -i -- true",
            "get nosuch",
            "get -o nosuch",
            "get -A pools p",
            "cp a b",
            "wait p",
            "wait pod/p",
            "why bogus/p",
            "pool scale p -- -1",
            "pool create",
            "completion nosuch",
            "man",
            "man /dev/null",
        ],
    );
}

#[test]
fn an_empty_choice_does_not_choose_all() {
    let (home, _) = home();
    for arguments in [&["release", "-l", ""][..], &["release", "-l", " \t"], &["release", "--selector="]] {
        let done = kubectl_arl(home.path()).args(arguments).output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.code() == Some(125) && said.contains("it is empty"), "{arguments:?}: {said}");
    }
}

#[test]
fn what_no_run_can_be_called_is_refused() {
    let (home, _) = home();
    for run_id in ["a,b", "", "a b"] {
        let done = kubectl_arl(home.path()).args(["reap", run_id]).output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.code() == Some(125) && said.contains("no run can have the id"), "{run_id:?}: {said}");
    }
}

#[test]
fn a_cluster_that_is_not_there_is_said() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("no.yaml"), "a: [").unwrap();
    let unreachable = "127.0.0.1:1".parse().unwrap();
    fake_api::kubeconfig(unreachable, &home.path().join("unreachable"));
    let calls = [
        "get",
        "get --kubeconfig nosuch",
        "get --kubeconfig no.yaml",
        "get --kubeconfig unreachable --context nosuch",
        "get --kubeconfig unreachable",
        "run p --name s --kubeconfig unreachable -- true",
        "task wait t --kubeconfig unreachable",
        "logs -f t --kubeconfig unreachable",
        "wait pool/p --kubeconfig unreachable",
    ];
    let text: String = calls.iter().map(|line| transcript(home.path(), line)).collect();
    keep("cluster", &text.replace(home.path().to_str().unwrap(), "HOME"));
}

#[test]
fn what_is_not_there_is_said() {
    keep_all(
        "missing",
        &[
            "get",
            "get pools",
            "get sandboxes -l a=b",
            "get tasks -A",
            "get pools p",
            "get pools p q",
            "get pools warmpool.arl.infra.io/p",
            "exec s -- true",
            "shell s",
            "cp s:/x -",
            "ps s",
            "kill s 1",
            "release s",
            "release --all",
            "release -l a=b",
            "snapshot s",
            "fork s",
            "why p",
            "why pool/p",
            "why sbx/p",
            "logs t",
            "logs -f t",
            "task cancel t",
            "task wait t",
            "task run -f nosuch.yaml",
            "pool scale p 3",
            "pool roll p",
            "pool delete p q",
            "wait pool/p",
            "get -n bare",
            "run p --name s -n bare -- true",
        ],
    );
}

#[test]
fn a_namespace_that_is_not_there_is_said() {
    keep_all(
        "namespace",
        &[
            "get -n absent",
            "get pools p -n absent",
            "get pools -o json -n absent",
            "get tasks --watch -n absent",
            "top -n absent",
            "ui --no-browser -n absent",
            "run p --name s -n absent -- true",
            "claim p --name s -n absent",
            "exec s -n absent -- true",
            "cp s:/x - -n absent",
            "ps s -n absent",
            "kill s 1 -n absent",
            "snapshot s -n absent",
            "fork s -n absent",
            "release s -n absent",
            "release --all -n absent",
            "wait pool/p -n absent",
            "why p -n absent",
            "logs t -n absent",
            "logs -f t -n absent",
            "task wait t -n absent",
            "task cancel t -n absent",
            "pool create busybox:1 -n absent",
            "pool scale p 3 -n absent",
            "pool delete p -n absent",
            "report -n absent",
        ],
    );
}

#[test]
fn a_kind_that_was_defined_a_moment_ago_is_waited_for() {
    let (home, api) = home_and_api();
    for (line, expected) in [
        ("pool create python:3.9-slim -n late", "warmpool/python created"),
        ("run p -n late --wait 1s -- true", "Sandbox"),
        ("claim p -n late --wait 1s", "Sandbox"),
    ] {
        api.forget_kinds();
        let said = transcript(home.path(), line);
        assert!(said.contains(expected) && !said.contains("does not know the kind"), "{said}");
    }
}

#[test]
fn what_is_not_allowed_is_said() {
    keep_all(
        "refused",
        &[
            "get -n forbidden",
            "get pools --watch -n forbidden",
            "top -n forbidden",
            "why p -n forbidden",
            "wait pool/p -n forbidden",
            "run p --name s -n forbidden -- true",
            "exec s -n forbidden -- true",
            "release s -n forbidden",
            "release --all -n forbidden",
            "logs t -n forbidden",
            "logs -f t -n forbidden",
            "task cancel t -n forbidden",
            "pool create busybox:1 -n forbidden",
            "pool scale p 3 -n forbidden",
            "pool delete p -n forbidden",
            "get -n expired",
            "run p --name s -n expired -- true",
            "logs -f t -n expired",
        ],
    );
}
