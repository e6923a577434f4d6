//! What a cluster's own components do to everybody when they are started again. Every test here stops a part of the whole
//! cluster for some seconds, so they run one at a time and never beside others: `make test-disruption`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on ends by panicking"
)]
#![allow(clippy::needless_pass_by_value, reason = "json!(..) reads best in the place of the argument")]

#[path = "../cluster/harness/mod.rs"]
#[allow(dead_code, reason = "it serves tests/cluster too")]
mod harness;

use std::time::{Duration, Instant};

use arl_crds::{Sandbox, SandboxPhase, Task, TaskState, WarmPool};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use harness::World;
use harness::make::{message, reason, shell, status, template};
use harness::setup::{ACCOUNT, root};
use harness::wait::state;

/// `restart`, `stop` or `start`s a component of the cluster; waits, but for `stop`, until the cluster is well again.
async fn cluster(command: &str, component: &str) {
    let mut process = tokio::process::Command::new(root().join("dev/cluster/cluster"));
    let ended = process.args([command, component]).status().await.unwrap();
    assert!(ended.success(), "{command} {component}: {ended}");
}

/// Stops and starts a component of the cluster and waits until the cluster is well again.
async fn restart(component: &str) {
    cluster("restart", component).await;
}

/// A component that is stopped. It is started again however the test ends.
struct Outage(&'static str);

impl Outage {
    async fn of(component: &'static str) -> Self {
        let outage = Self(component);
        cluster("stop", component).await;
        outage
    }

    async fn end(self) {
        cluster("start", self.0).await;
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        // One that runs is left alone.
        let started = std::process::Command::new(root().join("dev/cluster/cluster")).args(["start", self.0]).status();
        if !started.as_ref().is_ok_and(std::process::ExitStatus::success) {
            eprintln!("starting {}: {started:?}", self.0);
        }
    }
}

/// Fails where the Sandbox does not have the same pod, in the same containers, as before.
fn assert_same_pod(before: &Sandbox, after: &Sandbox) {
    let held = |s: &Sandbox| s.status.as_ref().map(|s| (s.pod_uid.clone(), s.restarts));
    assert_eq!(held(before), held(after));
}

/// Prints numbered lines all the time, until it is told to end, and then how many there were.
const COUNTING: &str = "echo ran >>/workspace/log; n=0; until [ -e /workspace/end ]; do \
                        n=$((n+1)); echo line $n; echo $n >/workspace/now; sleep 0.2; done; echo $n >/workspace/count";

/// A world whose Sandbox `s` runs the Task `counts`, which prints all the time.
async fn with_a_counting_task(name: &str) -> World {
    let world = World::with_sandbox(name).await;
    world.task_with("counts", &json!({"sandboxRef": "s", "timeout": "30m", "steps": [shell("a", COUNTING)]})).await;
    world.running("counts").await;
    world.content_of(&world.pod_of("s").await, "/workspace/log").await;
    world
}

/// Ends the Task, and fails where it did not run once, to its own end, with all its output.
async fn assert_counted(world: &World) {
    // What is printed after the restart counts too.
    let more = "seen=$(cat /workspace/now); until [ $(cat /workspace/now) -gt $((seen+5)) ]; do sleep 0.1; done; \
                touch /workspace/end; until [ -s /workspace/count ]; do sleep 0.1; done; cat /workspace/count";
    let lines: usize = world.look_into(&world.pod_of("s").await, more).await.trim().parse().unwrap();
    let task = world.finished("counts").await;
    assert_eq!((state(&task), reason(&task)), (Some(TaskState::Succeeded), "Succeeded"), "{:?}", task.status);
    let printed: Vec<&str> = status(&task).stdout.iter().flat_map(|out| out.lines()).collect();
    let expected: Vec<String> = (1..=lines).map(|n| format!("line {n}")).collect();
    assert_eq!(printed, expected);
    assert_eq!(world.output("log", "s", "cat /workspace/log").await, "ran\n", "it was started once");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_of_the_api_server_everything_goes_on() {
    let mut world = with_a_counting_task("api-server").await;
    world.pool("empty", 0).await;
    world.sandbox("waits", "empty").await;
    world.sandbox_reason("waits", "PoolEmpty").await;
    let before = world.phase("s", SandboxPhase::Bound).await;

    restart("apiserver").await;

    assert_counted(&world).await;
    assert_same_pod(&before, &world.phase("s", SandboxPhase::Ready).await);
    world.pool_is_ready("p", 1).await;

    let _filled: WarmPool = world.merge("empty", &json!({"spec": {"replicas": 1}})).await;
    world.phase("waits", SandboxPhase::Ready).await;
    assert_eq!(world.output("served", "waits", "echo served").await, "served\n");
    assert!(world.operator_is_alive());
}

async fn a_task_outlives_a_restart_of(component: &str) {
    let mut world = with_a_counting_task(component).await;
    let before = world.phase("s", SandboxPhase::Bound).await;

    restart(component).await;

    assert_counted(&world).await;
    assert_same_pod(&before, &world.phase("s", SandboxPhase::Ready).await);
    world.pool_is_ready("p", 1).await;
    world.sandbox("new", "p").await;
    assert_eq!(world.output("served", "new", "echo served").await, "served\n");
    assert!(world.operator_is_alive());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_outlives_a_restart_of_the_kubelet() {
    a_task_outlives_a_restart_of("kubelet").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_outlives_a_restart_of_containerd() {
    a_task_outlives_a_restart_of("containerd").await;
}

/// Longer than the timeout of the Task below and all the time that the agent gets for an answer, and shorter than what makes
/// Kubernetes call the node not ready.
const OUTAGE: Duration = Duration::from_secs(35);

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_node_is_not_reached_for_longer_than_its_timeout_goes_on() {
    let mut world = World::with_sandbox("unreached").await;
    let step = shell("a", "echo ran >>/workspace/log; sleep 8; echo done");
    world.task_with("t", &json!({"sandboxRef": "s", "timeout": "10s", "steps": [step]})).await;
    world.running("t").await;
    let before = world.phase("s", SandboxPhase::Bound).await;

    let outage = Outage::of("kubelet").await;
    let since = Instant::now();
    let unheard =
        world.one("t", "not heard of, or over", |t: &Task| is_over(t) || message(t).contains("cannot be reached"));
    let unheard = unheard.await;
    assert_eq!(state(&unheard), Some(TaskState::Running), "{:?}", unheard.status);
    assert!(message(&unheard).contains("its result counts when the pod can be reached again"), "{}", message(&unheard));
    world.pass(OUTAGE.saturating_sub(since.elapsed())).await;
    let still = world.one("t", "there", |_: &Task| true).await;
    assert_eq!(state(&still), Some(TaskState::Running), "{:?}", still.status);
    outage.end().await;

    let task = world.finished("t").await;
    assert_eq!((state(&task), reason(&task)), (Some(TaskState::Succeeded), "Succeeded"), "{:?}", task.status);
    assert_eq!(status(&task).stdout.as_deref(), Some("done\n"));
    assert_same_pod(&before, &world.phase("s", SandboxPhase::Ready).await);
    assert_eq!(
        world.output("log", "s", "cat /workspace/log").await,
        "ran\n",
        "it was started once, and the pod is kept"
    );
    assert!(world.operator_is_alive());
}

fn is_over(task: &Task) -> bool {
    state(task).is_some_and(TaskState::is_finished)
}

/// A cordoned node that no kubelet serves, and an operator's rights in all namespaces, both of this name. They go with this value.
struct Cordoned(String);

impl Cordoned {
    async fn new(world: &World) -> Self {
        let name = &world.ns;
        let ready = json!([{"type": "Ready", "status": "True", "reason": "KubeletReady"}]);
        let node = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": {"unschedulable": true},
            "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "9"}, "conditions": ready},
        });
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ACCOUNT},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": name}],
        });
        let (params, client) = (PostParams::default(), || world.client.clone());
        let cordoned = Self(name.clone());
        Api::<Node>::all(client()).create(&params, &serde_json::from_value(node).unwrap()).await.unwrap();
        let bindings = Api::<ClusterRoleBinding>::all(client());
        bindings.create(&params, &serde_json::from_value(binding).unwrap()).await.unwrap();
        cordoned
    }

    /// As a kubelet does, without which the node and its pods are soon taken for lost.
    async fn keep_reporting(&self, world: &World) {
        let nodes = Api::<Node>::all(world.client.clone());
        for second in 0.. {
            let at = jiff::Timestamp::UNIX_EPOCH + Duration::from_secs(second);
            let heard = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": at.to_string()}]}});
            nodes.patch_status(&self.0, &PatchParams::default(), &Patch::Strategic(heard)).await.unwrap();
            world.pass(Duration::from_secs(5)).await;
        }
    }
}

impl Drop for Cordoned {
    fn drop(&mut self) {
        let objects = [format!("node/{}", self.0), format!("clusterrolebinding/{}", self.0)];
        let mut kubectl = std::process::Command::new(root().join(".cluster/kubectl"));
        kubectl.arg("--kubeconfig").arg(root().join(".cluster/kubeconfig"));
        let deleted = kubectl.args(["delete", "--ignore-not-found", "--wait=false"]).args(&objects).status();
        if !deleted.as_ref().is_ok_and(std::process::ExitStatus::success) {
            eprintln!("deleting {objects:?}: {deleted:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_a_cordoned_node_is_claimed_only_where_there_is_no_other() {
    let world = World::without_operator("cordoned").await;
    let cordoned = Cordoned::new(&world).await;
    tokio::select! {
        () = cordoned.keep_reporting(&world) => unreachable!(),
        () = claimed_in_order(&world, &cordoned) => {}
    }
}

async fn claimed_in_order(world: &World, cordoned: &Cordoned) {
    let _operator = world.another_operator("all", "", &[]).await;
    // One pod a node, the first on the cordoned one.
    let mut template = template();
    template["spec"]["affinity"] = json!({
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": {
            "matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [cordoned.0]}]}}]},
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
            "topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"arl.infra.io/warmpool": "p"}}}]},
    });
    let tolerated = ["unschedulable", "not-ready", "unreachable", "network-unavailable"];
    let tolerated = tolerated.map(|key| json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists"}));
    template["spec"]["tolerations"] = json!(tolerated);
    world.pool_of("p", 2, &template).await;
    let on = |pod: &Pod, node: &str| pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref() == Some(node));
    let found = world.pods("a pod on the cordoned node", |pods| pods.iter().any(|pod| on(pod, &cordoned.0))).await;
    let there = found.iter().find(|pod| on(pod, &cordoned.0)).unwrap().name_any();
    // As its kubelet would say, and so long ago that it would be the first to be claimed.
    let since = "2020-01-01T00:00:00Z";
    let said = json!({"status": {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}],
        "containerStatuses": [{
            "name": "executor", "image": "busybox:1", "imageID": "i", "containerID": "containerd://1", "ready": true,
            "restartCount": 0, "state": {"running": {"startedAt": since}},
        }],
    }});
    world.api::<Pod>().patch_status(&there, &PatchParams::default(), &Patch::Strategic(said)).await.unwrap();
    world.pool_is_ready("p", 2).await;
    world.sandbox("first", "p").await;
    assert_ne!(world.pod_of("first").await, there);
    world.sandbox("second", "p").await;
    assert_eq!(world.pod_of("second").await, there, "better than none");
    // Nobody else ends it.
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    world.api::<Pod>().delete(&there, &at_once).await.unwrap();
}
