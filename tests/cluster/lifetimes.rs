//! How long a Sandbox lives: the four rows of keepAlive and ttlSecondsAfterFinished, and the idle clock behind them.

use std::time::{Duration, SystemTime};

use arl_crds::{Sandbox, SandboxPhase, Task, TaskState};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{reason, shell, status};
use crate::harness::wait::state;
use crate::refusals::event;

/// A world with a Sandbox `s` that is Ready, and its pod.
async fn with(name: &str, lifetime: Value) -> (World, String) {
    let world = World::new(name).await;
    world.pool("p", 1).await;
    world.pool_is_ready("p", 1).await;
    let mut spec = lifetime;
    spec["poolRef"] = json!("p");
    world.sandbox_with("s", &spec).await;
    let sandbox = world.phase("s", SandboxPhase::Ready).await;
    (world, sandbox.status.unwrap().pod_name.unwrap())
}

/// Seconds since the Task finished, by the same wall clock where the cluster is this machine.
fn since_the_end_of(task: &Task) -> f64 {
    let completed = SystemTime::from(status(task).completed_at.as_ref().unwrap().0);
    completed.elapsed().map_or(0.0, |d| d.as_secs_f64())
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_the_pod_goes_with_the_last_task_and_the_object_stays() {
    let (world, pod) = with("row-1", json!({})).await;
    world.task("one", "s", json!([shell("a", "sleep 1; echo 1 >/workspace/log")])).await;
    world.task("two", "s", json!([shell("a", "cat /workspace/log")])).await;
    world.finished("one").await;
    let two = world.finished("two").await;
    assert_eq!(status(&two).stdout.as_deref(), Some("1\n"), "an unfinished Task keeps the Sandbox: {:?}", two.status);
    world.phase("s", SandboxPhase::Released).await;
    world.sandbox_reason("s", "TasksFinished").await;
    world.gone::<Pod>(&pod).await;
    let late = world.run("late", "s", json!([shell("a", "true")])).await;
    assert_eq!((state(&late), reason(&late)), (Some(TaskState::Failed), "SandboxReleased"));
    world.phase("s", SandboxPhase::Released).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_ttl_the_sandbox_goes_when_it_was_idle_so_long() {
    for (name, keep_alive) in [("row-2", false), ("row-4", true)] {
        let (world, pod) = with(name, json!({"keepAlive": keep_alive, "ttlSecondsAfterFinished": 5})).await;
        // Longer than the ttl: a working Sandbox is not idle.
        let task = world.run("t", "s", json!([shell("a", "sleep 7")])).await;
        assert_eq!(state(&task), Some(TaskState::Succeeded), "{:?}", task.status);
        world.gone::<Sandbox>("s").await;
        let idle = since_the_end_of(&task);
        assert!(idle > 4.5, "keepAlive {keep_alive}: gone after {idle} idle seconds of 5");
        world.gone::<Pod>(&pod).await;
        world.finished("t").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_whose_pod_was_lost_goes_after_its_ttl_and_says_so() {
    let (world, pod) = with("lost-ttl", json!({"keepAlive": true, "ttlSecondsAfterFinished": 5})).await;
    world.delete::<Pod>(&pod).await;
    world.gone::<Sandbox>("s").await;
    event(&world, "s", "Expired", "without a pod for its ttl; deleted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unused_sandbox_is_idle_since_its_allocation() {
    let (world, pod) = with("unused", json!({"ttlSecondsAfterFinished": 2})).await;
    world.gone::<Sandbox>("s").await;
    world.gone::<Pod>(&pod).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_alive_without_a_ttl_it_stays() {
    let (world, pod) = with("row-3", json!({"keepAlive": true})).await;
    world.run("t", "s", json!([shell("a", "echo 1 >/workspace/log")])).await;
    world.delete::<Task>("t").await;
    world.pass(Duration::from_secs(5)).await;
    let sandbox = world.phase("s", SandboxPhase::Ready).await;
    assert_eq!(sandbox.status.unwrap().pod_name, Some(pod));
    assert_eq!(world.output("again", "s", "cat /workspace/log").await, "1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ttl_of_zero_waits_for_the_first_task() {
    let (world, pod) = with("zero", json!({"ttlSecondsAfterFinished": 0})).await;
    world.pass(Duration::from_secs(3)).await;
    world.phase("s", SandboxPhase::Ready).await;
    let task = world.run("t", "s", json!([shell("a", "echo done")])).await;
    assert_eq!(status(&task).stdout.as_deref(), Some("done\n"));
    world.gone::<Sandbox>("s").await;
    world.gone::<Pod>(&pod).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_operator_does_not_shorten_the_time() {
    let (mut world, _pod) = with("restarted", json!({"ttlSecondsAfterFinished": 10})).await;
    let task = world.run("t", "s", json!([shell("a", "true")])).await;
    world.delete::<Task>("t").await;
    world.kill();
    world.start_operator().await;
    world.gone::<Sandbox>("s").await;
    let idle = since_the_end_of(&task);
    assert!(idle > 9.5, "gone after {idle} idle seconds of 10");
}
