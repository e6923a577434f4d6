//! Pools that keep streams to their idle pods.

use arl_crds::{Sandbox, WarmPool};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{manifest, shell, status, template};

/// A pool of pods to which streams are opened when `connect` says.
fn pool(name: &str, replicas: usize, connect: &str) -> Value {
    let executor = json!({"connect": connect});
    manifest("WarmPool", name, &json!({"replicas": replicas, "template": template(), "executor": executor}))
}

impl World {
    /// Waits until so many streams are open and so many were opened in all.
    async fn streams(&self, open: usize, opened: usize) {
        let open = format!("arl_run_streams_open {open}");
        let opened = format!("arl_run_streams_total{{result=\"opened\"}} {opened}");
        self.operator().metrics_with(&[&open, &opened]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_to_idle_pods_become_those_of_their_sandboxes_and_go_with_their_pods() {
    let mut world = World::new("connect").await;
    world.create(&pool("idle", 2, "Idle")).await;
    world.pool("default", 1).await;
    world.pool_is_ready("idle", 2).await;
    world.pool_is_ready("default", 1).await;
    world.streams(2, 2).await;

    // A third is that of the pod which replaces the claimed one: the Task needed none of its own.
    world.sandbox("s", "idle").await;
    let task = world.run("t", "s", json!([shell("a", "echo hello")])).await;
    assert_eq!(status(&task).stdout.as_deref(), Some("hello\n"));
    world.streams(3, 3).await;

    // One that is lost while it is idle.
    let held = world.pod_of("s").await;
    let idle = |pod: &&Pod| {
        let name = pod.metadata.name.as_deref();
        name.is_some_and(|name| name.starts_with("idle-") && name != held)
    };
    let pods = world.pods("two idle ones", |pods| pods.iter().filter(idle).count() == 2).await;
    let lost = pods.iter().find(idle).unwrap().metadata.name.clone().unwrap();
    world.api::<Pod>().delete(&lost, &DeleteParams::default().grace_period(0)).await.unwrap();
    world.streams(3, 4).await;

    // Another operator opens them anew, those to idle pods too.
    world.kill();
    world.start_operator().await;
    assert_eq!(world.output("again", "s", "echo again").await, "again\n");
    world.streams(3, 3).await;

    // No stream outlives its pod.
    world.delete::<WarmPool>("idle").await;
    world.streams(1, 3).await;
    world.delete::<Sandbox>("s").await;
    world.streams(0, 3).await;
    world.pool_is_ready("default", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_with_plain_exec_has_no_streams_to_keep() {
    let world = World::without_operator("connect-exec").await;
    let mut refused = pool("p", 1, "Idle");
    refused["spec"]["executor"]["mode"] = json!("Exec");
    let said = world.try_create(&refused, true).await.unwrap_err().to_string();
    assert!(said.contains("spec.executor.connect: Idle needs mode Agent"), "{said}");
}

/// What all processes of this name use, in KiB, and how many there are.
fn processes(name: &str) -> (usize, u64) {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let sizes = all.filter_map(|path| {
        // The first 15 characters are all that there is of it.
        let is = std::fs::read_to_string(path.join("comm")).ok()?.trim() == &name[..name.len().min(15)];
        let rollup = std::fs::read_to_string(path.join("smaps_rollup")).ok().filter(|_| is)?;
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.strip_suffix("kB"))?;
        pss.trim().parse::<u64>().ok()
    });
    sizes.fold((0, 0), |(count, sum), size| (count + 1, sum + size))
}

/// What is used by whoever has a part in a stream.
async fn used(world: &World, when: &str) {
    let metrics = world.operator().metrics().await;
    let lines = ["process_cpu_seconds_total", "process_resident_memory_bytes", "arl_run_streams_open"];
    let found: Vec<_> = metrics.lines().filter(|line| lines.iter().any(|name| line.starts_with(name))).collect();
    eprintln!("{when}: operator {found:?}");
    for name in ["arl-agent", "containerd-shim-runc-v2", "containerd", "kubelet", "kube-apiserver"] {
        eprintln!("  {name}: {:?} processes and KiB (PSS)", processes(name));
    }
}

/// What streams to 40 idle pods cost the operator, the pods and the node.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and 40 pods; for figures"]
async fn forty_streams_to_idle_pods() {
    const PODS: usize = 40;
    let minute = std::time::Duration::from_secs(60);
    let world = World::new("connect-forty").await;
    world.create(&pool("p", PODS, "Claimed")).await;
    world.pool_is_ready("p", 40).await;
    world.pass(minute).await;
    used(&world, "without streams").await;
    world.pass(minute).await;
    used(&world, "a minute later").await;
    world.merge::<WarmPool>("p", &json!({"spec": {"executor": {"connect": "Idle"}}})).await;
    world.streams(PODS, PODS).await;
    world.pass(minute).await;
    used(&world, "with streams").await;
    world.pass(minute).await;
    used(&world, "a minute later").await;
}
