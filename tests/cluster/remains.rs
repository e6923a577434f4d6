//! What a step started ends with it, where it does not end well; what it left in the background after a success lives on.

use arl_crds::{Task, TaskState};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::harness::World;
use crate::harness::make::{reason, shell, status};
use crate::harness::wait::state;

/// Leaves a child, a grandchild and one in a session of its own, all of which outlive their shell.
const FAMILY: &str = "sleep 7771 & (setsid sleep 7772 &); setsid sh -c 'sleep 7773 & sleep 7774' & \
                      touch /workspace/started; echo early";

/// A world whose Sandbox `s` has its pod; the pod's name; and what runs in it before any Task.
async fn before_any_task(name: &str) -> (World, String, Vec<String>) {
    let world = World::with_sandbox(name).await;
    let pod = world.pod_of("s").await;
    assert_eq!(world.output("first", "s", "echo works").await, "works\n");
    let before = world.processes(&pod).await;
    assert_eq!(before, ["sleep 2147483647"]);
    (world, pod, before)
}

/// Starts the Task `t`, which does not end by itself, and waits until all its processes are there.
async fn start_family(world: &World, pod: &str, timeout: &str) {
    let steps = json!([shell("a", &format!("{FAMILY}; sleep 7775")), shell("b", "true")]);
    world.task_with("t", &json!({"sandboxRef": "s", "timeout": timeout, "steps": steps})).await;
    world.look_into(pod, "until [ -e /workspace/started ]; do sleep 0.1; done").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_leaves_nothing() {
    let (world, pod, before) = before_any_task("remains-timeout").await;
    start_family(&world, &pod, "5s").await;
    let task = world.finished("t").await;
    assert_eq!((reason(&task), status(&task).exit_code), ("TimedOut", Some(124)), "{:?}", task.status);
    assert_eq!(status(&task).stdout.as_deref(), Some("early\n"));
    assert_eq!(world.processes(&pod).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_task_leaves_nothing() {
    let (world, pod, before) = before_any_task("remains-cancel").await;
    start_family(&world, &pod, "10m").await;
    let during = world.processes(&pod).await;
    for word in ["7771", "7772", "7773", "7774", "7775"] {
        assert!(during.iter().any(|line| *line == format!("sleep {word}")), "{word}: {during:?}");
    }
    let _cancelled: Task = world.merge("t", &json!({"spec": {"cancel": true}})).await;
    let task = world.finished("t").await;
    assert_eq!(reason(&task), "Cancelled", "{:?}", task.status);
    assert_eq!(world.processes(&pod).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_task_leaves_nothing() {
    let (mut world, pod, before) = before_any_task("remains-delete").await;
    start_family(&world, &pod, "10m").await;
    world.delete::<Task>("t").await;
    assert_eq!(world.output("next", "s", "echo next").await, "next\n");
    assert_eq!(world.processes(&pod).await, before, "the next Task begins after the end of the deleted one");

    world.look_into(&pod, "rm /workspace/started").await;
    start_family(&world, &pod, "10m").await;
    world.kill();
    world.delete::<Task>("t").await;
    world.gone::<Task>("t").await;
    world.start_operator().await;
    assert_eq!(world.output("last", "s", "echo last").await, "last\n");
    assert_eq!(world.processes(&pod).await, before, "deleted while the operator was away");
}

/// Such as one that was cancelled while the operator was away, which had not put its start on record.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_over_on_record_leaves_nothing() {
    let (mut world, pod, before) = before_any_task("remains-over").await;
    start_family(&world, &pod, "10m").await;
    world.running("t").await;
    world.kill();
    let over = json!({"status": {"state": "Failed"}});
    world.api::<Task>().patch_status("t", &PatchParams::default(), &Patch::Merge(over)).await.unwrap();
    world.start_operator().await;
    assert_eq!(world.output("next", "s", "echo next").await, "next\n", "it does not wait for what nobody wants");
    assert_eq!(world.processes(&pod).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_leaves_nothing_and_a_success_what_it_put_in_the_background() {
    let (world, pod, before) = before_any_task("remains-end").await;
    // More than a pipe holds: it lives on only where its output is taken.
    let chatty = "(until [ -e /workspace/go ]; do sleep 0.1; done; seq 1 100000; echo drained >/workspace/drained) &";
    let background = format!("sleep 7781 & (setsid sleep 7782 &); {chatty} echo done");
    let task = world.run("good", "s", json!([shell("a", &background), shell("b", "echo b")])).await;
    assert_eq!((state(&task), status(&task).stdout.as_deref()), (Some(TaskState::Succeeded), Some("b\n")));
    assert_eq!(status(&task).steps[0].stdout.as_deref(), Some("done\n"), "it is not waited for");

    let task = world.run("bad", "s", json!([shell("a", &format!("{FAMILY}; exit 3"))])).await;
    assert_eq!((reason(&task), status(&task).exit_code), ("StepFailed", Some(3)), "{:?}", task.status);
    let after = world.processes(&pod).await;
    for word in ["7771", "7772", "7773", "7774"] {
        assert!(!after.iter().any(|line| line.contains(word)), "{word} outlived its failure: {after:?}");
    }
    for word in ["7781", "7782"] {
        assert!(after.contains(&format!("sleep {word}")), "{word} ended with another's failure: {after:?}");
    }
    world.look_into(&pod, "touch /workspace/go").await;
    assert_eq!(world.content_of(&pod, "/workspace/drained").await, "drained\n");
    let end = "kill $(pidof sleep | tr ' ' '\\n' | grep -vx 1); while pidof sleep | grep -q ' '; do sleep 0.1; done";
    world.look_into(&pod, end).await;
    assert_eq!(world.processes(&pod).await, before);
}
