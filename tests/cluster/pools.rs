//! A pool keeps the number of idle pods it was asked for, of the template it has, and says why where it cannot.

use std::time::Duration;

use arl_crds::{SandboxPhase, WarmPool, WarmPoolPhase, labels};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::ResourceExt;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{manifest, template};
use crate::harness::wait::{is_idle, is_ready};

/// A template whose pods can be told from those of another version.
fn version(name: &str) -> Value {
    let mut template = template();
    template["metadata"] = json!({"labels": {"version": name}});
    template
}

fn has_version(pod: &Pod, version: &str) -> bool {
    pod.labels().get("version").is_some_and(|v| v == version)
}

impl World {
    async fn failing(&self, pool: &str, reason: &str) -> WarmPool {
        self.one(pool, &format!("PodsFailing: {reason}"), |p: &WarmPool| failure(p) == Some(reason)).await
    }

    /// Waits until no pod of the pool fails.
    pub async fn recovered(&self, pool: &str) -> WarmPool {
        self.one(pool, "PodsFailing is False", |p: &WarmPool| p.status.is_some() && failure(p).is_none()).await
    }
}

/// Why the pool's pods fail, where they do.
fn failure(pool: &WarmPool) -> Option<&str> {
    let conditions = pool.status.iter().flat_map(|s| &s.conditions);
    conditions.into_iter().find(|c| c.type_ == "PodsFailing" && c.status == "True").map(|c| c.reason.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_pods_follows_replicas() {
    let world = World::new("scale").await;
    world.pool("p", 2).await;
    for replicas in [2, 5, 1, 0, 1] {
        let _scaled: WarmPool = world.merge("p", &json!({"spec": {"replicas": replicas}})).await;
        let status = world.pool_is_ready("p", replicas).await.status.unwrap();
        assert_eq!((status.allocated, status.total, status.phase), (0, replicas, Some(WarmPoolPhase::Ready)));
        let wanted = usize::try_from(replicas).unwrap();
        world.pods(&format!("{replicas} pods"), |pods| pods.len() == wanted).await;
    }
    let counts = world.untyped("WarmPool").get("p").await.unwrap().data["status"].clone();
    assert_eq!(counts["allocated"], json!(0), "counts of 0 are written too");
    assert!(counts["selector"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_template_rolls_idle_pods_and_leaves_allocated_ones() {
    let world = World::new("roll").await;
    world.pool_of("p", 2, &version("old")).await;
    world.sandbox("s", "p").await;
    let held = world.phase("s", SandboxPhase::Ready).await.status.unwrap().pod_uid;
    world.pool_is_ready("p", 2).await;
    let _changed: WarmPool = world.merge("p", &json!({"spec": {"template": version("new")}})).await;
    let pods = world
        .pods("two new idle pods and the old allocated one", |pods| {
            let ready = pods.iter().filter(|p| is_idle(p) && is_ready(p)).count();
            assert!(ready >= 2, "a pod went before its replacement was ready");
            assert!(pods.len() <= 4, "a surge of more than one");
            pods.len() == 3 && pods.iter().filter(|p| is_idle(p)).all(|p| has_version(p, "new"))
        })
        .await;
    let allocated = pods.iter().find(|p| !is_idle(p)).unwrap();
    assert_eq!(allocated.uid(), held);
    assert!(has_version(allocated, "old"));
    let is_carried_out = |pool: &WarmPool| {
        let status = pool.status.as_ref();
        status.is_some_and(|s| s.outdated == 0 && s.observed_generation == pool.metadata.generation)
    };
    world.one("p", "it says that it has rolled", is_carried_out).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_rolls_where_the_quota_has_no_room_for_one_more() {
    let world = World::new("roll-quota").await;
    world.quota(2).await;
    world.pool_of("p", 2, &version("old")).await;
    world.pool_is_ready("p", 2).await;
    let mut bad = version("bad");
    bad["spec"]["containers"][0]["image"] = json!("127.0.0.1:1/nosuch:1");
    let _changed: WarmPool = world.merge("p", &json!({"spec": {"template": bad}})).await;
    world.failing("p", "ImagePullBackOff").await;
    world
        .pods("one old pod is left", |pods| pods.iter().filter(|p| has_version(p, "old") && is_ready(p)).count() == 1)
        .await;
    let _changed: WarmPool = world.merge("p", &json!({"spec": {"template": version("new")}})).await;
    world
        .pods("two new pods", |pods| {
            assert!(pods.iter().any(|p| is_ready(p) && p.metadata.deletion_timestamp.is_none()), "none was left");
            pods.len() == 2 && pods.iter().all(|p| has_version(p, "new") && is_ready(p))
        })
        .await;
    world.recovered("p").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_pulled_is_named() {
    let world = World::new("bad-image").await;
    let mut bad = template();
    bad["spec"]["containers"][0]["image"] = json!("127.0.0.1:1/nosuch:1");
    world.pool_of("p", 1, &bad).await;
    let pool = world.failing("p", "ImagePullBackOff").await;
    let status = pool.status.unwrap();
    assert_eq!((status.phase, status.ready), (Some(WarmPoolPhase::Pending), 0));
    let condition = status.conditions.iter().find(|c| c.type_ == "PodsFailing").unwrap();
    assert!(condition.message.contains("127.0.0.1:1/nosuch:1"), "{}", condition.message);
    let _mended: WarmPool = world.merge("p", &json!({"spec": {"template": template()}})).await;
    world.pool_is_ready("p", 1).await;
    world.recovered("p").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_does_not_exist_is_named() {
    let world = World::new("no-container").await;
    let spec = json!({"replicas": 1, "template": template(), "executor": {"container": "nosuch"}});
    world.create(&manifest("WarmPool", "p", &spec)).await;
    let pool = world.failing("p", "InvalidTemplate").await;
    let conditions = pool.status.unwrap().conditions;
    let said = &conditions.iter().find(|c| c.type_ == "PodsFailing").unwrap().message;
    assert!(said.contains("nosuch") && said.contains("spec.executor.container"), "{said}");
    world.pods("none in which steps would run in another container", <[Pod]>::is_empty).await;
    let _mended: WarmPool = world.merge("p", &json!({"spec": {"executor": {"container": "executor"}}})).await;
    world.recovered("p").await;
    world.pool_is_ready("p", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_named_and_waited_for() {
    let world = World::new("quota").await;
    world.quota(1).await;
    world.pool("p", 3).await;
    world.failing("p", "QuotaExceeded").await;
    let _raised: ResourceQuota = world.merge("q", &json!({"spec": {"hard": {"pods": "10"}}})).await;
    world.pool_is_ready("p", 3).await;
    world.recovered("p").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_template_is_tried_seldom() {
    let world = World::new("invalid").await;
    let mut bad = template();
    bad["spec"]["restartPolicy"] = json!("Sometimes");
    world.pool_of("p", 5, &bad).await;
    let pool = world.failing("p", "InvalidTemplate").await;
    let conditions = pool.status.unwrap().conditions;
    let condition = conditions.iter().find(|c| c.type_ == "PodsFailing").unwrap();
    assert!(condition.message.contains("Sometimes"), "{}", condition.message);
    world.pass(Duration::from_secs(15)).await;
    if let Some(requests) = world.requests().await {
        let attempts = requests.iter().filter(|r| r.is("create", "pods")).count();
        assert!(attempts <= 12, "{attempts} attempts in 15 s");
    }
    let _mended: WarmPool =
        world.merge("p", &json!({"spec": {"template": {"spec": {"restartPolicy": "Always"}}}})).await;
    world.pool_is_ready("p", 5).await;
    world.recovered("p").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_idle_pods_are_replaced() {
    let world = World::new("replace").await;
    world.pool("p", 2).await;
    world.pool_is_ready("p", 2).await;
    let pods = world.pods("two pods", |pods| pods.len() == 2).await;

    world.delete::<Pod>(&pods[0].name_any()).await;
    // Past this the kubelet calls the pod Failed.
    let _ending: Pod = world.merge(&pods[1].name_any(), &json!({"spec": {"activeDeadlineSeconds": 1}})).await;

    let lost: Vec<_> = pods.iter().map(ResourceExt::uid).collect();
    world
        .pods("two other pods are ready", |pods| {
            pods.iter().filter(|p| is_ready(p)).count() == 2 && pods.iter().all(|p| !lost.contains(&p.uid()))
        })
        .await;
    world.pool_is_ready("p", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_somebody_else_that_has_the_next_name_is_passed_over() {
    let world = World::new("taken").await;
    world.pool("p", 1).await;
    world.pool_is_ready("p", 1).await;
    let first = world.pods("a pod", |pods| pods.len() == 1).await.remove(0).name_any();
    let (prefix, number) = first.rsplit_once('-').unwrap();
    let next = |by: u64| format!("{prefix}-{}", number.parse::<u64>().unwrap() + by);
    for by in [1, 2] {
        let pod = json!({"metadata": {"name": next(by)}, "spec": template()["spec"]});
        world.api::<Pod>().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    world.delete::<Pod>(&first).await;
    world
        .pods("the pool's pod has the name after those", |pods| {
            pods.iter().any(|p| p.name_any() == next(3) && is_ready(p))
        })
        .await;
    world.pool_is_ready("p", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_somebody_else_with_the_highest_number_does_not_end_the_pool() {
    let world = World::new("highest").await;
    world.pool("p", 1).await;
    world.pool_is_ready("p", 1).await;
    let first = world.pods("a pod", |pods| pods.len() == 1).await.remove(0).name_any();
    let (prefix, _) = first.rsplit_once('-').unwrap();
    let forged = json!({"metadata": {"name": format!("{prefix}-999999999999")}, "spec": template()["spec"]});
    world.api::<Pod>().create(&PostParams::default(), &serde_json::from_value(forged).unwrap()).await.unwrap();
    for claimed in ["s1", "s2", "s3"] {
        world.sandbox(claimed, "p").await;
        world.phase(claimed, SandboxPhase::Ready).await;
    }
    world.pool_is_ready("p", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_reaches_the_pod_with_what_it_says() {
    let world = World::new("template").await;
    let mut wanted = version("x");
    wanted["metadata"]["labels"][labels::POD_STATE] = json!("mine");
    wanted["metadata"]["annotations"] = json!({"note": "kept"});
    wanted["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": 0.01}});
    world.pool_of("p", 1, &wanted).await;
    world.pool_is_ready("p", 1).await;
    let pods = world.pods("a pod", |pods| pods.len() == 1).await;
    assert!(has_version(&pods[0], "x") && is_idle(&pods[0]), "our labels win over the template's");
    assert_eq!(pods[0].annotations().get("note").map(String::as_str), Some("kept"));
    assert_eq!(pods[0].spec.as_ref().unwrap().termination_grace_period_seconds, Some(1));
}

/// kubectl refuses what the API server, asked by others, drops with a warning.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_server_drops_of_a_template_is_named_until_it_is_corrected() {
    let world = World::new("warnings").await;
    let mut misspelt = template();
    misspelt["spec"]["securityContxt"] = json!({"runAsUser": 1000});
    misspelt["metdata"] = json!({"labels": {"a": "b"}});
    misspelt["metadata"]["finalizers"] = json!(["example.org/mine"]);
    // This is not left out, and warned of all the same.
    misspelt["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
    world.pool_of("p", 1, &misspelt).await;
    world.pool_is_ready("p", 1).await;
    let warned = |pool: &WarmPool| {
        let conditions = pool.status.iter().flat_map(|s| &s.conditions);
        conditions.into_iter().find(|c| c.type_ == "TemplateWarnings").map(|c| c.message.clone())
    };
    let names_it = |pool: &WarmPool| {
        warned(pool).is_some_and(|said| {
            ["spec.securityContxt", "\"metdata\"", "\"metadata.finalizers\""].iter().all(|name| said.contains(name))
        })
    };
    let pool = world.one("p", "the field is named", names_it).await;
    let said = warned(&pool).unwrap();
    let (left_out, others) = said.split_once("; correct spec.template; besides, the API server warns: ").unwrap();
    assert!(!left_out.contains("env[1]") && others.contains("env[1]"), "{said}");
    assert_eq!(failure(&pool), None, "the pods are well");
    let spec = json!({"securityContxt": null, "containers": template()["spec"]["containers"]});
    let corrected = json!({"spec": {"template": {"metdata": null, "metadata": {"finalizers": null}, "spec": spec}}});
    let _corrected: WarmPool = world.merge("p", &corrected).await;
    world.one("p", "nothing is warned of", |pool: &WarmPool| warned(pool).is_none()).await;
}
