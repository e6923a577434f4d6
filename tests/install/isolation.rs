//! A user with Kubernetes' role `edit` in one namespace, and nothing else, beside somebody else's namespace.

use std::panic::{AssertUnwindSafe, resume_unwind};

use arl_crds::labels::{AGENT, EXECUTOR, POD_STATE, SANDBOX, TEMPLATE_HASH, WARMPOOL};
use arl_crds::{Sandbox, SandboxPhase, Task, TaskState, WarmPool};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{
    ApiResource, AttachParams, DynamicObject, GroupVersionKind, ListParams, LogParams, Patch, PatchParams, PostParams,
};
use kube::config::KubeConfigOptions;
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{manifest, shell, status, template};
use crate::harness::setup;
use crate::harness::wait::{Kind, state};
use crate::installed::Installed;

const USER: &str = "t-mallory";

/// A client with Kubernetes' role `edit` in one namespace and no other right.
async fn editor(administrator: &Client, ns: &str) -> Client {
    let binding = json!({
        "metadata": {"name": USER},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
    });
    let bindings: Api<RoleBinding> = Api::namespaced(administrator.clone(), ns);
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    let mut config = Config::from_custom_kubeconfig(setup::admin(), &KubeConfigOptions::default()).await.unwrap();
    config.auth_info.impersonate = Some(USER.to_owned());
    Client::try_from(config).unwrap()
}

fn assert_forbidden<T: std::fmt::Debug>(what: &str, answer: kube::Result<T>) {
    match answer {
        Err(kube::Error::Api(refusal)) if refusal.code == 403 => {}
        // A refused upgrade says no more than its status.
        Err(error) if error.to_string().contains("403") => {}
        other => panic!("{what}: {other:?}"),
    }
}

async fn cannot_touch<K: Kind + serde::Serialize>(own: &World, other: &str, name: &str) {
    let api: Api<K> = Api::namespaced(own.client.clone(), other);
    let what = K::kind(&());
    assert_forbidden(&format!("get {what}"), api.get(name).await);
    assert_forbidden(&format!("list {what}"), api.list(&ListParams::default()).await);
    let change = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    assert_forbidden(&format!("patch {what}"), api.patch(name, &PatchParams::default(), &change).await);
    let everywhere: Api<K> = Api::all(own.client.clone());
    assert_forbidden(&format!("list all {what}"), everywhere.list(&ListParams::default()).await);
}

async fn cannot_forge<K: Kind + serde::Serialize>(own: &World, name: &str, status: &Value) {
    let change = Patch::Merge(json!({"status": status}));
    let api = own.api::<K>();
    assert_forbidden("patch status", api.patch_status(name, &PatchParams::default(), &change).await);
    // By the object itself it is accepted, and means nothing.
    let before = serde_json::to_value(api.get(name).await.unwrap()).unwrap();
    api.patch(name, &PatchParams::default(), &change).await.unwrap();
    let after = serde_json::to_value(api.get(name).await.unwrap()).unwrap();
    assert_eq!(before["status"], after["status"]);
}

/// A pod of the user's own making.
async fn make_pod(own: &World, name: &str, metadata: &Value) {
    let mut pod = template();
    pod["metadata"] = metadata.clone();
    pod["metadata"]["name"] = json!(name);
    pod["spec"]["terminationGracePeriodSeconds"] = json!(0);
    own.api::<Pod>().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
}

async fn is_ready(own: &World, name: &str) {
    let ready = |pod: &Pod| {
        let conditions = pod.status.iter().filter_map(|s| s.conditions.as_ref()).flatten();
        conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
    };
    own.one(name, "Ready", ready).await;
}

/// Somebody else's namespace with a secret in it, and the user's own.
async fn two() -> (World, World) {
    let victim = World::served("victim").await;
    victim.pool("p", 1).await;
    victim.sandbox("s", "p").await;
    assert_eq!(victim.output("t", "s", "echo secret | tee /workspace/secret").await, "secret\n");
    victim.pool_is_ready("p", 1).await;
    let mut own = World::served("own").await;
    own.client = editor(&own.client, &own.ns).await;
    own.pool("own", 1).await;
    own.sandbox("own", "own").await;
    assert_eq!(own.output("own", "own", "echo own").await, "own\n", "`edit` is enough for one's own");
    (victim, own)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_edit_one_namespace_reaches_no_other() {
    let operator = Installed::nothing().await;
    operator.namespace();
    operator.release("HELM", "install", &[]);
    operator.is_rolled_out();
    let (victim, own) = two().await;
    let idle = victim.pods("one idle", |pods| pods.iter().any(|p| p.labels()[POD_STATE] == "ready")).await;
    let idle = idle.iter().find(|p| p.labels()[POD_STATE] == "ready").unwrap().name_any();

    not_directly(&victim, &own, &idle).await;
    not_by_references(&victim, &own).await;
    not_by_a_template(&victim, &own).await;
    not_by_owners(&victim, &own).await;
    not_by_status(&own).await;
    labels_and_annotations_are_not_believed(&own).await;

    // Nothing has happened there.
    assert_eq!(victim.output("later", "s", "cat /workspace/secret").await, "secret\n");
    assert!(victim.api::<Pod>().get_opt(&idle).await.unwrap().is_some(), "the idle pod is still there");
    operator.assert_rights().await;
}

async fn not_directly(victim: &World, own: &World, idle: &str) {
    let held = victim.pod_of("s").await;
    cannot_touch::<WarmPool>(own, &victim.ns, "p").await;
    cannot_touch::<Sandbox>(own, &victim.ns, "s").await;
    cannot_touch::<Task>(own, &victim.ns, "t").await;
    cannot_touch::<Pod>(own, &victim.ns, &held).await;
    cannot_touch::<Pod>(own, &victim.ns, idle).await;
    let pods: Api<Pod> = Api::namespaced(own.client.clone(), &victim.ns);
    assert_forbidden("logs", pods.logs(&held, &LogParams::default()).await);
    let exec = pods.exec(&held, ["cat", "/workspace/secret"], &AttachParams::default()).await;
    assert_forbidden("exec", exec.map(|_| ()));
    let gvk = GroupVersionKind::gvk(arl_crds::GROUP, "v1alpha1", "Task");
    let tasks: Api<DynamicObject> =
        Api::namespaced_with(own.client.clone(), &victim.ns, &ApiResource::from_gvk_with_plural(&gvk, "tasks"));
    let task = manifest("Task", "x", &json!({"sandboxRef": "s", "steps": [shell("a", "cat /workspace/secret")]}));
    assert_forbidden("a Task", tasks.create(&PostParams::default(), &serde_json::from_value(task).unwrap()).await);
}

/// References are names in the same namespace, whatever they look like.
async fn not_by_references(victim: &World, own: &World) {
    let ns = &victim.ns;
    let paths =
        |name: &str| [name.to_owned(), format!("{ns}/{name}"), format!("../{ns}/{name}"), format!("{ns}.{name}")];
    for (index, pool) in paths("p").iter().enumerate() {
        let name = format!("ref{index}");
        own.sandbox(&name, pool).await;
        own.sandbox_reason(&name, "PoolNotFound").await;
    }
    for (index, sandbox) in paths("s").iter().enumerate() {
        let name = format!("ref{index}");
        let steps = json!([shell("a", "cat /workspace/secret")]);
        own.task_with(&name, &json!({"sandboxRef": sandbox, "timeout": "1m", "steps": steps})).await;
        let waits = |t: &Task| {
            t.status.iter().flat_map(|s| &s.conditions).any(|c| c.reason == "SandboxNotFound")
                && state(t) == Some(TaskState::Pending)
        };
        let task = own.one(&name, "SandboxNotFound", waits).await;
        assert_eq!(status(&task).stdout, None);
    }
    for kind in ["WarmPool", "Sandbox", "Task"] {
        let mut named = manifest(kind, &format!("{ns}/x"), &json!({"poolRef": "p", "sandboxRef": "s"}));
        named["spec"]["steps"] = json!([shell("a", "true")]);
        assert!(own.try_create(&named, true).await.is_err(), "{kind}: a name is not a path");
    }
}

/// Pods are made in the pool's namespace, whatever its template says.
async fn not_by_a_template(victim: &World, own: &World) {
    let before = victim.pods("all", |_| true).await.len();
    let mut elsewhere = template();
    elsewhere["metadata"] = json!({"namespace": victim.ns, "name": "chosen", "labels": {WARMPOOL: "p", SANDBOX: "s"}});
    own.pool_of("elsewhere", 1, &elsewhere).await;
    own.pool_is_ready("elsewhere", 1).await;
    let pods = own
        .pods("its pod", |pods| pods.iter().any(|p| p.labels().get(WARMPOOL).is_some_and(|l| l == "elsewhere")))
        .await;
    assert!(pods.iter().all(|p| p.name_any() != "chosen"));
    assert_eq!(victim.pods("all", |_| true).await.len(), before);
}

/// An owner in another namespace is none, even for a pod that cannot be collected.
async fn not_by_owners(victim: &World, own: &World) {
    victim.sandbox("waits", "late").await;
    let waiting = victim.sandbox_reason("waits", "PoolNotFound").await;
    let reference = |kind: &str, name: &str, uid: String| {
        let owner =
            json!({"apiVersion": "arl.infra.io/v1alpha1", "kind": kind, "name": name, "uid": uid, "controller": true});
        json!([owner])
    };
    let labels = json!({WARMPOOL: "late", POD_STATE: "allocated", SANDBOX: "waits"});
    let owner = reference("Sandbox", "waits", waiting.uid().unwrap());
    let held = json!({"labels": labels, "ownerReferences": owner, "finalizers": ["example.com/stays"]});
    make_pod(own, "forged", &held).await;
    let pool: WarmPool = victim.api().get("p").await.unwrap();
    let labels = json!({WARMPOOL: "p", POD_STATE: "ready"});
    let held = json!({
        "labels": labels, "ownerReferences": reference("WarmPool", "p", pool.uid().unwrap()),
        "annotations": {TEMPLATE_HASH: pool.spec.fingerprint()}, "finalizers": ["example.com/stays"],
    });
    make_pod(own, "forged-idle", &held).await;

    let is_served = async {
        victim.pool("late", 1).await;
        let sandbox = victim.phase("waits", SandboxPhase::Ready).await;
        let name = sandbox.status.unwrap().pod_name.unwrap();
        assert!(name.starts_with("late-"), "{name}");
        assert_eq!(victim.output("waits", "waits", "hostname").await.trim(), name);
    };
    let ended = AssertUnwindSafe(is_served).catch_unwind().await;
    // Or the namespace would stay for ever.
    for name in ["forged", "forged-idle"] {
        let _: Pod = own.merge(name, &json!({"metadata": {"finalizers": null}})).await;
    }
    ended.unwrap_or_else(|panic| resume_unwind(panic));
}

async fn not_by_status(own: &World) {
    cannot_forge::<Sandbox>(own, "own", &json!({"phase": "Ready", "podName": "x", "podUID": "x"})).await;
    cannot_forge::<Task>(own, "own", &json!({"state": "Failed", "stdout": "forged"})).await;
    cannot_forge::<WarmPool>(own, "own", &json!({"ready": 99})).await;
    let mut born = manifest("Sandbox", "born", &json!({"poolRef": "nosuch"}));
    born["status"] = json!({"phase": "Ready", "podName": "x", "podUID": "x"});
    own.create(&born).await;
    let sandbox = own.sandbox_reason("born", "PoolNotFound").await;
    assert_eq!(sandbox.status.unwrap().pod_name, None);
}

/// In the own namespace too: what is labelled by hand is given to nobody, and nobody's pod is given to a second one.
async fn labels_and_annotations_are_not_believed(own: &World) {
    own.pool("empty", 0).await;
    let hash = own.api::<WarmPool>().get("empty").await.unwrap().spec.fingerprint();
    let labels = json!({WARMPOOL: "empty", POD_STATE: "ready"});
    make_pod(own, "volunteer", &json!({"labels": labels, "annotations": {TEMPLATE_HASH: hash}})).await;
    is_ready(own, "volunteer").await;
    own.sandbox("wants", "empty").await;
    own.sandbox_reason("wants", "PoolEmpty").await;
    let _: WarmPool = own.merge("empty", &json!({"spec": {"replicas": 1}})).await;
    let pod = own.pod_of("wants").await;
    assert!(pod.starts_with("empty-"), "{pod} was claimed, not the pool's own");

    // A pod in use that is called idle stays whose it is.
    let held = own.pod_of("own").await;
    let _: Pod = own.merge(&held, &json!({"metadata": {"labels": {POD_STATE: "ready"}}})).await;
    own.sandbox("second", "own").await;
    assert_ne!(own.pod_of("second").await, held);
    // Nor does it matter what its annotations say of the container.
    let _: Pod = own.merge(&held, &json!({"metadata": {"annotations": {EXECUTOR: "nosuch"}}})).await;
    assert_eq!(own.output("again", "own", "echo again").await, "again\n");
    let _: Pod = own.merge(&held, &json!({"metadata": {"annotations": {AGENT: null}}})).await;
    assert_eq!(own.output("plain", "own", "echo plain").await, "plain\n", "by plain exec, into the same pod");
    // An idle pod that is called taken is replaced.
    own.pool_is_ready("own", 1).await;
    let mine = |p: &&Pod| {
        p.labels().get(WARMPOOL).is_some_and(|l| l == "own") && p.labels()[POD_STATE] == "ready" && p.name_any() != held
    };
    let pods = own.pods("an idle one", |pods| pods.iter().any(|p| mine(&p))).await;
    let idle = pods.iter().find(mine).unwrap().name_any();
    let _: Pod = own.merge(&idle, &json!({"metadata": {"labels": {POD_STATE: "allocated"}}})).await;
    own.pods("another idle one", |pods| pods.iter().filter(mine).any(|p| p.name_any() != idle)).await;
}
