//! What people do to the labels and the owner of a pod that a Sandbox has: it stays the Sandbox's as long as nobody else owns it.

use arl_crds::{Sandbox, SandboxPhase, TaskState};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{shell, status};
use crate::harness::wait::state;

/// The kind of the pod's controller, and its three labels.
fn marks(pod: &Pod) -> (Option<&str>, [Option<&str>; 3]) {
    let owner = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
    let label = |name: &str| pod.labels().get(&format!("arl.infra.io/{name}")).map(String::as_str);
    (owner.map(|owner| owner.kind.as_str()), ["warmpool", "pod-state", "sandbox"].map(label))
}

const MARKS: (Option<&str>, [Option<&str>; 3]) = (Some("Sandbox"), [Some("p"), Some("allocated"), Some("s")]);

fn said(sandbox: &Sandbox) -> &str {
    let conditions = sandbox.status.iter().flat_map(|s| &s.conditions);
    conditions.into_iter().find(|c| c.type_ == "Ready").map_or("", |c| c.message.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_owner_or_labels_were_taken_away_stays_its_sandboxes() {
    let world = World::with_sandbox("tampered").await;
    let pod = world.pod_of("s").await;
    let until_told = "echo ran >>/workspace/log; until [ -e /workspace/go ]; do sleep 0.2; done; echo done";
    world.task_with("t", &json!({"sandboxRef": "s", "timeout": "10m", "steps": [shell("a", until_told)]})).await;
    world.running("t").await;
    let no_labels =
        json!({"arl.infra.io/warmpool": null, "arl.infra.io/pod-state": null, "arl.infra.io/sandbox": null});
    let changes = [
        ("its owner", json!({"ownerReferences": null})),
        ("its labels", json!({"labels": no_labels})),
        ("both", json!({"ownerReferences": null, "labels": no_labels})),
        ("its pool's name", json!({"labels": {"arl.infra.io/warmpool": null}})),
    ];
    for (what, change) in &changes {
        let without: Pod = world.merge(&pod, &json!({"metadata": change})).await;
        assert_ne!(marks(&without), MARKS, "{what}");
        world.one(&pod, &format!("has back {what}"), |pod: &Pod| marks(pod) == MARKS).await;
    }
    let held = world.phase("s", SandboxPhase::Bound).await.status.unwrap();
    assert_eq!(held.pod_name.as_ref(), Some(&pod));
    world.sandbox("next", "p").await;
    assert_ne!(world.pod_of("next").await, pod, "nobody else is served by it");
    world.look_into(&pod, "touch /workspace/go").await;
    let task = world.finished("t").await;
    assert_eq!(state(&task), Some(TaskState::Succeeded), "{:?}", task.status);
    assert_eq!(status(&task).stdout.as_deref(), Some("done\n"));
    assert_eq!(world.output("after", "s", "cat /workspace/log").await, "ran\n");
    world.delete::<Sandbox>("s").await;
    world.gone::<Pod>(&pod).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_was_given_to_another_owner_is_said_to_be_and_serves_nobody() {
    let world = World::with_sandbox("given").await;
    let pod = world.pod_of("s").await;
    let owner: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "owner"}})).unwrap();
    let owner = world.api::<ConfigMap>().create(&PostParams::default(), &owner).await.unwrap();
    let given = |labels: Value| {
        let owner = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid(), "controller": true,
        });
        json!({"metadata": {"ownerReferences": [owner], "labels": labels}})
    };
    let _given: Pod = world.merge(&pod, &given(json!({"arl.infra.io/pod-state": "ready"}))).await;
    let sandbox = world.phase("s", SandboxPhase::Released).await;
    assert!(said(&sandbox).contains("ConfigMap owner"), "{}", said(&sandbox));
    for other in ["a", "b"] {
        world.sandbox(other, "p").await;
        assert_ne!(world.pod_of(other).await, pod);
    }
    let left = world.api::<Pod>().get(&pod).await.unwrap();
    assert!(left.metadata.deletion_timestamp.is_none(), "it is its new owner's");
}
