//! What a cluster's own components do to everybody when they are started again. Every test here stops a part of the whole
//! cluster for some seconds, so they run one at a time and never beside others: `make test-disruption`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on ends by panicking"
)]
#![allow(clippy::needless_pass_by_value, reason = "json!(..) reads best in the place of the argument")]

#[path = "../cluster/harness/mod.rs"]
#[allow(dead_code, reason = "it serves tests/cluster too")]
mod harness;

use arl_crds::{Sandbox, SandboxPhase, TaskState, WarmPool};
use serde_json::json;

use harness::World;
use harness::make::{reason, shell, status};
use harness::setup::root;
use harness::wait::state;

/// Stops and starts a component of the cluster and waits until the cluster is well again.
async fn restart(component: &str) {
    let mut command = tokio::process::Command::new(root().join("dev/cluster/cluster"));
    let ended = command.args(["restart", component]).status().await.unwrap();
    assert!(ended.success(), "restarting {component}: {ended}");
}

/// Fails where the Sandbox does not have the same pod, in the same containers, as before.
fn assert_same_pod(before: &Sandbox, after: &Sandbox) {
    let held = |s: &Sandbox| s.status.as_ref().map(|s| (s.pod_uid.clone(), s.restarts));
    assert_eq!(held(before), held(after));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_of_the_api_server_everything_goes_on() {
    let mut world = World::new("api-server").await;
    world.pool("p", 1).await;
    world.pool("empty", 0).await;
    world.sandbox("s", "p").await;
    world.sandbox("waits", "empty").await;
    world.sandbox_reason("waits", "PoolEmpty").await;
    let script = "echo ran >>/workspace/log; until [ -e /workspace/go ]; do sleep 0.2; done";
    world.task_with("t", &json!({"sandboxRef": "s", "timeout": "10m", "steps": [shell("a", script)]})).await;
    world.running("t").await;
    let before = world.phase("s", SandboxPhase::Bound).await;
    let pod = before.status.as_ref().unwrap().pod_name.clone().unwrap();
    world.content_of(&pod, "/workspace/log").await;

    restart("apiserver").await;

    // The step's output was on a connection through the API server.
    let task = world.finished("t").await;
    assert_eq!((state(&task), reason(&task)), (Some(TaskState::Failed), "Interrupted"), "{:?}", task.status);
    let log = world.output("after", "s", "touch /workspace/go; cat /workspace/log").await;
    assert_eq!(log, "ran\n", "what may have started is not started again");
    assert_same_pod(&before, &world.phase("s", SandboxPhase::Ready).await);
    world.pool_is_ready("p", 1).await;

    let _filled: WarmPool = world.merge("empty", &json!({"spec": {"replicas": 1}})).await;
    world.phase("waits", SandboxPhase::Ready).await;
    assert_eq!(world.output("served", "waits", "echo served").await, "served\n");
    assert!(world.operator_is_alive());
}

async fn a_sandbox_outlives_a_restart_of(component: &str) {
    let mut world = World::with_sandbox(component).await;
    let before = world.phase("s", SandboxPhase::Ready).await;
    world.output("before", "s", "echo kept >/workspace/file").await;

    restart(component).await;

    let task = world.run("after", "s", json!([shell("a", "cat /workspace/file")])).await;
    assert_eq!((state(&task), reason(&task)), (Some(TaskState::Succeeded), "Succeeded"), "{:?}", task.status);
    assert_eq!(status(&task).stdout.as_deref(), Some("kept\n"));
    assert_same_pod(&before, &world.phase("s", SandboxPhase::Ready).await);
    world.pool_is_ready("p", 1).await;
    world.sandbox("new", "p").await;
    assert_eq!(world.output("served", "new", "echo served").await, "served\n");
    assert!(world.operator_is_alive());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_outlives_a_restart_of_the_kubelet() {
    a_sandbox_outlives_a_restart_of("kubelet").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_outlives_a_restart_of_containerd() {
    a_sandbox_outlives_a_restart_of("containerd").await;
}
