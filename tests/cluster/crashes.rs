//! The operator may be killed at any instant: nothing runs twice, nobody gets two pods, and everything is finished later.

use std::collections::BTreeSet;

use arl_crds::{Sandbox, SandboxPhase, TaskState};
use futures::future::join_all;
use kube::ResourceExt;
use serde_json::json;

use crate::harness::World;
use crate::harness::make::{reason, shell, status};
use crate::harness::wait::state;

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_ran_during_a_crash_is_never_run_again() {
    let mut world = World::with_sandbox("interrupted").await;
    let steps = json!([shell("a", "echo ran >>/workspace/log; sleep 20"), shell("b", "echo b >>/workspace/log")]);
    world.task_with("t", &json!({"sandboxRef": "s", "timeout": "10m", "steps": steps})).await;
    world.running("t").await;
    let pod = world.phase("s", SandboxPhase::Bound).await.status.unwrap().pod_name.unwrap();
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
