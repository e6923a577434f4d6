//! Somebody's finalizer keeps an object that was deleted: to the operator it is deleted all the same.

use arl_crds::{Sandbox, Task, WarmPool};
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{manifest, reason, shell, status, template};

const FINALIZER: &str = "example.com/keep";

fn kept(mut manifest: Value) -> Value {
    manifest["metadata"]["finalizers"] = json!([FINALIZER]);
    manifest
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    kept(json!({"apiVersion": "arl.infra.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}))
}

fn task(name: &str, script: &str) -> Value {
    object("Task", name, json!({"sandboxRef": "s", "timeout": "120s", "steps": [shell("a", script)]}))
}

fn released() -> Value {
    json!({"metadata": {"finalizers": null}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_deleted_and_kept_is_ended_and_the_next_one_runs() {
    let world = World::with_sandbox("kept-task").await;
    let pod = world.pod_of("s").await;
    world.create(&task("runs", "sleep 1717")).await;
    world.running("runs").await;
    world.create(&task("waits", "echo never > /workspace/never")).await;
    world.delete::<Task>("waits").await;
    world.delete::<Task>("runs").await;
    for name in ["runs", "waits"] {
        assert_eq!(reason(&world.finished(name).await), "Cancelled", "{name}");
    }
    assert_eq!(world.output("next", "s", "ls /workspace").await, "");
    let left = world.processes(&pod).await;
    assert!(left.iter().all(|line| !line.contains("1717")), "{left:?}");
    for name in ["runs", "waits"] {
        world.merge::<Task>(name, &released()).await;
        world.gone::<Task>(name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_runs_or_starts_in_a_sandbox_that_is_deleted_and_kept() {
    let world = World::new("kept-sandbox").await;
    world.pool("p", 1).await;
    world.create(&object("Sandbox", "s", json!({"poolRef": "p", "keepAlive": true}))).await;
    let pod = world.pod_of("s").await;
    world.task("runs", "s", json!([shell("a", "sleep 1718")])).await;
    world.running("runs").await;
    world.task("waits", "s", json!([shell("a", "true")])).await;
    world.one("waits", "it is queued", |t: &Task| t.status.is_some()).await;
    world.delete::<Sandbox>("s").await;
    for name in ["runs", "waits"] {
        assert_eq!(reason(&world.finished(name).await), "SandboxDeleted", "{name}");
    }
    let left = world.processes(&pod).await;
    assert!(left.iter().all(|line| !line.contains("1718")), "{left:?}");
    world.task("late", "s", json!([shell("a", "true")])).await;
    let late = world.one("late", "it says what it waits for", |t: &Task| t.status.is_some()).await;
    assert_eq!((reason(&late), &status(&late).started_at), ("SandboxNotFound", &None));
    world.merge::<Sandbox>("s", &released()).await;
    world.gone::<Sandbox>("s").await;
    world.sandbox("s", "p").await;
    assert_eq!(reason(&world.finished("late").await), "Succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_pool_that_is_deleted_and_kept_are_given_to_nobody() {
    let world = World::new("kept-pool").await;
    let spec = json!({"replicas": 1, "template": template()});
    world.create(&object("WarmPool", "p", spec)).await;
    world.pool_is_ready("p", 1).await;
    world.delete::<WarmPool>("p").await;
    let is_going = |pool: &WarmPool| pool.metadata.deletion_timestamp.is_some();
    world.one("p", "it is being deleted", is_going).await;
    world.sandbox("s", "p").await;
    let waits = world.sandbox_reason("s", "PoolNotFound").await;
    assert!(format!("{:?}", waits.status).contains("is being deleted"), "{:?}", waits.status);
    world.merge::<WarmPool>("p", &released()).await;
    world.gone::<WarmPool>("p").await;
}

/// By plain exec what a step started cannot be ended, but no other is started.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_and_kept_while_nobody_watched_is_ended_or_never_started() {
    for (name, mode) in [("kept-unseen", "Agent"), ("kept-unseen-exec", "Exec")] {
        let mut world = World::new(name).await;
        let spec = json!({"replicas": 1, "template": template(), "executor": {"mode": mode}});
        world.create(&manifest("WarmPool", "p", &spec)).await;
        world.sandbox("s", "p").await;
        let pod = world.pod_of("s").await;
        if mode == "Agent" {
            world.create(&task("runs", "sleep 1719")).await;
            world.running("runs").await;
        }
        world.kill();
        world.create(&task("unseen", "echo never > /workspace/never")).await;
        let deleted: &[&str] = if mode == "Agent" { &["runs", "unseen"] } else { &["unseen"] };
        for name in deleted {
            world.delete::<Task>(name).await;
        }
        world.start_operator().await;
        for name in deleted {
            assert_eq!(reason(&world.finished(name).await), "Cancelled", "{mode}: {name}");
        }
        assert_eq!(world.output("next", "s", "ls /workspace").await, "", "{mode}");
        let left = world.processes(&pod).await;
        assert!(left.iter().all(|line| !line.contains("1719")), "{left:?}");
        for name in deleted {
            world.merge::<Task>(name, &released()).await;
            world.gone::<Task>(name).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_was_deleted_and_kept_while_nobody_watched_runs_and_claims_nothing() {
    let mut world = World::new("kept-sandboxes").await;
    world.pool("p", 1).await;
    world.create(&object("Sandbox", "s", json!({"poolRef": "p", "keepAlive": true}))).await;
    let pod = world.pod_of("s").await;
    world.task("runs", "s", json!([shell("a", "sleep 1720")])).await;
    world.running("runs").await;
    world.pool_is_ready("p", 1).await;
    world.kill();
    world.create(&object("Sandbox", "waits", json!({"poolRef": "p", "keepAlive": true}))).await;
    world.task("late", "s", json!([shell("a", "echo never > /workspace/never")])).await;
    for name in ["s", "waits"] {
        world.delete::<Sandbox>(name).await;
    }
    world.start_operator().await;
    assert_eq!(reason(&world.finished("runs").await), "SandboxDeleted");
    let late = world.one("late", "it says what it waits for", |t: &Task| t.status.is_some()).await;
    assert_eq!((reason(&late), &status(&late).started_at), ("SandboxNotFound", &None));
    let left = world.look_into(&pod, "ls /workspace; ps -o args").await;
    assert!(!left.contains("1720") && !left.contains("never"), "{left}");
    // One that came later has the pod.
    world.sandbox("next", "p").await;
    world.pod_of("next").await;
    let waits = world.one("waits", "it is kept", |_: &Sandbox| true).await;
    assert!(waits.status.is_none_or(|status| status.pod_name.is_none()));
    for name in ["s", "waits"] {
        world.merge::<Sandbox>(name, &released()).await;
        world.gone::<Sandbox>(name).await;
    }
}
