//! One Sandbox, one pod: first come, first served, in two writes, and no pod too many.

use std::collections::BTreeSet;

use arl_crds::{Sandbox, SandboxPhase, SandboxStatus, WarmPool, labels};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::json;

use crate::harness::World;

fn status(sandbox: &Sandbox) -> &SandboxStatus {
    sandbox.status.as_ref().expect("the Sandbox has a status")
}

fn is_ready(sandbox: &Sandbox) -> bool {
    sandbox.status.as_ref().is_some_and(|s| s.phase == Some(SandboxPhase::Ready))
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_sandboxes_get_twenty_pods_and_no_pod_too_many_is_made() {
    let world = World::new("burst").await;
    let record = world.record_pods();
    world.pool("p", 10).await;
    world.pool_is_ready("p", 10).await;
    let names: Vec<String> = (0..20).map(|i| format!("s{i:02}")).collect();
    join_all(names.iter().map(|name| world.sandbox(name, "p"))).await;
    let sandboxes =
        world.all("20 Sandboxes are Ready", |all: &[Sandbox]| all.iter().filter(|s| is_ready(s)).count() == 20).await;
    let pods: BTreeSet<_> = sandboxes.iter().filter_map(|s| status(s).pod_uid.clone()).collect();
    assert_eq!(pods.len(), 20);
    let pool = world.pool_is_ready("p", 10).await.status.unwrap();
    assert_eq!((pool.allocated, pool.total), (20, 30));
    assert_eq!(record.pods(), 30, "pods ever made: those kept idle, and one for each claim");
    record.assert_exclusive();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_pod_says_whose_it_is() {
    let world = World::with_sandbox("labels").await;
    let sandbox = world.phase("s", SandboxPhase::Ready).await;
    let status = status(&sandbox);
    let pod = world.api::<Pod>().get(status.pod_name.as_ref().unwrap()).await.unwrap();
    assert_eq!(pod.uid(), status.pod_uid);
    assert_eq!(pod.status.as_ref().unwrap().pod_ip, status.pod_ip);
    assert!(status.allocated_at.is_some());
    for (label, value) in [(labels::WARMPOOL, "p"), (labels::POD_STATE, "allocated"), (labels::SANDBOX, "s")] {
        assert_eq!(pod.labels().get(label).map(String::as_str), Some(value), "{label}");
    }
    assert_eq!(pod.annotations().get(labels::SAFE_TO_EVICT).map(String::as_str), Some("false"));
    assert_eq!(pod.annotations().get(labels::DO_NOT_DISRUPT).map(String::as_str), Some("true"));
    let owners: Vec<_> =
        pod.owner_references().iter().map(|o| (o.kind.as_str(), o.name.as_str(), o.controller)).collect();
    assert_eq!(owners, [("Sandbox", "s", Some(true))]);

    world.pool_is_ready("p", 1).await;
    let idle = world.pods("an idle pod beside it", |pods| pods.len() == 2).await;
    let idle = idle.iter().find(|p| p.uid() != pod.uid()).unwrap();
    assert_eq!(idle.labels().get(labels::POD_STATE).map(String::as_str), Some("ready"));
    assert_eq!(idle.owner_references()[0].kind, "WarmPool");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_pool_serves_in_order_of_creation() {
    let world = World::new("fifo").await;
    world.pool("p", 0).await;
    // Not the order of the names.
    let names = ["c", "a", "e", "b", "d"];
    for name in names {
        world.sandbox(name, "p").await;
    }
    for name in names {
        world.sandbox_reason(name, "PoolEmpty").await;
    }
    let _scaled: WarmPool = world.merge("p", &json!({"spec": {"replicas": 1}})).await;
    let mut sandboxes =
        world.all("all are Ready", |all: &[Sandbox]| all.iter().filter(|s| is_ready(s)).count() == names.len()).await;
    sandboxes.sort_by_key(|s| status(s).allocated_at.clone().unwrap().0);
    let order: Vec<String> = sandboxes.iter().map(ResourceExt::name_any).collect();
    assert_eq!(order, names);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_may_come_before_its_pool() {
    let world = World::new("before").await;
    world.sandbox("s", "p").await;
    world.sandbox_reason("s", "PoolNotFound").await;
    world.phase("s", SandboxPhase::Pending).await;
    world.pool("p", 1).await;
    world.phase("s", SandboxPhase::Ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_sandbox_removes_its_pod_even_while_the_operator_is_down() {
    let mut world = World::new("gone").await;
    world.pool("p", 2).await;
    world.sandbox("up", "p").await;
    world.sandbox("down", "p").await;
    let mut pods = Vec::new();
    for name in ["up", "down"] {
        let sandbox = world.phase(name, SandboxPhase::Ready).await;
        pods.push(status(&sandbox).pod_name.clone().unwrap());
    }
    world.delete::<Sandbox>("up").await;
    world.gone::<Pod>(&pods[0]).await;
    world.kill();
    world.delete::<Sandbox>("down").await;
    world.gone::<Pod>(&pods[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_pool_removes_its_idle_pods_only() {
    let world = World::new("pool-gone").await;
    world.pool("p", 3).await;
    world.sandbox("s", "p").await;
    let sandbox = world.phase("s", SandboxPhase::Ready).await;
    world.pool_is_ready("p", 3).await;
    world.delete::<WarmPool>("p").await;
    let held = status(&sandbox).pod_uid.clone();
    world.pods("only the allocated pod is left", |pods| pods.len() == 1 && pods[0].uid() == held).await;
    let works = world.output("t", "s", "echo works").await;
    assert_eq!(works, "works\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_takes_two_writes() {
    let world = World::new("writes").await;
    world.pool("p", 3).await;
    world.pool_is_ready("p", 3).await;
    let names = ["a", "b", "c"];
    join_all(names.map(|name| world.sandbox(name, "p"))).await;
    for name in names {
        world.phase(name, SandboxPhase::Ready).await;
    }
    world.pool_is_ready("p", 3).await;
    let Some(requests) = world.requests().await else { return };
    let writes: Vec<_> = requests.iter().filter(|r| r.is_write()).collect();
    // A kubelet may write to a pod between the look at it and its claim: that claim is refused and made anew.
    let accepted = |verb, resource| writes.iter().filter(|r| r.is(verb, resource) && !r.is_conflict()).count();
    assert_eq!(accepted("patch", "pods"), 3, "{writes:#?}");
    assert_eq!(accepted("patch", "sandboxes/status"), 3, "{writes:#?}");
    // A pool that looks again before its watch has told of a new pod asks for that name once more, and is refused.
    let created: BTreeSet<_> = writes.iter().filter(|r| r.is("create", "pods")).map(|r| &r.object_ref.name).collect();
    assert_eq!(created.len(), 6, "three idle pods and their replacements: {writes:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_an_earlier_template_is_said_to_be_one() {
    let world = World::new("earlier").await;
    world.pool("p", 1).await;
    world.pool_is_ready("p", 1).await;
    let earlier = "made from an earlier template than the pool has now";
    let says = |s: &Sandbox| status(s).conditions.iter().any(|c| c.type_ == "Ready" && c.message.contains(earlier));
    world.sandbox("before", "p").await;
    let before = world.phase("before", SandboxPhase::Ready).await;
    assert!(!says(&before), "{:?}", before.status);
    world.pool_is_ready("p", 1).await;
    let template = json!({"spec": {"template": {"metadata": {"labels": {"version": "new"}}}}});
    let changed: WarmPool = world.merge("p", &template).await;
    // The watches of pools and Sandboxes are two: what is told of the claim is what the operator knows of the pool.
    let is_seen = |pool: &WarmPool| {
        pool.status.as_ref().and_then(|status| status.observed_generation) == changed.metadata.generation
    };
    world.one("p", "the operator has seen the new template", is_seen).await;
    world.sandbox("s", "p").await;
    let held = world.phase("s", SandboxPhase::Ready).await;
    let pod = world.api::<Pod>().get(status(&held).pod_name.as_ref().unwrap()).await.unwrap();
    let is_old = !pod.labels().contains_key("version");
    assert_eq!(says(&held), is_old, "{:?}", held.status);
    world.sandbox("next", "p").await;
    world.pool_is_ready("p", 1).await;
    let next = world.phase("next", SandboxPhase::Ready).await;
    let pod = world.api::<Pod>().get(status(&next).pod_name.as_ref().unwrap()).await.unwrap();
    assert_eq!(says(&next), !pod.labels().contains_key("version"));
}
