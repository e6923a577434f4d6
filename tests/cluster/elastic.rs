//! Pools that follow what Sandboxes ask for, between their limits.

use arl_crds::{Sandbox, SandboxPhase, WarmPool, WarmPoolStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{manifest, template};

impl World {
    async fn elastic_pool(&self, replicas: i32, scaling: &Value) {
        let spec = json!({"replicas": replicas, "scaling": scaling, "template": template()});
        self.create(&manifest("WarmPool", "p", &spec)).await;
    }

    /// Waits until the pool's status is as wanted.
    async fn pool_says(&self, what: &str, holds: impl Fn(&WarmPoolStatus) -> bool) -> WarmPoolStatus {
        self.one("p", what, |pool: &WarmPool| pool.status.as_ref().is_some_and(&holds)).await.status.unwrap()
    }
}

fn limit(status: &WarmPoolStatus) -> Option<(&str, &str)> {
    let limited = status.conditions.iter().find(|c| c.type_ == "ScalingLimited")?;
    Some((limited.status.as_str(), limited.reason.as_str()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_sleeps_wakes_for_those_who_wait_and_sleeps_again() {
    let world = World::new("elastic").await;
    world.elastic_pool(0, &json!({"maxReplicas": 3, "maxPods": 4, "scaleDownAfterSeconds": 3})).await;
    let asleep = world.pool_says("it sleeps", |s| s.wanted == Some(0)).await;
    assert_eq!(
        (asleep.waiting, asleep.total, asleep.hit_rate, limit(&asleep)),
        (Some(0), 0, None, Some(("False", "WithinLimits")))
    );

    for n in 0..5 {
        world.sandbox(&format!("s{n}"), "p").await;
    }
    // One more waits than there may be pods.
    let waits = |s: &Sandbox| {
        s.status.iter().flat_map(|s| &s.conditions).any(|c| c.reason == "PoolAtLimit" && c.message.contains("maxPods"))
    };
    let served = |s: &Sandbox| s.status.as_ref().is_some_and(|s| s.phase == Some(SandboxPhase::Ready));
    let all = world
        .all("four are Ready and one waits for the limit", |all: &[Sandbox]| {
            all.iter().filter(|s| served(s)).count() == 4 && all.iter().any(waits)
        })
        .await;
    let full = world.pool_says("four of four pods are held", |s| s.allocated == 4 && s.waiting == Some(1)).await;
    assert_eq!((full.total, full.wanted, limit(&full)), (4, Some(0), Some(("True", "AtMaxPods"))));
    assert_eq!(full.hit_rate, Some(0), "none of them found a pod at once");
    world.pods("four pods", |pods| pods.len() == 4).await;

    let name = |s: &Sandbox| s.metadata.name.clone().unwrap();
    let (first, last) = (name(all.iter().find(|s| served(s)).unwrap()), name(all.iter().find(|s| waits(s)).unwrap()));
    world.delete::<Sandbox>(&first).await;
    world.phase(&last, SandboxPhase::Ready).await;
    world.pool_says("nobody waits", |s| s.waiting == Some(0) && limit(s) == Some(("False", "WithinLimits"))).await;

    for sandbox in all.iter().map(name).filter(|other| *other != first) {
        world.delete::<Sandbox>(&sandbox).await;
    }
    let asleep =
        world.pool_says("it sleeps again", |s| s.wanted == Some(0) && s.total == 0 && s.waiting == Some(0)).await;
    assert_eq!((asleep.ready, asleep.allocated), (0, 0));
    world.all("no pods", |pods: &[Pod]| pods.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_raise_the_number_of_ready_pods_and_quiet_lowers_it_to_the_least() {
    let world = World::new("elastic-claims").await;
    world.elastic_pool(1, &json!({"maxReplicas": 3})).await;
    world.pool_is_ready("p", 1).await;
    world.sandbox("first", "p").await;
    world.phase("first", SandboxPhase::Ready).await;
    let grown = world.pool_says("two are ready", |s| s.ready == 2 && s.wanted == Some(2)).await;
    assert_eq!((grown.hit_rate, grown.allocated), (Some(100), 1), "half as many again as were claimed, rounded up");
    world.merge::<WarmPool>("p", &json!({"spec": {"scaling": {"scaleDownAfterSeconds": 2}}})).await;
    let rested = world.pool_says("one is ready", |s| s.ready == 1 && s.total == 2 && s.wanted == Some(1)).await;
    assert_eq!(rested.allocated, 1, "the Sandbox keeps its pod");
    world.phase("first", SandboxPhase::Ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_contradict_each_other_are_refused_with_a_remedy() {
    let world = World::without_operator("elastic-limits").await;
    let pool = |replicas: i32, scaling: Value| {
        manifest("WarmPool", "p", &json!({"replicas": replicas, "scaling": scaling, "template": template()}))
    };
    for (replicas, scaling, said) in [
        (4, json!({"maxReplicas": 3}), "raise maxReplicas or lower replicas"),
        (1, json!({"maxReplicas": 3, "maxPods": 2}), "raise maxPods or lower maxReplicas"),
        (1, json!({"maxPods": 2}), "maxReplicas"),
        (1, json!({"maxReplicas": 3, "scaleDownAfterSeconds": 0}), "scaleDownAfterSeconds"),
    ] {
        let refused = world.try_create(&pool(replicas, scaling.clone()), true).await.unwrap_err().to_string();
        assert!(refused.contains(said), "{scaling}: {refused}");
    }
    world.create(&pool(2, json!({"maxReplicas": 3, "maxPods": 3}))).await;
    let quiet =
        world.untyped("WarmPool").get("p").await.unwrap().data["spec"]["scaling"]["scaleDownAfterSeconds"].clone();
    assert_eq!(quiet, json!(300));
    // What moves replicas from outside moves the least, up to the most.
    let scale = async |replicas: i32| {
        let change = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        world.api::<WarmPool>().patch_scale("p", &PatchParams::default(), &change).await
    };
    assert_eq!(scale(3).await.unwrap().spec.unwrap().replicas, Some(3));
    let refused = scale(4).await.unwrap_err().to_string();
    assert!(refused.contains("raise maxReplicas or lower replicas"), "{refused}");
}
