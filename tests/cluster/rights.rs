//! The operator's rights against what it asks for: nothing is refused, and nothing is granted that nothing needs. What is missing is
//! said.

use std::collections::BTreeSet;

use arl_crds::{Sandbox, SandboxPhase, Task, WarmPool};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{ClusterRole, Role, RoleBinding};
use kube::Api;
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::audit::Request;
use crate::harness::make::{file, message, reason, shell, status, template};
use crate::harness::setup::{self, documents, root};
use crate::refusals::{create, pool_says};

/// Rights that are granted for what a test cannot bring about, and why.
const RARE: [(&str, &str); 8] = [
    // API servers before 1.32 do not stream lists.
    ("list", "arl.infra.io/warmpools"),
    ("list", "arl.infra.io/sandboxes"),
    ("list", "pods"),
    // Only where all namespaces are watched.
    ("list", "nodes"),
    ("watch", "nodes"),
    // What keeps a pod from starting for half a minute.
    ("list", "events.k8s.io/events"),
    // After a status write of which it is not known whether it took effect.
    ("get", "arl.infra.io/warmpools"),
    // API servers from 1.35 on ask for it where a stream over a WebSocket is opened; before, a get was all.
    ("create", "pods/exec"),
];

/// Verb and resource, with its group where it is not the core's.
type Right = (String, String);

fn right(verb: &str, group: &str, resource: &str) -> Right {
    let resource = if group.is_empty() { resource.to_owned() } else { format!("{group}/{resource}") };
    (verb.to_owned(), resource)
}

fn strings(value: &Value) -> impl Iterator<Item = &str> + Clone {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// What the operator's own roles grant.
fn granted() -> BTreeSet<Right> {
    let mut found = BTreeSet::new();
    for file in ["rbac.yaml", "rbac-leader-election.yaml"] {
        let documents = documents(&root().join("deploy/kustomize/base").join(file));
        for rule in documents.iter().flat_map(|role| role["rules"].as_array().into_iter().flatten()) {
            for group in strings(&rule["apiGroups"]) {
                for resource in strings(&rule["resources"]) {
                    found.extend(strings(&rule["verbs"]).map(|verb| right(verb, group, resource)));
                }
            }
        }
    }
    found
}

fn used(requests: &[Request]) -> BTreeSet<Right> {
    let resource = |r: &Request| match r.object_ref.subresource.as_str() {
        "" => r.object_ref.resource.clone(),
        part => format!("{}/{part}", r.object_ref.resource),
    };
    // What has no resource is the published OpenAPI, which everybody may read.
    let of_objects = requests.iter().filter(|r| !r.object_ref.resource.is_empty());
    of_objects.map(|r| right(&r.verb, &r.object_ref.api_group, &resource(r))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_right_is_used_and_none_is_missing() {
    let world = World::without_operator("rights").await;
    setup::allow_election(&world.client, &world.ns).await;
    let operator = world.another_operator("operator", &world.ns, &["--leader-elect"]).await;
    world.pool("p", 2).await;
    world.pool_is_ready("p", 2).await;
    world.sandbox("s", "p").await;
    // Large steps are read when they are needed.
    world.run("files", "s", json!([file("a", "/workspace/f", &"content".repeat(1_000))])).await;

    world.sandbox_with("own", &json!({"poolRef": "p", "setup": {"steps": [shell("a", "true")]}})).await;
    let is_ready = |s: &Sandbox| s.status.as_ref().is_some_and(|status| status.phase == Some(SandboxPhase::Ready));
    world.one("own", "set up", is_ready).await;

    // Times to live.
    world.sandbox_with("brief", &json!({"poolRef": "p", "ttlSecondsAfterFinished": 0})).await;
    let steps = json!([shell("a", "true")]);
    world.task_with("brief", &json!({"sandboxRef": "brief", "ttlSecondsAfterFinished": 0, "steps": steps})).await;
    world.gone::<Task>("brief").await;
    world.gone::<Sandbox>("brief").await;

    // A surplus, and a pod that is lost while it is in use.
    world.pool_is_ready("p", 2).await;
    let _: WarmPool = world.merge("p", &json!({"spec": {"replicas": 1}})).await;
    world.pool_is_ready("p", 1).await;
    world.task("long", "s", json!([shell("a", "sleep 600")])).await;
    world.running("long").await;
    world.delete::<Pod>(&world.pod_of("s").await).await;
    world.finished("long").await;

    // A Sandbox that waits for a pool that comes.
    world.sandbox("early", "late").await;
    world.sandbox_reason("early", "PoolNotFound").await;
    world.pool("late", 0).await;
    world.sandbox_reason("early", "PoolEmpty").await;

    // A pod that goes while nobody looks.
    world.sandbox("left", "p").await;
    let pod = world.pod_of("left").await;
    operator.kill();
    world.delete::<Pod>(&pod).await;
    world.gone::<Pod>(&pod).await;
    let second = world.another_operator("second", &world.ns, &["--leader-elect"]).await;
    world.sandbox_reason("left", "PodLost").await;
    // Streams are noted when they end.
    second.kill();

    let Some(requests) = world.requests_of(&world.operator_user()).await else { return };
    let forbidden: Vec<_> = requests.iter().filter(|request| request.is_forbidden()).collect();
    assert!(forbidden.is_empty(), "refused: {forbidden:#?}");
    let (granted, used) = (granted(), used(&requests));
    let rare: BTreeSet<_> = RARE.iter().map(|(verb, resource)| ((*verb).to_owned(), (*resource).to_owned())).collect();
    let unused: BTreeSet<_> = granted.difference(&used).cloned().collect();
    assert!(unused.is_subset(&rare), "granted and not used: {:?}", unused.difference(&rare).collect::<Vec<_>>());
    assert!(rare.is_subset(&granted), "no longer granted: {:?}", rare.difference(&granted).collect::<Vec<_>>());
    assert!(used.is_subset(&granted), "used by another right: {:?}", used.difference(&granted).collect::<Vec<_>>());
}

/// Gives the operator all its rights but these in place of all.
async fn without_rights(world: &World, resource: &str, verb: &str) {
    let all = Api::<ClusterRole>::all(world.client.clone()).get(setup::ACCOUNT).await.unwrap();
    let mut rules = Vec::new();
    for rule in all.rules.unwrap_or_default() {
        for name in rule.resources.clone().unwrap_or_default() {
            let mut verbs = rule.verbs.clone();
            verbs.retain(|v| name != resource || v != verb);
            rules.push(json!({"apiGroups": rule.api_groups, "resources": [name], "verbs": verbs}));
        }
    }
    let role = json!({"metadata": {"name": "less"}, "rules": rules});
    create::<Role>(world.api(), role).await.unwrap();
    bind(world, "Role", "less").await;
    world.delete::<RoleBinding>(setup::ACCOUNT).await;
}

/// Gives the operator the rights of a role in the namespace.
async fn bind(world: &World, kind: &str, role: &str) {
    let binding = json!({"metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": setup::ACCOUNT, "namespace": world.ns}]});
    create::<RoleBinding>(world.api(), binding).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_said_where_it_is_missed_until_it_is_given() {
    let mut world = World::without_operator("no-right").await;
    without_rights(&world, "pods", "create").await;
    world.start_operator().await;
    world.pool("p", 1).await;
    pool_says(&world, "Refused", "cannot create resource \"pods\"").await;
    bind(&world, "ClusterRole", setup::ACCOUNT).await;
    world.pool_is_ready("p", 1).await;
    world.recovered("p").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_which_nothing_could_be_sent_before_its_container_was_restarted_runs_in_the_next_one() {
    let mut world = World::without_operator("not-sent").await;
    without_rights(&world, "pods/exec", "get").await;
    world.start_operator().await;
    let mut mortal = template();
    mortal["spec"]["containers"][0]["command"] = json!(["sh", "-c", "trap 'exit 1' TERM; while :; do sleep 1; done"]);
    world.pool_of("p", 1, &mortal).await;
    world.sandbox("s", "p").await;
    let pod = world.pod_of("s").await;
    world.phase("s", SandboxPhase::Ready).await;
    world.task("t", "s", json!([shell("a", "echo ran")])).await;
    let hindered = |task: &Task| task.status.is_some() && message(task).contains("cannot be reached");
    world.one("t", "nothing is sent", hindered).await;
    for restarts in 1..=2 {
        world.look_into(&pod, "kill -TERM 1").await;
        let counted = |s: &Sandbox| s.status.as_ref().is_some_and(|s| s.restarts == Some(restarts));
        world.one("s", "the restart is counted", counted).await;
    }
    bind(&world, "ClusterRole", setup::ACCOUNT).await;
    let task = world.finished("t").await;
    assert_eq!(reason(&task), "Succeeded", "{:?}", task.status);
    assert_eq!(status(&task).stdout.as_deref(), Some("ran\n"));
}
