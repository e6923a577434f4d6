//! FilePatch in the agent, by the table that both modes keep to.

use std::{
    os::unix::{fs::MetadataExt, net::UnixListener},
    path::Path,
};

use arl_agent::message::{Action, Step, StepEnd};

use crate::{
    cases::{By, CASES, CONTENT, Case, no_chmod, scene::Scene},
    pod::{Pod, command, file, sh},
};

fn written(end: &StepEnd) -> Result<(), String> {
    match end {
        StepEnd::Written => Ok(()),
        StepEnd::NotWritten(message) => Err(message.clone()),
        other => panic!("{other:?}"),
    }
}

fn every_case(by: By, name: &str) {
    let Some(scene) = Scene::new(name) else { return };
    judge(&scene, &Pod::new(name), by, CASES.iter().filter(|case| case.by.contains(&by)));
}

fn judge<'a>(scene: &Scene, pod: &Pod, by: By, cases: impl Iterator<Item = &'a Case>) {
    let mut stream = pod.stream_of(scene.command(by, pod.path("agent").to_str().unwrap()));
    let judge = |case: &'a Case| {
        let action = Action::File { path: case.path.into(), content: CONTENT.into() };
        let work_dir = Some(scene.place(case).to_string_lossy().into_owned());
        let report = stream.run(case.name, vec![Step { action, work_dir, env: Vec::new() }]);
        scene.judge(case, by, &written(&report.steps[0].0))
    };
    let wrong: Vec<_> = cases.filter_map(judge).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_kind_of_file_is_written_or_refused_as_the_rule_says_by_root() {
    every_case(By::Root, "files-root");
}

#[test]
fn every_kind_of_file_is_written_or_refused_as_the_rule_says_by_a_user() {
    every_case(By::User, "files-user");
}

#[test]
fn files_are_written_where_chmod_is_refused() {
    for (by, name) in [(By::Root, "no-chmod-root"), (By::User, "no-chmod-user")] {
        let Some(scene) = Scene::new(name) else { return };
        let pod = Pod::new(name);
        no_chmod::run(|| judge(&scene, &pod, by, no_chmod::cases(by)));
    }
}

#[test]
fn a_socket_is_refused() {
    let pod = Pod::new("socket");
    let path = pod.path("s");
    let _listener = UnixListener::bind(&path).unwrap();
    let report = pod.stream().run("r", vec![file(&path, "x")]);
    let message = written(&report.steps[0].0).unwrap_err();
    assert!(message.contains("is a socket, not a file"), "{message}");
}

#[test]
fn a_program_that_runs_is_replaced() {
    let pod = Pod::new("busy");
    let path = pod.path("program");
    std::fs::copy("/bin/sleep", &path).unwrap();
    let mut running = std::process::Command::new(&path).arg("71060").spawn().unwrap();
    let report = pod.stream().run("r", vec![file(&path, "#!/bin/sh\necho new\n"), command(&[path.to_str().unwrap()])]);
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!((&report.steps[0].0, report.steps[1].1.as_str()), (&StepEnd::Written, "new\n"));
}

#[test]
fn what_a_killed_agent_left_over_is_in_nobodys_way() {
    let pod = Pod::new("leftover");
    let script = format!("for n in 0 1 2; do : >{}/.arl-$PPID-$n; done", pod.directory.display());
    let report = pod.stream().run("r", vec![sh(&script), file(&pod.path("f"), "x")]);
    assert_eq!(report.steps[1].0, StepEnd::Written);
    let left = std::fs::read_dir(&pod.directory).unwrap().flatten();
    assert_eq!(left.filter(|e| e.file_name().to_string_lossy().starts_with(".arl-")).count(), 3);
}

#[test]
fn a_file_in_place_keeps_its_inode_and_one_that_is_replaced_does_not() {
    let pod = Pod::new("inode");
    let path = pod.path("f");
    std::fs::write(&path, "old").unwrap();
    let before = inode(&path);
    assert_eq!(pod.stream().run("r", vec![file(&path, "new")]).steps[0].0, StepEnd::Written);
    assert_ne!(inode(&path), before, "whoever has the old file open goes on reading the old content");
}

fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().ino()
}

/// What a template renders where a value is unset.
#[test]
fn an_empty_work_dir_is_none() {
    let pod = Pod::new("unset");
    let path = pod.path("f");
    let steps = [sh("pwd"), file(&path, "x")].map(|step| Step { work_dir: Some(String::new()), ..step });
    let report = pod.stream().run("r", steps.to_vec());
    assert_eq!((&report.steps[0].0, &report.steps[1].0), (&StepEnd::Exited(0), &StepEnd::Written));
}
