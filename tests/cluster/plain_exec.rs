//! Pools without the agent: what plain exec cannot do is said, never guessed.

use arl_crds::TaskState;
use serde_json::json;

use crate::harness::World;
use crate::harness::make::{command, file, in_folder, message, reason, shell, status, template};
use crate::harness::wait::state;

/// An image of which nothing but one program can be found, which every cluster has: busybox, with an empty PATH.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_shell_a_step_that_needs_one_says_so() {
    let world = World::new("no-shell").await;
    let mut bare = template();
    let executor = &mut bare["spec"]["containers"][0];
    executor["command"] = json!(["/bin/busybox", "sleep", "2147483647"]);
    executor["env"] = json!([{"name": "PATH", "value": "/nosuch"}]);
    world.exec_pool("p", &bare).await;
    world.sandbox("s", "p").await;

    let plain = world.run("plain", "s", json!([command("a", &["/bin/busybox", "echo", "works"])])).await;
    assert_eq!(status(&plain).stdout.as_deref(), Some("works\n"), "{:?}", plain.status);
    let absent = world.run("absent", "s", json!([command("a", &["sh", "-c", "true"])])).await;
    assert_eq!((status(&absent).exit_code, reason(&absent)), (Some(127), "StepFailed"), "the user's own sh");
    assert!(
        message(&absent).contains("was not found: ") && message(&absent).contains("\"sh\""),
        "{}",
        message(&absent)
    );

    let mut with_env = command("a", &["/bin/busybox", "env"]);
    with_env["env"] = json!({"A": "b"});
    for (name, step, needed) in [
        ("env", with_env, "env and workDir"),
        ("folder", in_folder(command("a", &["/bin/busybox", "pwd"]), "/workspace"), "env and workDir"),
        ("file", file("a", "/workspace/f", "x"), "FilePatch"),
    ] {
        let task = world.run(name, "s", json!([step])).await;
        assert_eq!((status(&task).exit_code, reason(&task)), (None, "StartError"), "{name}: {:?}", task.status);
        let said = status(&task).steps[0].message.as_deref().unwrap();
        assert!(said.contains("no `sh`") && said.contains(needed) && said.contains("use a pool"), "{name}: {said}");
        assert_eq!(message(&task), said, "{name}");
    }
}

/// Nobody's program is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_working_directory_that_is_gone_is_named() {
    let world = World::new("exec-homeless").await;
    let mut home = template();
    home["spec"]["containers"][0]["workingDir"] = json!("/home/work");
    world.exec_pool("p", &home).await;
    world.sandbox("s", "p").await;
    assert_eq!(reason(&world.run("gone", "s", json!([command("a", &["rmdir", "/home/work"])])).await), "Succeeded");
    let mut with_env = command("a", &["pwd"]);
    with_env["env"] = json!({"A": "b"});
    for (name, step, code) in [
        ("plain", command("a", &["pwd"]), Some(126)),
        ("env", with_env, Some(126)),
        ("file", file("a", "/workspace/f", "x"), None),
    ] {
        let task = world.run(name, "s", json!([step])).await;
        assert_eq!((status(&task).exit_code, reason(&task)), (code, "StepFailed"), "{name}: {:?}", task.status);
        let said = message(&task);
        assert!(said.contains("working directory cannot be entered") && said.contains("/home/work"), "{name}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_ran_during_a_crash_is_never_run_again() {
    let mut world = World::new("interrupted").await;
    world.exec_pool("p", &template()).await;
    world.sandbox("s", "p").await;
    let steps = json!([shell("a", "echo ran >>/workspace/log; sleep 20"), shell("b", "echo b >>/workspace/log")]);
    world.task_with("t", &json!({"sandboxRef": "s", "timeout": "10m", "steps": steps})).await;
    world.running("t").await;
    let pod = world.pod_of("s").await;
    world.content_of(&pod, "/workspace/log").await;
    world.kill();
    world.task("next", "s", json!([shell("a", "cat /workspace/log")])).await;
    world.start_operator().await;
    let task = world.finished("t").await;
    assert_eq!((state(&task), reason(&task)), (Some(TaskState::Failed), "Interrupted"), "{:?}", task.status);
    assert_eq!(status(&task).exit_code, None, "nobody knows how it ended");
    let next = world.finished("next").await;
    assert_eq!(status(&next).stdout.as_deref(), Some("ran\n"), "once, and the queue goes on: {:?}", next.status);
    assert!(world.operator_is_alive());
}
