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

use std::time::{Duration, Instant};

use arl_crds::{Sandbox, SandboxPhase, Task, TaskState, WarmPool};
use serde_json::json;

use harness::World;
use harness::make::{message, reason, shell, status};
use harness::setup::root;
use harness::wait::state;

/// `restart`, `stop` or `start`s a component of the cluster; waits, but for `stop`, until the cluster is well again.
async fn cluster(command: &str, component: &str) {
    let mut process = tokio::process::Command::new(root().join("dev/cluster/cluster"));
    let ended = process.args([command, component]).status().await.unwrap();
    assert!(ended.success(), "{command} {component}: {ended}");
}

/// Stops and starts a component of the cluster and waits until the cluster is well again.
async fn restart(component: &str) {
    cluster("restart", component).await;
}

/// A component that is stopped. It is started again however the test ends.
struct Outage(&'static str);

impl Outage {
    async fn of(component: &'static str) -> Self {
        let outage = Self(component);
        cluster("stop", component).await;
        outage
    }

    async fn end(self) {
        cluster("start", self.0).await;
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        // One that runs is left alone.
        let started = std::process::Command::new(root().join("dev/cluster/cluster")).args(["start", self.0]).status();
        if !started.as_ref().is_ok_and(std::process::ExitStatus::success) {
            eprintln!("starting {}: {started:?}", self.0);
        }
    }
}

/// Fails where the Sandbox does not have the same pod, in the same containers, as before.
fn assert_same_pod(before: &Sandbox, after: &Sandbox) {
    let held = |s: &Sandbox| s.status.as_ref().map(|s| (s.pod_uid.clone(), s.restarts));
    assert_eq!(held(before), held(after));
}

/// Prints numbered lines all the time, until it is told to end, and then how many there were.
const COUNTING: &str = "echo ran >>/workspace/log; n=0; until [ -e /workspace/end ]; do \
                        n=$((n+1)); echo line $n; echo $n >/workspace/now; sleep 0.2; done; echo $n >/workspace/count";

/// A world whose Sandbox `s` runs the Task `counts`, which prints all the time.
async fn with_a_counting_task(name: &str) -> World {
    let world = World::with_sandbox(name).await;
    world.task_with("counts", &json!({"sandboxRef": "s", "timeout": "30m", "steps": [shell("a", COUNTING)]})).await;
    world.running("counts").await;
    world.content_of(&world.pod_of("s").await, "/workspace/log").await;
    world
}

/// Ends the Task, and fails where it did not run once, to its own end, with all its output.
async fn assert_counted(world: &World) {
    // What is printed after the restart counts too.
    let more = "seen=$(cat /workspace/now); until [ $(cat /workspace/now) -gt $((seen+5)) ]; do sleep 0.1; done; \
                touch /workspace/end; until [ -s /workspace/count ]; do sleep 0.1; done; cat /workspace/count";
    let lines: usize = world.look_into(&world.pod_of("s").await, more).await.trim().parse().unwrap();
    let task = world.finished("counts").await;
    assert_eq!((state(&task), reason(&task)), (Some(TaskState::Succeeded), "Succeeded"), "{:?}", task.status);
    let printed: Vec<&str> = status(&task).stdout.iter().flat_map(|out| out.lines()).collect();
    let expected: Vec<String> = (1..=lines).map(|n| format!("line {n}")).collect();
    assert_eq!(printed, expected);
    assert_eq!(world.output("log", "s", "cat /workspace/log").await, "ran\n", "it was started once");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_of_the_api_server_everything_goes_on() {
    let mut world = with_a_counting_task("api-server").await;
    world.pool("empty", 0).await;
    world.sandbox("waits", "empty").await;
    world.sandbox_reason("waits", "PoolEmpty").await;
    let before = world.phase("s", SandboxPhase::Bound).await;

    restart("apiserver").await;

    assert_counted(&world).await;
    assert_same_pod(&before, &world.phase("s", SandboxPhase::Ready).await);
    world.pool_is_ready("p", 1).await;

    let _filled: WarmPool = world.merge("empty", &json!({"spec": {"replicas": 1}})).await;
    world.phase("waits", SandboxPhase::Ready).await;
    assert_eq!(world.output("served", "waits", "echo served").await, "served\n");
    assert!(world.operator_is_alive());
}

async fn a_task_outlives_a_restart_of(component: &str) {
    let mut world = with_a_counting_task(component).await;
    let before = world.phase("s", SandboxPhase::Bound).await;

    restart(component).await;

    assert_counted(&world).await;
    assert_same_pod(&before, &world.phase("s", SandboxPhase::Ready).await);
    world.pool_is_ready("p", 1).await;
    world.sandbox("new", "p").await;
    assert_eq!(world.output("served", "new", "echo served").await, "served\n");
    assert!(world.operator_is_alive());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_outlives_a_restart_of_the_kubelet() {
    a_task_outlives_a_restart_of("kubelet").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_outlives_a_restart_of_containerd() {
    a_task_outlives_a_restart_of("containerd").await;
}

/// Longer than the timeout of the Task below and all the time that the agent gets for an answer, and shorter than what makes
/// Kubernetes call the node not ready.
const OUTAGE: Duration = Duration::from_secs(35);

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_node_is_not_reached_for_longer_than_its_timeout_goes_on() {
    let mut world = World::with_sandbox("unreached").await;
    let step = shell("a", "echo ran >>/workspace/log; sleep 8; echo done");
    world.task_with("t", &json!({"sandboxRef": "s", "timeout": "10s", "steps": [step]})).await;
    world.running("t").await;
    let before = world.phase("s", SandboxPhase::Bound).await;

    let outage = Outage::of("kubelet").await;
    let since = Instant::now();
    let unheard =
        world.one("t", "not heard of, or over", |t: &Task| is_over(t) || message(t).contains("cannot be reached"));
    let unheard = unheard.await;
    assert_eq!(state(&unheard), Some(TaskState::Running), "{:?}", unheard.status);
    assert!(message(&unheard).contains("its result counts when the pod can be reached again"), "{}", message(&unheard));
    world.pass(OUTAGE.saturating_sub(since.elapsed())).await;
    let still = world.one("t", "there", |_: &Task| true).await;
    assert_eq!(state(&still), Some(TaskState::Running), "{:?}", still.status);
    outage.end().await;

    let task = world.finished("t").await;
    assert_eq!((state(&task), reason(&task)), (Some(TaskState::Succeeded), "Succeeded"), "{:?}", task.status);
    assert_eq!(status(&task).stdout.as_deref(), Some("done\n"));
    assert_same_pod(&before, &world.phase("s", SandboxPhase::Ready).await);
    assert_eq!(
        world.output("log", "s", "cat /workspace/log").await,
        "ran\n",
        "it was started once, and the pod is kept"
    );
    assert!(world.operator_is_alive());
}

fn is_over(task: &Task) -> bool {
    state(task).is_some_and(TaskState::is_finished)
}
