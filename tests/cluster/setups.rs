//! The setup of a Sandbox: steps that are run once, before it is ready and before its Tasks.

use arl_crds::{Sandbox, SandboxPhase, SetupStatus, Task, TaskState};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{manifest, reason, shell, status};
use crate::harness::wait::state;

/// Waits for a file of the workspace.
fn until(file: &str) -> String {
    format!("until [ -e /workspace/{file} ]; do sleep 0.1; done")
}

/// A world with a Sandbox `s` that is set up by these steps.
async fn set_up_by(name: &str, steps: Value, timeout: &str) -> World {
    let world = World::new(name).await;
    world.pool("p", 1).await;
    world.pool_is_ready("p", 1).await;
    let setup = json!({"steps": steps, "timeout": timeout});
    world.sandbox_with("s", &json!({"poolRef": "p", "keepAlive": true, "setup": setup})).await;
    world
}

/// A world whose Sandbox is set up until somebody touches `/workspace/go`; its pod, and the name of the Task that does it.
async fn in_the_middle(name: &str) -> (World, String, String) {
    let script = format!("echo once >>/workspace/log; {}", until("go"));
    let world = set_up_by(name, json!([shell("a", &script)]), "10m").await;
    let sandbox = world.one("s", "setup", |s: &Sandbox| setup(s).is_some()).await;
    let task = setup(&sandbox).unwrap().task.clone();
    world.running(&task).await;
    let pod = world.pod_of("s").await;
    world.content_of(&pod, "/workspace/log").await;
    (world, pod, task)
}

fn setup(sandbox: &Sandbox) -> Option<&SetupStatus> {
    sandbox.status.as_ref()?.setup.as_ref()
}

fn message(sandbox: &Sandbox) -> &str {
    let ready = sandbox.status.iter().flat_map(|status| &status.conditions).find(|c| c.type_ == "Ready");
    ready.map(|c| c.message.as_str()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_is_not_ready_and_tasks_wait_until_it_is_set_up() {
    let (world, pod, task) = in_the_middle("setup-waits").await;
    let sandbox = world.sandbox_reason("s", "SettingUp").await;
    assert_eq!(sandbox.status.as_ref().unwrap().phase, Some(SandboxPhase::Pending));
    assert!(message(&sandbox).contains(&task), "{}", message(&sandbox));
    world.task("t", "s", json!([shell("a", "cat /workspace/log")])).await;
    let waits =
        world.one("t", "SandboxNotReady", |t: &Task| t.status.is_some() && reason(t) == "SandboxNotReady").await;
    assert!(crate::harness::make::message(&waits).contains("is not set up yet"), "{:?}", waits.status);
    world.look_into(&pod, "touch /workspace/go").await;
    let t = world.finished("t").await;
    assert_eq!(status(&t).stdout.as_deref(), Some("once\n"), "{:?}", t.status);
    let sandbox = world.phase("s", SandboxPhase::Ready).await;
    let done = setup(&sandbox).unwrap();
    assert_eq!((done.state, done.exit_code, done.task.as_str()), (TaskState::Succeeded, Some(0), task.as_str()));
    // What is over is not missed, and is not done again.
    world.delete::<Task>(&task).await;
    assert_eq!(world.output("again", "s", "cat /workspace/log").await, "once\n");
    let sandbox = world.phase("s", SandboxPhase::Ready).await;
    assert_eq!(setup(&sandbox).map(|s| s.state), Some(TaskState::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_releases_the_sandbox_and_its_outputs_stay() {
    let steps =
        json!([shell("fine", "true"), shell("install", "echo no such package >&2; exit 3"), shell("never", "true")]);
    let world = set_up_by("setup-fails", steps, "30s").await;
    world.task("t", "s", json!([shell("a", "true")])).await;
    let sandbox = world.sandbox_reason("s", "SetupFailed").await;
    assert!(message(&sandbox).contains("step install, exit code 3"), "{}", message(&sandbox));
    let failed = setup(&sandbox).unwrap().clone();
    assert_eq!((failed.state, failed.reason.as_deref()), (TaskState::Failed, Some("StepFailed")));
    assert_eq!(sandbox.status.as_ref().unwrap().phase, Some(SandboxPhase::Released));
    world.gone::<Pod>(sandbox.status.as_ref().unwrap().pod_name.as_deref().unwrap()).await;
    let waited = world.finished("t").await;
    assert_eq!(reason(&waited), "SandboxReleased");
    let task = world.finished(&failed.task).await;
    assert_eq!(status(&task).steps[1].stderr.as_deref(), Some("no such package\n"));
    world.delete::<Sandbox>("s").await;
    world.gone::<Task>(&failed.task).await;
    world.finished("t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_ends_at_its_timeout() {
    let world = set_up_by("setup-timeout", json!([shell("a", "sleep 1000")]), "1500ms").await;
    let sandbox = world.sandbox_reason("s", "SetupFailed").await;
    let failed = setup(&sandbox).unwrap();
    assert_eq!((failed.reason.as_deref(), failed.exit_code), (Some("TimedOut"), Some(124)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_is_run_once_whatever_happens_to_the_operator() {
    let (mut world, pod, task) = in_the_middle("setup-restart").await;
    world.task("t", "s", json!([shell("a", "cat /workspace/log")])).await;
    world.kill();
    world.start_operator().await;
    world.one("t", "SandboxNotReady", |t: &Task| t.status.is_some() && reason(t) == "SandboxNotReady").await;
    world.look_into(&pod, "touch /workspace/go").await;
    assert_eq!(status(&world.finished("t").await).stdout.as_deref(), Some("once\n"));
    world.kill();
    world.delete::<Task>(&task).await;
    world.start_operator().await;
    assert_eq!(world.output("again", "s", "cat /workspace/log").await, "once\n");
    world.phase("s", SandboxPhase::Ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_that_is_deleted_in_the_middle_has_failed() {
    let (world, pod, task) = in_the_middle("setup-deleted").await;
    let object = world.one(&task, "it", |_: &Task| true).await;
    world.delete::<Task>(&task).await;
    let sandbox = world.sandbox_reason("s", "SetupFailed").await;
    assert_eq!(setup(&sandbox).map(|s| s.state), Some(TaskState::Failed));
    world.gone::<Pod>(&pod).await;
    // Somebody applies it again.
    let again = manifest("Task", &task, &serde_json::to_value(object.spec).unwrap());
    world.create(&again).await;
    assert_eq!(reason(&world.finished(&task).await), "SandboxReleased");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_deleted_while_it_is_set_up_takes_all_with_it() {
    let (world, pod, task) = in_the_middle("setup-gone").await;
    world.delete::<Sandbox>("s").await;
    world.gone::<Task>(&task).await;
    world.gone::<Pod>(&pod).await;
    // Another of its name is set up by itself.
    world.pool_is_ready("p", 1).await;
    world
        .sandbox_with(
            "s",
            &json!({"poolRef": "p", "keepAlive": true, "setup": {"steps": [shell("a", "echo new >/workspace/log")]}}),
        )
        .await;
    assert_eq!(world.output("t", "s", "cat /workspace/log").await, "new\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_is_no_task_that_a_sandbox_is_released_after() {
    let world = World::new("setup-once").await;
    world.pool("p", 1).await;
    world.pool_is_ready("p", 1).await;
    let setup = json!({"steps": [shell("a", "echo set >/workspace/log")]});
    world.sandbox_with("s", &json!({"poolRef": "p", "setup": setup})).await;
    world.phase("s", SandboxPhase::Ready).await;
    let task = world.run("t", "s", json!([shell("a", "cat /workspace/log")])).await;
    assert_eq!((state(&task), status(&task).stdout.as_deref()), (Some(TaskState::Succeeded), Some("set\n")));
    world.sandbox_reason("s", "TasksFinished").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_in_the_place_of_the_setup_is_said_to_be_in_the_way() {
    let world = World::without_operator("setup-place").await;
    world
        .sandbox_with("s", &json!({"poolRef": "p", "keepAlive": true, "setup": {"steps": [shell("a", "true")]}}))
        .await;
    let uid = world.one("s", "uid", |s: &Sandbox| s.metadata.uid.is_some()).await.metadata.uid.unwrap();
    let name = arl_crds::setup_task("s", &uid);
    world.task(&name, "s", json!([shell("another", "true")])).await;
    let mut world = world;
    world.start_operator().await;
    world.pool("p", 1).await;
    let stalled = |s: &Sandbox| {
        s.status.iter().flat_map(|s| &s.conditions).any(|c| c.type_ == "Stalled" && c.message.contains("delete it"))
    };
    world.one("s", "Stalled", stalled).await;
    world.delete::<Task>(&name).await;
    world.phase("s", SandboxPhase::Ready).await;
}
