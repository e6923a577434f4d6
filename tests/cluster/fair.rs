//! What one asks for does not take the operator from the others, and leaves nothing behind.

use std::time::Duration;

use arl_crds::{Sandbox, Task, WarmPool};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::make::template;
use crate::harness::{World, setup};
use crate::refusals::{create, mend, pool_says, webhook};

const MEMORY_MAX: u64 = 160 << 20;

/// A template whose pods no node takes, so that they cost next to nothing.
fn nowhere() -> Value {
    let mut template = template();
    template["spec"]["nodeSelector"] = json!({"arl.infra.io/test": "nowhere"});
    template
}

impl World {
    async fn scale(&self, pool: &str, replicas: i32) -> kube::Result<()> {
        let change = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.api::<WarmPool>().patch_scale(pool, &PatchParams::default(), &change).await.map(drop)
    }
}

fn quota_exceeded(pool: &WarmPool) -> bool {
    let conditions = pool.status.iter().flat_map(|s| &s.conditions);
    conditions.into_iter().any(|c| c.type_ == "PodsFailing" && c.reason == "QuotaExceeded")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_replicas_with_room_for_two_are_survived() {
    let mut world = World::new("fair-many").await;
    world.quota(2).await;
    world.pool("p", 1).await;
    for replicas in [i32::MAX, 100_001] {
        let refused = world.scale("p", replicas).await.unwrap_err().to_string();
        assert!(refused.contains("less than or equal to 100000"), "{refused}");
    }
    world.scale("p", 100_000).await.unwrap();
    world.one("p", "the quota is named", quota_exceeded).await;
    // A restart tries everything at once.
    world.kill();
    world.start_operator().await;
    world.pods("two pods", |pods| pods.len() == 2).await;
    world.one("p", "the quota is named", quota_exceeded).await;
    let peak = world.peak_memory();
    assert!(world.operator_is_alive() && peak < MEMORY_MAX, "{peak} bytes");
    world.scale("p", 1).await.unwrap();
    world.pods("one pod", |pods| pods.len() == 1).await;
}

fn last_number(pods: &[Pod]) -> usize {
    pods.iter().filter_map(|pod| pod.name_any().rsplit('-').next()?.parse().ok()).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_scaled_back_or_deleted_stops_growing() {
    const MANY: i32 = 400;
    let world = World::new("fair-back").await;
    world.pool_of("p", 0, &nowhere()).await;
    world.scale("p", MANY).await.unwrap();
    world
        .one("p", "its status shows that it grows", |p: &WarmPool| p.status.as_ref().is_some_and(|s| s.total > 5))
        .await;
    world.scale("p", 1).await.unwrap();
    world
        .pods("one pod", |pods| pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count() == 1)
        .await;
    let pool =
        world.one("p", "its status shows one", |p: &WarmPool| p.status.as_ref().is_some_and(|s| s.total == 1)).await;
    let made = pool.status.unwrap().last_pod_number.unwrap();
    assert!(made < i64::from(MANY) / 2, "{made} were made");

    world.scale("p", MANY).await.unwrap();
    let grown = world.pods("it grows again", |pods| pods.len() > 10).await;
    world.delete::<WarmPool>("p").await;
    world.pods("no pods", <[Pod]>::is_empty).await;
    if let Some(requests) = world.requests().await {
        let created = requests.iter().filter(|request| request.is("create", "pods")).count();
        assert!(created < last_number(&grown) + usize::try_from(MANY).unwrap() / 2, "{created} creates");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_counted_goes_with_the_last_object_of_a_namespace() {
    let world = World::with_sandbox("fair-series").await;
    world.output("t", "s", "echo done").await;
    let of_this = format!("namespace=\"{}\"", world.ns);
    let lines = async || {
        let text = world.operator().metrics().await;
        text.lines().filter(|line| line.contains(&of_this)).map(str::to_owned).collect::<Vec<_>>()
    };
    // The operator counts once its write is answered, which its watch, and this test's, may be ahead of.
    world.operator().metrics_with(&[&format!("arl_tasks_finished_total{{{of_this},reason=\"Succeeded\"}} 1")]).await;
    let counted = lines().await;
    for name in ["arl_sandbox_claims_total", "arl_tasks_finished_total", "arl_step_seconds_count"] {
        assert!(counted.iter().any(|line| line.starts_with(name)), "{name} is not in {counted:#?}");
    }
    world.delete::<Task>("t").await;
    world.delete::<Sandbox>("s").await;
    let pools = world.all("the pool", |pools: &[WarmPool]| !pools.is_empty()).await;
    world.delete::<WarmPool>(&pools[0].name_any()).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let left = lines().await;
        if left.is_empty() {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{left:#?}");
        world.pass(Duration::from_millis(200)).await;
    }
}

/// A pod that takes connections and never answers, and where.
async fn silent_server(world: &World) -> String {
    let listen = "import socket, time; s = socket.create_server((\"\", 8443), backlog=128); time.sleep(3600)";
    let pod = json!({"metadata": {"name": "silent"}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
        "name": "executor", "image": "python:3.9-slim", "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", listen],
        "startupProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1, "failureThreshold": 60},
    }]}});
    create::<Pod>(world.api(), pod).await.unwrap();
    let listens = |pod: &Pod| {
        let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
        statuses.into_iter().any(|container| container.started == Some(true))
    };
    let pod = world.one("silent", "it listens", listens).await;
    format!("https://{}:8443/", pod.status.and_then(|s| s.pod_ip).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_hangs_in_one_namespace_delays_no_pool_of_another() {
    let world = World::without_operator("fair-slow").await;
    let other = World::served("fair-other").await;
    setup::admit_operator_of(&world.client, &world.ns, &other.ns).await;
    let url = silent_server(&other).await;
    let connections = async || {
        let count = other.look_into("silent", "grep -c ':20FB .* 01 ' /proc/net/tcp || true").await;
        count.trim().parse::<usize>().unwrap_or(0)
    };
    let webhook = webhook(&world, "CREATE", &url, 30).await;
    let _operator = world.another_operator("both", &format!("{},{}", world.ns, other.ns), &[]).await;
    world.pool_of("p", 1, &nowhere()).await;
    for more in 1..20 {
        world.pool_of(&format!("p-{more}"), 1, &nowhere()).await;
    }
    let many = async {
        while connections().await < 12 {
            world.pass(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), many).await.expect("calls that hang");

    other.pool_of("p", 1, &nowhere()).await;
    other.one("p", "it has made its pod", |p: &WarmPool| p.status.as_ref().is_some_and(|s| s.total == 1)).await;
    let pools = world.api::<WarmPool>().list(&ListParams::default()).await.unwrap();
    let failed = |pool: &WarmPool| pool.status.iter().flat_map(|s| &s.conditions).any(|c| c.reason == "ApiError");
    assert!(!pools.items.iter().any(failed), "it waited until one of those was given up");
    let is_told = |pool: &WarmPool| {
        let conditions = pool.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|c| c.type_ == "Ready" && c.message.contains("takes long to answer"))
    };
    let are_told = |pools: &[WarmPool]| pools.iter().filter(|pool| is_told(pool)).count() >= 12;
    world.all("the pools whose calls hang say so before those have ended", are_told).await;
    pool_says(&world, "ApiError", "failed calling webhook").await;
    mend(&world, &webhook).await;
}
