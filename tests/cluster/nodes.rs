//! What the loss of a node looks like to everybody else: a pod that is gone at once, without a word, or one of which nobody
//! hears for a while.

use std::time::Duration;

use arl_crds::{SandboxPhase, TaskState};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::harness::World;
use crate::harness::make::{reason, shell, status, template};
use crate::harness::wait::state;
use crate::harness::wait::{is_idle, is_ready};

const UNTIL_TOLD: &str = "echo ran >>/workspace/log; until [ -e /workspace/go ]; do sleep 0.2; done; echo done";

/// A world whose Sandbox `s` runs the Task `t` until `/workspace/go` exists; and the name of the pod.
async fn with_a_running_task(name: &str) -> (World, String) {
    let world = World::with_sandbox(name).await;
    world.task_with("t", &json!({"sandboxRef": "s", "timeout": "10m", "steps": [shell("a", UNTIL_TOLD)]})).await;
    world.running("t").await;
    let pod = world.phase("s", SandboxPhase::Bound).await.status.unwrap().pod_name.unwrap();
    world.content_of(&pod, "/workspace/log").await;
    (world, pod)
}

/// Pods of a node that was taken out of the cluster are deleted this way.
#[tokio::test(flavor = "multi_thread")]
async fn pods_that_are_gone_at_once_end_their_task_and_are_replaced_in_the_pool() {
    let (world, held) = with_a_running_task("node-lost").await;
    world.pool_is_ready("p", 1).await;
    let lost = world.pods("the held pod and an idle one", |pods| pods.len() == 2).await;
    assert_eq!(lost.iter().filter(|pod| is_idle(pod)).count(), 1);
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    for pod in &lost {
        world.api::<Pod>().delete(&pod.name_any(), &at_once).await.unwrap();
    }

    let task = world.finished("t").await;
    assert_eq!((state(&task), reason(&task)), (Some(TaskState::Failed), "PodLost"), "{:?}", task.status);
    assert_eq!(status(&task).exit_code, None, "nobody knows how it ended");
    world.phase("s", SandboxPhase::Released).await;
    let sandbox = world.sandbox_reason("s", "PodLost").await;
    assert_eq!(sandbox.status.unwrap().pod_name, Some(held), "the record stays");

    let known: Vec<_> = lost.iter().filter_map(ResourceExt::uid).collect();
    let is_new = |pod: &Pod| pod.uid().is_some_and(|uid| !known.contains(&uid));
    world.pods("another idle pod", |pods| pods.len() == 1 && pods.iter().all(|p| is_new(p) && is_ready(p))).await;
    world.sandbox("next", "p").await;
    assert_eq!(world.output("after", "next", "ls /workspace").await, "", "an empty workspace, in another Sandbox");
}

/// The node controller says no more than this of the pods of a node that does not report. The kubelet of a node that does
/// report corrects it some seconds later, as it would when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_report_only_suspends() {
    let (world, pod) = with_a_running_task("node-silent").await;
    let silence = json!({"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "NodeNotReady"}]}});
    let (pods, params, silence) = (world.api::<Pod>(), PatchParams::default(), Patch::Strategic(silence));
    let silent = async {
        loop {
            pods.patch_status(&pod, &params, &silence).await.unwrap();
            world.pass(Duration::from_secs(1)).await;
        }
    };
    let suspended = tokio::select! {
        suspended = world.sandbox_reason("s", "PodNotReady") => suspended,
        () = silent => unreachable!(),
    };
    let held = suspended.status.unwrap();
    assert_eq!((held.phase, held.pod_name.as_ref()), (Some(SandboxPhase::Bound), Some(&pod)));

    let back = world.sandbox_reason("s", "Allocated").await.status.unwrap();
    assert_eq!((back.phase, back.pod_name.as_ref()), (Some(SandboxPhase::Bound), Some(&pod)), "the Task runs on");
    world.look_into(&pod, "touch /workspace/go").await;
    let task = world.finished("t").await;
    assert_eq!(status(&task).stdout.as_deref(), Some("done\n"), "{:?}", task.status);
    assert_eq!(world.output("after", "s", "cat /workspace/log").await, "ran\n");
}

/// A node without a kubelet, and what keeps a pool from it.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_fits_a_cordoned_node_only_says_so_and_what_to_do() {
    let world = World::new("cordoned").await;
    let (nodes, name) = (Api::<Node>::all(world.client.clone()), world.ns.clone());
    let node = json!({"metadata": {"name": name, "labels": {"only": name}}, "spec": {"unschedulable": true}});
    nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    let mut template = template();
    template["spec"]["nodeSelector"] = json!({"only": name});
    template["spec"]["tolerations"] = json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]);
    world.pool_of("p", 1, &template).await;
    let pool = crate::refusals::pool_says(&world, "Unschedulable", "were unschedulable").await;
    let _node = nodes.delete(&name, &DeleteParams::default()).await.unwrap();
    let conditions = pool.status.unwrap().conditions;
    let said = &conditions.iter().find(|c| c.type_ == "PodsFailing").unwrap().message;
    assert!(said.contains("kubectl uncordon"), "{said}");
    assert!(!said.contains("lower the template's requests"), "{said}");
}
