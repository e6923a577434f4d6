//! The operator may be killed at any instant: nothing runs twice, nobody gets two pods, and everything is finished later.

use std::collections::BTreeSet;

use arl_crds::{Sandbox, SandboxPhase, Task, TaskState};
use futures::future::join_all;
use kube::ResourceExt;
use serde_json::json;

use crate::harness::World;
use crate::harness::make::{reason, shell, status};
use crate::harness::wait::state;

/// Waits for a file of the workspace.
fn until(file: &str) -> String {
    format!("until [ -e /workspace/{file} ]; do sleep 0.1; done")
}

/// A world whose Task `t` has printed something and waits for `/workspace/go`; and the name of the pod.
async fn with_a_task_in_the_middle(name: &str) -> (World, String) {
    let world = World::with_sandbox(name).await;
    let (go, end) = (until("go"), until("end"));
    let script =
        format!("echo a >>/workspace/log; echo before; {go}; echo during; touch /workspace/said; {end}; echo after");
    let steps = json!([shell("a", &script), shell("b", "echo b >>/workspace/log; echo b")]);
    world.task_with("t", &json!({"sandboxRef": "s", "timeout": "10m", "steps": steps})).await;
    world.running("t").await;
    let pod = world.pod_of("s").await;
    world.content_of(&pod, "/workspace/log").await;
    (world, pod)
}

async fn assert_whole(world: &World, pod: &str) {
    let task = world.finished("t").await;
    assert_eq!((state(&task), reason(&task)), (Some(TaskState::Succeeded), "Succeeded"), "{:?}", task.status);
    let outputs: Vec<_> = status(&task).steps.iter().map(|s| s.stdout.as_deref().unwrap_or_default()).collect();
    assert_eq!(outputs, ["before\nduring\nafter\n", "b\n"], "whatever was printed, whoever listened");
    assert_eq!(status(&task).steps[0].truncated, None);
    assert_eq!(world.look_into(pod, "cat /workspace/log").await, "a\nb\n", "each step ran once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_ran_during_a_crash_ends_with_its_whole_output() {
    let (mut world, pod) = with_a_task_in_the_middle("crash").await;
    world.kill();
    world.look_into(&pod, &format!("touch /workspace/go; {}", until("said"))).await;
    world.task("next", "s", json!([shell("a", "cat /workspace/log")])).await;
    world.start_operator().await;
    // The new operator is at work: what is printed from now on is printed after the crash.
    world.one("next", "Queued", |t: &Task| t.status.is_some() && reason(t) == "Queued").await;
    world.look_into(&pod, "touch /workspace/end").await;
    assert_whole(&world, &pod).await;
    let next = world.finished("next").await;
    assert_eq!(status(&next).stdout.as_deref(), Some("a\nb\n"), "the queue goes on: {:?}", next.status);
    assert!(world.operator_is_alive());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_ended_during_a_crash_is_reported() {
    let (mut world, pod) = with_a_task_in_the_middle("crash-end").await;
    world.kill();
    let done = "until grep -q b /workspace/log; do sleep 0.1; done";
    world.look_into(&pod, &format!("touch /workspace/go /workspace/end; {done}")).await;
    world.start_operator().await;
    assert_whole(&world, &pod).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_waited_during_a_crash_run_once() {
    let mut world = World::with_sandbox("waited").await;
    world.phase("s", SandboxPhase::Ready).await;
    world.kill();
    for name in ["c", "a", "b"] {
        world.task(name, "s", json!([shell("a", &format!("echo {name} >>/workspace/log"))])).await;
    }
    world.start_operator().await;
    for name in ["c", "a", "b"] {
        let task = world.finished(name).await;
        assert_eq!(state(&task), Some(TaskState::Succeeded), "{name}: {:?}", task.status);
    }
    assert_eq!(world.output("look", "s", "cat /workspace/log").await, "c\na\nb\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_during_a_burst_of_claims_leave_no_pod_with_two_sandboxes() {
    let mut world = World::new("burst-crash").await;
    let record = world.record_pods();
    world.pool("p", 10).await;
    world.pool_is_ready("p", 10).await;
    let names: Vec<String> = (0..20).map(|i| format!("s{i:02}")).collect();
    join_all(names.iter().map(|name| world.sandbox(name, "p"))).await;
    for served in [1, 8, 14] {
        world.all(&format!("{served} are Ready"), |all: &[Sandbox]| ready(all) >= served).await;
        world.kill();
        world.start_operator().await;
    }
    let sandboxes = world.all("20 are Ready", |all: &[Sandbox]| ready(all) == 20).await;
    let held: BTreeSet<_> = sandboxes.iter().filter_map(|s| s.status.as_ref()?.pod_uid.clone()).collect();
    assert_eq!(held.len(), 20, "every Sandbox has a pod of its own");
    world.pool_is_ready("p", 10).await;
    world.pods("20 allocated pods and 10 idle ones", |pods| pods.len() == 30).await;
    for (pod, sandbox) in record.claims() {
        let holder = sandboxes.iter().find(|s| s.name_any() == sandbox).unwrap();
        assert_eq!(holder.status.as_ref().unwrap().pod_uid, Some(pod), "{sandbox} held another pod before");
    }
    record.assert_exclusive();
}

fn ready(sandboxes: &[Sandbox]) -> usize {
    sandboxes.iter().filter(|s| s.status.as_ref().is_some_and(|s| s.phase == Some(SandboxPhase::Ready))).count()
}
