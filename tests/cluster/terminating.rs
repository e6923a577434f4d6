//! A namespace that is being deleted while something keeps it: nothing can be created there any more, all the rest goes on.

use arl_crds::{Sandbox, SandboxPhase, Task, TaskState, WarmPool};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use std::time::Duration;

use crate::harness::World;
use crate::harness::make::{reason, shell, template};
use crate::harness::setup;
use crate::harness::wait::state;

fn kept(kind: &str, name: &str, spec: Value) -> Value {
    let metadata = json!({"name": name, "finalizers": ["example.com/keep"]});
    json!({"apiVersion": "arl.infra.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// The rights of the operator's account in all namespaces, until it is dropped by name: those in a namespace go with it.
async fn everywhere(world: &World) -> String {
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": world.ns},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": setup::ACCOUNT},
        "subjects": [{"kind": "ServiceAccount", "name": setup::ACCOUNT, "namespace": world.ns}],
    }))
    .unwrap();
    let bindings = Api::<ClusterRoleBinding>::all(world.client.clone());
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    world.ns.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_goes_and_is_kept_is_left_in_peace() {
    // The account lives elsewhere, as that of an operator for all namespaces does.
    let home = World::without_operator("terminating-home").await;
    let world = World::served("terminating").await;
    let binding = everywhere(&home).await;
    let mut operator = home.another_operator("elsewhere", &world.ns, &[]).await;
    world.create(&kept("WarmPool", "p", json!({"replicas": 2, "template": template()}))).await;
    world.create(&kept("Sandbox", "s", json!({"poolRef": "p", "keepAlive": true}))).await;
    world.create(&kept("Sandbox", "waits", json!({"poolRef": "nosuch", "keepAlive": true}))).await;
    let spec = json!({"sandboxRef": "s", "timeout": "10m", "steps": [shell("a", "sleep 600")]});
    world.create(&kept("Task", "runs", spec.clone())).await;
    world.create(&kept("Task", "queued", spec)).await;
    world.phase("s", SandboxPhase::Bound).await;
    world.pool_is_ready("p", 2).await;

    let namespaces = Api::<Namespace>::all(world.client.clone());
    namespaces.delete(&world.ns, &DeleteParams::default()).await.unwrap();
    for task in ["runs", "queued"] {
        let ended = world.finished(task).await;
        assert_eq!(state(&ended), Some(TaskState::Failed), "{task}");
        assert!(
            ["Cancelled", "SandboxDeleted", "SandboxReleased", "PodLost"].contains(&reason(&ended)),
            "{task}: {}",
            reason(&ended)
        );
    }
    world.pods("no pods", <[_]>::is_empty).await;
    let going = |p: &WarmPool| p.metadata.deletion_timestamp.is_some();
    world.one("p", "it is being deleted", going).await;
    let new = kept("Sandbox", "new", json!({"poolRef": "p"}));
    let refused = world.try_create(&new, false).await.unwrap_err().to_string();
    assert!(refused.contains("being terminated"), "{refused}");

    // The deletion counts as a change of the spec, which is put on record too, and comes when the namespace controller comes to it.
    for task in ["runs", "queued"] {
        let is_known = |task: &Task| {
            let on_record = task.status.as_ref().and_then(|status| status.observed_generation);
            task.metadata.deletion_timestamp.is_some() && on_record == task.metadata.generation
        };
        world.one(task, "its deletion is on record", is_known).await;
    }
    // What follows from all that is written soon.
    home.pass(Duration::from_secs(5)).await;
    let before = home.requests_of(&home.operator_user()).await.map(|requests| requests.len());
    home.pass(Duration::from_secs(20)).await;
    if let Some(requests) = home.requests_of(&home.operator_user()).await {
        let idle = &requests[before.unwrap()..];
        let writes: Vec<_> = idle.iter().filter(|request| request.is_write()).collect();
        assert!(writes.is_empty(), "{writes:#?}");
        // A watch may be made anew.
        assert!(idle.len() <= 10, "{idle:#?}");
        let creates = requests.iter().filter(|request| request.is("create", "pods")).count();
        assert!(creates <= 10, "{creates} pods were asked for");
    }

    let released = json!({"metadata": {"finalizers": null}});
    world.merge::<Task>("runs", &released).await;
    world.merge::<Task>("queued", &released).await;
    world.merge::<Sandbox>("s", &released).await;
    world.merge::<Sandbox>("waits", &released).await;
    world.merge::<WarmPool>("p", &released).await;
    world.gone::<WarmPool>("p").await;
    let panics = ["warmpool", "sandbox", "task"]
        .map(|kind| format!("controller_runtime_reconcile_panics_total{{controller=\"{kind}\"}} 0"));
    operator.metrics_with(&panics.each_ref().map(String::as_str)).await;
    assert!(operator.is_alive());
    let bindings = Api::<ClusterRoleBinding>::all(home.client.clone());
    bindings.delete(&binding, &DeleteParams::default()).await.unwrap();
}
