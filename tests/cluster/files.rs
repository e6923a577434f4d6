//! FilePatch writes exactly the content, and nothing but it.

use arl_crds::{StepState, Task, TaskState};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::cases::{By, CASES, CONTENT, USER};
use crate::harness::World;
use crate::harness::make::{IMAGE, command, file, in_folder, message, reason, shell, status, template};
use crate::harness::wait::state;

fn relative(path: &str, folder: &str, content: &str) -> Value {
    let mut step = file("write", path, content);
    step["workDir"] = json!(folder);
    step
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_written_exactly() {
    let world = World::with_sandbox("content").await;
    let large = "0123456789abcde\n".repeat(16 * 1024);
    for (name, content) in [
        ("plain", "line\nline\n"),
        ("no-newline", "no newline at the end"),
        ("empty", ""),
        ("newlines", "\n\n\n"),
        ("text", "\u{fc}\u{4e2d}\u{1f980}\r\n\ttab"),
        ("shell", "'\"`$HOME$(id)\\n\\\\%s\nEOF\nEOF\n"),
        ("control", "\u{1}\u{7f}\u{1b}[0m"),
    ] {
        let path = format!("/workspace/{name}");
        let steps =
            json!([file("write", &path, content), shell("read", &format!("printf '['; cat {path}; printf ']'"))]);
        let task = world.run(name, "s", steps).await;
        assert_eq!(status(&task).stdout, Some(format!("[{content}]")), "{name}: {:?}", task.status);
        assert_eq!(status(&task).steps[0].exit_code, None, "a file has no exit code");
    }
    let task = world.run("large", "s", json!([file("write", "/workspace/large", &large)])).await;
    let counted = world.output("count", "s", "wc -c </workspace/large; uniq /workspace/large").await;
    assert_eq!(counted, format!("{}\n0123456789abcde\n", large.len()), "{}", message(&task));
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_are_kept_and_parents_are_made() {
    let world = World::with_sandbox("modes").await;
    let steps = json!([
        shell("make", "echo old >/workspace/tool; chmod 0755 /workspace/tool"),
        file("replace", "/workspace/tool", "#!/bin/sh\necho new\n"),
        file("create", "/workspace/a/b c/d", "deep"),
        command("run", &["/workspace/tool"]),
    ]);
    let task = world.run("t", "s", steps).await;
    assert_eq!(status(&task).stdout.as_deref(), Some("new\n"), "{:?}", task.status);
    let modes =
        world.output("modes", "s", "cd /workspace; stat -c %a tool 'a/b c/d'; cat 'a/b c/d'; ls -A . 'a/b c'").await;
    assert_eq!(modes, "755\n644\ndeep.:\na\ntool\n\na/b c:\nd\n", "no temporary file is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relative_path_starts_at_the_work_dir() {
    let world = World::with_sandbox("relative").await;
    let steps = json!([
        shell("make", "mkdir /workspace/in"),
        relative("x/y", "/workspace/in", "relative"),
        shell("read", "cat /workspace/in/x/y"),
    ]);
    let task = world.run("t", "s", steps).await;
    assert_eq!(status(&task).stdout.as_deref(), Some("relative"), "{:?}", task.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_fails_with_the_cause() {
    let world = World::with_sandbox("unwritable").await;
    for (name, path) in [("folder", "/workspace"), ("below-a-file", "/etc/passwd/x"), ("read-only", "/proc/nosuch/x")] {
        let task = world.run(name, "s", json!([file("write", path, "x"), shell("after", "true")])).await;
        assert_eq!((state(&task), reason(&task)), (Some(TaskState::Failed), "StepFailed"), "{name}: {:?}", task.status);
        let steps = &status(&task).steps;
        assert_eq!((steps[0].state, steps[1].state), (StepState::Failed, StepState::Skipped), "{name}");
        let said = steps[0].message.as_deref().unwrap_or_default();
        assert!(said.contains(path), "{name}: the message names the path: {said:?}");
        assert_eq!(status(&task).exit_code, None, "{name}: no command ran");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_content_than_a_task_may_have_runs_nothing() {
    let world = World::with_sandbox("too-large").await;
    let half = "x".repeat(300 * 1024);
    let steps = json!([shell("first", "echo ran >/workspace/ran"), file("a", "/a", &half), file("b", "/b", &half)]);
    let task = world.run("t", "s", steps).await;
    assert_eq!(reason(&task), "InvalidSpec", "{}", message(&task));
    let ran = world.output("look", "s", "ls /workspace").await;
    assert_eq!(ran, "");
}

/// A pod in which everything is as it is before the table's cases: root prepares it.
fn prepared(by: By) -> Value {
    let before = CASES.iter().map(|case| {
        let (name, before) = (case.name, case.before);
        format!("mkdir -m 777 {name}; (cd {name}\n{before}\n)\n")
    });
    let before = "cd /cases; echo a longer old content >mounted/f; chmod 666 mounted/f\n".to_owned()
        + &before.collect::<String>();
    let mount = |volume: &str, path: &str| json!({"name": volume, "mountPath": path});
    let mut template = template();
    let spec = &mut template["spec"];
    spec["initContainers"] = json!([{
        "name": "prepare", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", before],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [mount("cases", "/cases"), mount("small", "/cases/small"), mount("parts", "/cases/mounted")],
    }]);
    spec["volumes"] = json!([
        {"name": "cases", "emptyDir": {}},
        {"name": "parts", "emptyDir": {}},
        {"name": "small", "emptyDir": {"medium": "Memory", "sizeLimit": "64Ki"}},
        {"name": "readonly", "configMap": {"name": "readonly", "defaultMode": 0o666}},
    ]);
    let mut mounted = mount("parts", "/cases/mounted/f");
    mounted["subPath"] = json!("f");
    let executor = &mut spec["containers"][0];
    executor["volumeMounts"] = json!([
        mount("cases", "/cases"),
        mount("small", "/cases/small"),
        mounted,
        mount("readonly", "/cases/readonly")
    ]);
    if by == By::User {
        executor["securityContext"] = json!({"runAsUser": USER, "runAsGroup": USER});
    }
    template
}

async fn every_case(name: &str, mode: &str, by: By) {
    let world = World::new(name).await;
    let readonly = json!({"metadata": {"name": "readonly"}, "data": {"f": "old"}});
    let readonly: ConfigMap = serde_json::from_value(readonly).unwrap();
    world.api().create(&PostParams::default(), &readonly).await.unwrap();
    match mode {
        "Exec" => world.exec_pool("p", &prepared(by)).await,
        _ => world.pool_of("p", 1, &prepared(by)).await,
    }
    world.sandbox("s", "p").await;
    world.pod_of("s").await;
    let cases: Vec<_> = CASES.iter().filter(|case| case.by.contains(&by)).collect();
    for case in &cases {
        let step = in_folder(file("a", case.path, CONTENT), &format!("/cases/{}", case.name));
        world.task(case.name, "s", json!([step])).await;
    }
    let tasks = world.all_finished(cases.len()).await;
    let after = |name: &str, after: &str| format!("echo '== {name}'; (cd /cases/{name}; {after}) 2>&1\n");
    let script: String = cases.iter().map(|case| after(case.name, case.after)).collect();
    let left = world.output("after", "s", &format!("{script}true")).await + "== ";
    let wrong: Vec<_> = cases
        .iter()
        .filter_map(|case| {
            let outcome = outcome(tasks.iter().find(|task| task.name_any() == case.name).unwrap());
            let is_right = case.says(&outcome) && left.contains(&format!("== {}\n{}== ", case.name, case.shows));
            (!is_right).then(|| format!("{}: {outcome:?}", case.name))
        })
        .collect();
    assert!(wrong.is_empty(), "{mode} {by:?}: {wrong:#?}\n{left}");
}

fn outcome(task: &Task) -> Result<(), String> {
    let step = &status(task).steps[0];
    match step.state {
        StepState::Succeeded => Ok(()),
        _ => Err(step.message.clone().unwrap_or_default()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_file_is_written_or_refused_by_the_agent_as_root() {
    every_case("files-agent-root", "Agent", By::Root).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_file_is_written_or_refused_by_the_agent_as_a_user() {
    every_case("files-agent-user", "Agent", By::User).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_file_is_written_or_refused_by_plain_exec_as_root() {
    every_case("files-exec-root", "Exec", By::Root).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_file_is_written_or_refused_by_plain_exec_as_a_user() {
    every_case("files-exec-user", "Exec", By::User).await;
}
