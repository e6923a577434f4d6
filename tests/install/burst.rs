//! Two operators in the cluster and a burst of work, in the middle of which the one that leads is taken away.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use arl_crds::{Sandbox, Task, TaskState};
use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::harness::World;
use crate::harness::make::{shell, status};
use crate::harness::wait::{DEADLINE, state};
use crate::installed::{Installed, k};
use crate::tools::{NAMESPACE, read, run};

/// Sandboxes, each with a Task.
const COUNT: usize = 50;
/// As many Tasks have started when the leader goes.
const STARTED: usize = 10;

fn name(index: usize) -> String {
    format!("s{index:02}")
}

/// A namespace with the whole burst, once it is in full swing: some Tasks run, some have no pod yet.
async fn burst(what: &str) -> World {
    let world = World::served(what).await;
    world.pool("p", 10).await;
    world.pool_is_ready("p", 10).await;
    let made = (0..COUNT).map(async |index| {
        let name = name(index);
        world.sandbox(&name, "p").await;
        let steps =
            json!([shell("a", "echo a >>/workspace/log; sleep 3"), shell("b", "echo b | tee -a /workspace/log")]);
        world.task_with(&name, &json!({"sandboxRef": name, "timeout": "10m", "steps": steps})).await;
    });
    join_all(made).await;
    let started = |tasks: &[Task]| tasks.iter().filter(|t| state(t).is_some_and(|s| s != TaskState::Pending)).count();
    let tasks = world.all("some Tasks have started", |tasks| started(tasks) >= STARTED).await;
    let unfinished = tasks.iter().filter(|t| !state(t).is_some_and(TaskState::is_finished)).count();
    assert!(unfinished > COUNT / 2, "the burst is over too soon: {unfinished} of {COUNT} Tasks are unfinished");
    world
}

/// Every Task has run once, in a pod that only its Sandbox has had.
async fn assert_each_ran_once(world: &World) {
    for task in world.all_finished(COUNT).await {
        assert_eq!(state(&task), Some(TaskState::Succeeded), "{}: {:?}", task.name_any(), task.status);
        assert_eq!(status(&task).stdout.as_deref(), Some("b\n"), "{}", task.name_any());
    }
    let sandboxes = world.all("all", |all: &[Sandbox]| all.len() == COUNT).await;
    let held: BTreeSet<_> = sandboxes.iter().filter_map(|s| s.status.as_ref()?.pod_uid.clone()).collect();
    assert_eq!(held.len(), COUNT, "every Sandbox has a pod of its own");
    let allocated = |pod: &Pod| pod.labels().contains_key(arl_crds::labels::SANDBOX);
    let pods = world.pods("no surplus", |all| all.iter().filter(|p| allocated(p)).count() == COUNT).await;
    assert!(pods.iter().filter(|p| allocated(p)).all(|p| held.contains(&p.uid().unwrap())));
    let looks = (0..COUNT).map(async |index| {
        let log = world.output(&format!("look-{index:02}"), &name(index), "cat /workspace/log").await;
        assert_eq!(log, "a\nb\n", "{}", name(index));
    });
    join_all(looks).await;
}

/// The Lease, once it is as wanted.
async fn lease(world: &World, holds: impl Fn(&Lease) -> bool) -> Lease {
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), NAMESPACE);
    let wanted = |lease: Option<&Lease>| lease.is_some_and(&holds);
    let waiting = kube::runtime::wait::await_condition(leases, "arl-operator", wanted);
    tokio::time::timeout(DEADLINE, waiting).await.expect("the Lease is taken in time").unwrap().unwrap()
}

fn holder(lease: &Lease) -> String {
    lease.spec.as_ref().and_then(|s| s.holder_identity.clone()).unwrap_or_default()
}

/// Ends the leader's process as the kernel does for want of memory; its container starts again at once. Where processes are not
/// this machine's, they are those of kind's node.
async fn kill_the_leader(world: &World) -> Instant {
    let leader = holder(&lease(world, |l| !holder(l).is_empty()).await);
    let id = k(&format!("-n {NAMESPACE} get pod {leader} -o jsonpath={{.status.containerStatuses[0].containerID}}"));
    let id = id.rsplit('/').next().unwrap();
    assert_eq!(id.len(), 64, "{leader}: {id}");
    let script = format!("kill -9 $(grep -l {id} /proc/[0-9]*/cgroup | cut -d/ -f3)");
    let mut command = match read(".cluster/kind").trim() {
        "kind" => {
            let mut docker = Command::new("docker");
            docker.args(["exec", "arl-dev-control-plane", "sh"]);
            docker
        }
        _ => Command::new("sh"),
    };
    run(command.args(["-c", &script]));
    Instant::now()
}

/// Waits until the operator works again, which the next renewal shows, and returns who does.
async fn is_led_again(world: &World) -> String {
    let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|s| s.renew_time.clone());
    let last = renewed(&lease(world, |_| true).await);
    holder(&lease(world, |l| renewed(l) != last && !holder(l).is_empty()).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_survives_a_killed_leader_and_a_rolling_upgrade() {
    let operator = Installed::nothing().await;
    operator.namespace();
    operator.release("HELM", "install", &["--set", "replicaCount=2"]);
    operator.is_rolled_out();

    let world = burst("killed").await;
    let before = holder(&lease(&world, |l| !holder(l).is_empty()).await);
    let killed = kill_the_leader(&world).await;
    let next = is_led_again(&world).await;
    let took = killed.elapsed();
    println!("{before}'s process was killed in a burst of {COUNT}; {next} led {took:?} later");
    assert_each_ran_once(&world).await;
    operator.is_rolled_out();
    drop(world);

    let world = burst("rolled").await;
    let before = holder(&lease(&world, |l| !holder(l).is_empty()).await);
    let rolled = Instant::now();
    operator.release("HELM", "upgrade", &["--reset-then-reuse-values", "--set", "log.level=debug"]);
    operator.is_rolled_out();
    let next = holder(&lease(&world, |l| !holder(l).is_empty() && holder(l) != before).await);
    println!(
        "{before} was replaced by a rolling upgrade in a burst of {COUNT}, {next} leads; it took {:?}",
        rolled.elapsed()
    );
    assert_each_ran_once(&world).await;
    operator.assert_rights().await;
}
