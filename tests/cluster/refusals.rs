//! What the API refuses or does not do never passes for done: the object that it keeps from where it should be says so, and goes on
//! by itself once it may.

use std::fmt::Debug;
use std::time::Duration;

use arl_crds::{Sandbox, SandboxPhase, Task, WarmPool};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{shell, template};

/// What a policy of this test says.
const WORDS: &str = "the security team does not want it";

fn selector(world: &World) -> Value {
    json!({"matchLabels": {"kubernetes.io/metadata.name": world.ns}})
}

/// Creates what `object` says.
pub async fn create<K>(api: Api<K>, object: Value) -> kube::Result<K>
where
    K: Clone + DeserializeOwned + Serialize + Debug,
{
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await
}

/// A user's policy, in force in the namespace of the test only: what does not fulfil `expression` is refused.
async fn policy(world: &World, name: &str, rule: Value, expression: &str) -> String {
    let name = format!("{name}-{}", world.ns);
    let probe =
        json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]});
    let object = json!({"metadata": {"name": name}, "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {"namespaceSelector": selector(world), "resourceRules": [rule, probe]},
        "validations": [{"expression": format!("request.resource.resource != 'configmaps' && ({expression})"), "message": WORDS}],
    }});
    create::<ValidatingAdmissionPolicy>(Api::all(world.client.clone()), object).await.unwrap();
    let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}});
    create::<ValidatingAdmissionPolicyBinding>(Api::all(world.client.clone()), binding).await.unwrap();
    // It is in force some time after it was created.
    let probe = serde_json::from_value::<ConfigMap>(json!({"metadata": {"name": "probe"}})).unwrap();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let in_force = async {
        while world.api::<ConfigMap>().create(&dry, &probe).await.is_ok() {
            world.pass(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), in_force).await.expect("the policy comes into force");
    name
}

async fn repeal(world: &World, name: &str) {
    let params = DeleteParams::default();
    Api::<ValidatingAdmissionPolicyBinding>::all(world.client.clone()).delete(name, &params).await.unwrap();
    Api::<ValidatingAdmissionPolicy>::all(world.client.clone()).delete(name, &params).await.unwrap();
}

/// A webhook that nobody serves, asked about what happens to pods of the namespace of the test.
async fn broken_webhook(world: &World, operation: &str) -> String {
    webhook(world, operation, "https://127.0.0.1:1/", 1).await
}

/// A webhook asked for so many seconds about what happens to pods of the namespace of the test.
pub async fn webhook(world: &World, operation: &str, url: &str, seconds: u8) -> String {
    let name = format!("down-{}", world.ns);
    let object = json!({"metadata": {"name": name}, "webhooks": [{
        "name": "down.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
        "timeoutSeconds": seconds, "namespaceSelector": selector(world), "clientConfig": {"url": url},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": [operation], "resources": ["pods"]}],
    }]});
    create::<MutatingWebhookConfiguration>(Api::all(world.client.clone()), object).await.unwrap();
    name
}

pub async fn mend(world: &World, name: &str) {
    let api = Api::<MutatingWebhookConfiguration>::all(world.client.clone());
    api.delete(name, &DeleteParams::default()).await.unwrap();
}

fn on(group: &str, resource: &str, operation: &str) -> Value {
    let version = if group.is_empty() { "v1" } else { "v1alpha1" };
    json!({"apiGroups": [group], "apiVersions": [version], "operations": [operation], "resources": [resource]})
}

fn says(conditions: &[Condition], type_: &str, reason: &str, words: &str) -> bool {
    conditions.iter().any(|c| c.type_ == type_ && c.reason == reason && c.message.contains(words))
}

/// Waits until the pool's `PodsFailing` has this reason and these words.
pub async fn pool_says(world: &World, reason: &str, words: &str) -> WarmPool {
    let what = format!("PodsFailing {reason}: {words}");
    let holds = |p: &WarmPool| p.status.as_ref().is_some_and(|s| says(&s.conditions, "PodsFailing", reason, words));
    world.one("p", &what, holds).await
}

async fn sandbox_says(world: &World, type_: &str, reason: &str, words: &str) -> Sandbox {
    let holds = |s: &Sandbox| s.status.as_ref().is_some_and(|s| says(&s.conditions, type_, reason, words));
    world.one("s", &format!("{type_} {reason}: {words}"), holds).await
}

/// Waits for an Event about an object of this name.
pub async fn event(world: &World, about: &str, reason: &str, words: &str) {
    let holds = |e: &Event| {
        e.involved_object.name.as_deref() == Some(about)
            && e.reason.as_deref() == Some(reason)
            && e.message.as_deref().is_some_and(|m| m.contains(words))
    };
    world.all(&format!("Event {reason} about {about}: {words}"), |all: &[Event]| all.iter().any(holds)).await;
}

const NOT_CLAIMED: &str = "object.metadata.labels['arl.infra.io/pod-state'] != 'allocated'";

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_a_policy_refuses_is_said_in_its_words_and_made_once_it_is_gone() {
    let world = World::new("claim-refused").await;
    let policy = policy(&world, "no-claims", on("", "pods", "UPDATE"), NOT_CLAIMED).await;
    world.pool("p", 1).await;
    world.pool_is_ready("p", 1).await;
    world.sandbox("s", "p").await;
    let refused = sandbox_says(&world, "Ready", "ClaimRefused", WORDS).await;
    assert_eq!(refused.status.unwrap().phase, Some(SandboxPhase::Pending));
    event(&world, "s", "Waiting", WORDS).await;
    repeal(&world, &policy).await;
    world.phase("s", SandboxPhase::Ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_pod_is_refused_another_is_taken() {
    let world = World::new("one-refused").await;
    world.pool("p", 1).await;
    let pods = world.pods("the pool's pod", |pods| pods.len() == 1).await;
    let first = pods[0].name_any();
    let rule = format!("object.metadata.name != '{first}' || {NOT_CLAIMED}");
    let policy = policy(&world, "not-this", on("", "pods", "UPDATE"), &rule).await;
    world.pool_is_ready("p", 1).await;
    world.merge::<WarmPool>("p", &json!({"spec": {"replicas": 2}})).await;
    world.pool_is_ready("p", 2).await;
    for sandbox in ["a", "b"] {
        world.sandbox(sandbox, "p").await;
        assert_ne!(world.pod_of(sandbox).await, first, "{sandbox}");
    }
    repeal(&world, &policy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_behind_a_sandbox_that_a_policy_refuses() {
    let world = World::new("not-behind").await;
    let rule = format!("object.metadata.labels[?'arl.infra.io/sandbox'].orValue('') != 's' || {NOT_CLAIMED}");
    let policy = policy(&world, "not-him", on("", "pods", "UPDATE"), &rule).await;
    world.pool("p", 1).await;
    world.sandbox("s", "p").await;
    sandbox_says(&world, "Ready", "ClaimRefused", WORDS).await;
    world.sandbox("next", "p").await;
    world.pod_of("next").await;
    repeal(&world, &policy).await;
    world.phase("s", SandboxPhase::Ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admission_webhook_that_is_down_is_on_the_pool_with_true_counts() {
    let world = World::new("webhook-down").await;
    world.pool("p", 1).await;
    world.pool_is_ready("p", 1).await;
    let webhook = broken_webhook(&world, "CREATE").await;
    world.sandbox("s", "p").await;
    world.pod_of("s").await;
    let pool = pool_says(&world, "ApiError", "failed calling webhook").await;
    let status = pool.status.unwrap();
    assert_eq!((status.ready, status.allocated, status.total), (0, 1, 1));
    event(&world, "p", "PodsFailing", "down.example.com").await;
    world
        .create(&json!({"apiVersion": "arl.infra.io/v1alpha1", "kind": "WarmPool", "metadata": {"name": "new"},
        "spec": {"replicas": 1, "template": template()}}))
        .await;
    world
        .one("new", "a phase, and why", |p: &WarmPool| {
            p.status.as_ref().is_some_and(|s| {
                s.phase.is_some() && says(&s.conditions, "PodsFailing", "ApiError", "failed calling webhook")
            })
        })
        .await;
    mend(&world, &webhook).await;
    for pool in ["p", "new"] {
        world.pool_is_ready(pool, 1).await;
        world.recovered(pool).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_webhook_is_down_is_said_and_made_once_it_is_up() {
    let world = World::new("claim-webhook").await;
    world.pool("p", 1).await;
    world.pool_is_ready("p", 1).await;
    let webhook = broken_webhook(&world, "UPDATE").await;
    world.sandbox("s", "p").await;
    sandbox_says(&world, "Ready", "ClaimRefused", "failed calling webhook").await;
    mend(&world, &webhook).await;
    world.phase("s", SandboxPhase::Ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_service_account_is_on_the_pool() {
    let world = World::new("no-account").await;
    let mut template = template();
    template["spec"]["serviceAccountName"] = json!("nobody");
    world.pool_of("p", 1, &template).await;
    pool_says(&world, "Refused", "serviceaccount \"nobody\" not found").await;
    event(&world, "p", "PodsFailing", "nobody").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_on_pods_is_not_called_an_invalid_template() {
    let world = World::new("pod-policy").await;
    let policy = policy(&world, "no-pods", on("", "pods", "CREATE"), "false").await;
    world.pool("p", 1).await;
    let pool = pool_says(&world, "Refused", WORDS).await;
    assert_eq!(pool.status.unwrap().phase.map(|phase| format!("{phase:?}")).as_deref(), Some("Pending"));
    repeal(&world, &policy).await;
    world.pool_is_ready("p", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_cannot_be_deleted_for_its_ttl_says_so() {
    let world = World::new("no-expiry").await;
    let rule = on("arl.infra.io", "sandboxes", "DELETE");
    let policy = policy(&world, "keep", rule, "!request.userInfo.username.endsWith(':arl-operator')").await;
    world.pool("p", 1).await;
    world.sandbox_with("s", &json!({"poolRef": "p", "ttlSecondsAfterFinished": 1})).await;
    sandbox_says(&world, "Stalled", "Refused", WORDS).await;
    event(&world, "s", "Stalled", WORDS).await;
    repeal(&world, &policy).await;
    world.gone::<Sandbox>("s").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_sandbox_whose_pod_cannot_be_deleted_says_so_until_it_is() {
    let world = World::new("no-release").await;
    let rule = on("", "pods", "DELETE");
    let policy = policy(&world, "keep-pods", rule, "!request.userInfo.username.endsWith(':arl-operator')").await;
    world.pool("p", 1).await;
    world.sandbox_with("s", &json!({"poolRef": "p"})).await;
    let pod = world.pod_of("s").await;
    world.run("t", "s", json!([shell("a", "true")])).await;
    world.phase("s", SandboxPhase::Released).await;
    sandbox_says(&world, "Stalled", "Refused", WORDS).await;
    repeal(&world, &policy).await;
    world.gone::<Pod>(&pod).await;
    let over = |s: &Sandbox| s.status.as_ref().is_some_and(|s| s.conditions.iter().all(|c| c.type_ != "Stalled"));
    world.one("s", "no longer stalled", over).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_cannot_be_written_is_an_event_and_is_written_once_it_can() {
    let world = World::with_sandbox("no-result").await;
    let rule = on("arl.infra.io", "tasks/status", "UPDATE");
    let policy = policy(&world, "no-results", rule, "object.status.state != 'Succeeded'").await;
    world.task("t", "s", json!([shell("a", "echo once >> /workspace/log; cat /workspace/log")])).await;
    event(&world, "t", "Stalled", WORDS).await;
    repeal(&world, &policy).await;
    let task = world.finished("t").await;
    assert_eq!(task.status.as_ref().and_then(|s| s.stdout.as_deref()), Some("once\n"));
    let left = world.api::<Task>().get("t").await.unwrap().status.unwrap().conditions;
    assert!(left.iter().all(|c| c.type_ != "Stalled"), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_has_ended_and_cannot_be_deleted_is_said_and_replaced_all_the_same() {
    let world = World::new("no-clearing").await;
    let rule = "oldObject.status.phase == 'Running' || !request.userInfo.username.endsWith(':arl-operator')";
    let policy = policy(&world, "keep-ended", on("", "pods", "DELETE"), rule).await;
    let mut template = template();
    template["spec"]["restartPolicy"] = json!("Never");
    template["spec"]["containers"][0]["command"] =
        json!(["sh", "-c", "until [ -e /workspace/end ]; do sleep 0.2; done"]);
    world.pool_of("p", 2, &template).await;
    world.pool_is_ready("p", 2).await;
    let pods = world.pods("two idle pods", |pods| pods.len() == 2).await;
    world.look_into(&pods[0].name_any(), "touch /workspace/end").await;
    let stalled = |p: &WarmPool| p.status.as_ref().is_some_and(|s| says(&s.conditions, "Stalled", "Refused", WORDS));
    world.one("p", "what cannot be deleted", stalled).await;
    world.pool_is_ready("p", 2).await;
    let now = world.pods("the one that has ended is there", |pods| pods.len() == 3).await;
    assert!(now.iter().any(|pod| pod.uid() == pods[0].uid()));
    world.merge::<WarmPool>("p", &json!({"spec": {"replicas": 1}})).await;
    world.pool_is_ready("p", 1).await;
    repeal(&world, &policy).await;
    world.gone::<Pod>(&pods[0].name_any()).await;
    let over = |p: &WarmPool| p.status.as_ref().is_some_and(|s| s.conditions.iter().all(|c| c.type_ != "Stalled"));
    world.one("p", "no longer stalled", over).await;
}
