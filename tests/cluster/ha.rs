//! Several operators: one works, another takes over.

use std::collections::BTreeSet;
use std::time::Instant;

use arl_crds::{Sandbox, Task, TaskState};
use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use serde_json::json;

use crate::harness::World;
use crate::harness::make::{shell, status};
use crate::harness::operator::{Operator, PROBES};
use crate::harness::setup;
use crate::harness::wait::state;

/// A namespace whose operators may stand for election.
async fn world(name: &str) -> World {
    let world = World::without_operator(name).await;
    setup::allow_election(&world.client, &world.ns).await;
    world
}

async fn candidate(world: &World, name: &str, more: &[&str]) -> Operator {
    world.another_operator(name, &world.ns, &[&["--leader-elect"], more].concat()).await
}

/// Waits until this operator holds the Lease.
async fn leads(world: &World, name: &str) -> Lease {
    let holds = |lease: &Lease| lease.spec.as_ref().and_then(|s| s.holder_identity.as_deref()) == Some(name);
    world.one("arl-operator", &format!("held by {name}"), holds).await
}

/// The HTTP methods of an operator's requests.
fn methods(metrics: &str) -> BTreeSet<&str> {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("rest_client_requests_total{"));
    lines.filter_map(|line| line.split_once("method=\"")?.1.split('"').next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_works_and_the_other_stands_by() {
    let world = world("ha-one").await;
    let first = candidate(&world, "first", &[]).await;
    leads(&world, "first").await;
    let second = candidate(&world, "second", &[]).await;
    world.pool("p", 1).await;
    world.pool_is_ready("p", 1).await;
    world.sandbox("s", "p").await;
    assert_eq!(world.output("t", "s", "echo hello").await, "hello\n");

    let leader = first.metrics_with(&["leader_election_master_status{name=\"arl-operator\"} 1"]).await;
    assert_eq!(methods(&leader), BTreeSet::from(["GET", "PATCH", "POST"]));
    // Its caches are warm: it knows the Task that the other has run.
    let known = format!("arl_tasks{{namespace=\"{}\",state=\"Succeeded\"}} 1.0", world.ns);
    let standing_by = second.metrics_with(&["leader_election_master_status{name=\"arl-operator\"} 0", &known]).await;
    assert_eq!(methods(&standing_by), BTreeSet::from(["GET"]), "it only reads");
    for path in ["/healthz", "/readyz"] {
        let answer = second.get(PROBES, path).await;
        assert_eq!((answer.code, answer.body.as_str()), (200, "ok\n"), "{path} of one that stands by");
    }
}

/// kube-system stands for a namespace where the operator may not list anything, or that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_work_is_alive_and_not_ready_and_leaves_the_lease_to_others() {
    let world = world("ha-blind").await;
    let blind = world.another_operator("blind", "kube-system", &["--leader-elect"]).await;
    let half = world.another_operator("half", &format!("kube-system,{}", world.ns), &["--leader-elect"]).await;
    leads(&world, "half").await;
    world.pool("p", 1).await;
    world.pool_is_ready("p", 1).await;
    for operator in [&blind, &half] {
        assert_eq!(operator.get(PROBES, "/healthz").await.code, 200);
        let ready = operator.get(PROBES, "/readyz").await;
        assert_eq!((ready.code, ready.body.contains("kube-system")), (503, true), "{}", ready.body);
    }
    let why = blind.ready_with("the watch of Pod in kube-system has failed for").await;
    assert!(why.code == 503 && why.body.contains("pods is forbidden"), "{}", why.body);
    let failing = blind.metrics().await;
    assert!(failing.contains("arl_watch_failing_seconds{namespace=\"kube-system\",kind=\"Pod\"}"), "{failing}");
    leads(&world, "half").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_in_a_burst_is_followed_and_nothing_runs_twice() {
    const COUNT: usize = 20;
    let world = world("ha-kill").await;
    let first = candidate(&world, "first", &[]).await;
    leads(&world, "first").await;
    let mut second = candidate(&world, "second", &[]).await;
    world.pool("p", 10).await;
    world.pool_is_ready("p", 10).await;
    let names: Vec<String> = (0..COUNT).map(|i| format!("s{i:02}")).collect();
    let world = &world;
    join_all(names.iter().map(|name| async move {
        world.sandbox(name, "p").await;
        let steps = json!([shell("a", "echo ran >>/workspace/log; sleep 3"), shell("b", "cat /workspace/log")]);
        world.task_with(name, &json!({"sandboxRef": name, "timeout": "10m", "steps": steps})).await;
    }))
    .await;
    let all_states = |tasks: &[Task]| tasks.iter().filter_map(state).collect::<Vec<_>>();
    let some_run = |tasks: &[Task]| all_states(tasks).iter().filter(|s| **s != TaskState::Pending).count() >= 5;
    let tasks = world.all("5 Tasks have started", some_run).await;
    let unfinished = all_states(&tasks).iter().filter(|s| !s.is_finished()).count();
    let killed = Instant::now();
    first.kill();
    let lease = leads(world, "second").await;
    println!(
        "a leader was killed with {unfinished} of {COUNT} Tasks unfinished; the next led {:?} later",
        killed.elapsed()
    );
    assert_eq!(lease.spec.unwrap().lease_transitions, Some(2));
    for task in world.all_finished(COUNT).await {
        assert_eq!(state(&task), Some(TaskState::Succeeded), "{}: {:?}", task.name_any(), task.status);
        assert_eq!(status(&task).stdout.as_deref(), Some("ran\n"), "{} ran once", task.name_any());
    }
    let sandboxes = world.all("all", |all: &[Sandbox]| all.len() == COUNT).await;
    let held: BTreeSet<_> = sandboxes.iter().filter_map(|s| s.status.as_ref()?.pod_uid.clone()).collect();
    assert_eq!(held.len(), COUNT, "every Sandbox has a pod of its own");
    for name in &names {
        let log = world.output(&format!("look-{name}"), name, "cat /workspace/log").await;
        assert_eq!(log, "ran\n", "{name}");
    }
    assert!(second.is_alive());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_told_to_stop_is_followed_at_once() {
    let world = world("ha-term").await;
    let long = ["--leader-election-lease-duration=150s", "--leader-election-renew-deadline=100s"];
    let mut first = candidate(&world, "first", &long).await;
    leads(&world, "first").await;
    let mut second = candidate(&world, "second", &long).await;
    world.pool("p", 1).await;
    world.sandbox("s", "p").await;
    let script = "echo ran >>/workspace/log; until [ -e /workspace/go ]; do sleep 0.2; done; cat /workspace/log";
    world.task_with("t", &json!({"sandboxRef": "s", "timeout": "10m", "steps": [shell("a", script)]})).await;
    world.running("t").await;

    let told = Instant::now();
    first.terminate();
    let lease = leads(&world, "second").await;
    let took = told.elapsed();
    println!("a leader was told to stop; the next led {took:?} later");
    let duration = lease.spec.unwrap().lease_duration_seconds.unwrap();
    assert!(took.as_secs_f64() < f64::from(duration) / 2.0, "{took:?}: the Lease of {duration} s had to expire");
    assert!(first.ended().await.success());

    // What ran goes on, and what is new is served.
    world.pool("other", 1).await;
    world.pool_is_ready("other", 1).await;
    let pod = world.one("s", "its pod", |s: &Sandbox| s.status.as_ref().is_some_and(|s| s.pod_name.is_some())).await;
    world.look_into(&pod.status.unwrap().pod_name.unwrap(), "touch /workspace/go").await;
    let task = world.finished("t").await;
    assert_eq!(status(&task).stdout.as_deref(), Some("ran\n"), "{:?}", task.status);
    assert!(second.is_alive());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_lease_was_taken_stops() {
    let world = world("ha-taken").await;
    let mut first = candidate(&world, "first", &[]).await;
    leads(&world, "first").await;
    let _: Lease = world.merge("arl-operator", &json!({"spec": {"holderIdentity": "somebody"}})).await;
    assert!(!first.ended().await.success(), "the kubelet starts it again");
    let lease = world.one("arl-operator", "there", |_: &Lease| true).await;
    assert_eq!(lease.spec.unwrap().holder_identity.as_deref(), Some("somebody"));
}
