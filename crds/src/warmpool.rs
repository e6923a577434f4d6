//! WarmPool: N idle pods of a template, kept ready.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::template::{NoExecutor, PodTemplate, fnv1a};

/// What a WarmPool should keep ready.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "arl.infra.io",
    version = "v1alpha1",
    kind = "WarmPool",
    doc = "A WarmPool keeps idle pods of a template ready, so that a Sandbox gets one in milliseconds.",
    plural = "warmpools",
    shortname = "wp",
    category = "arl",
    namespaced,
    status = "WarmPoolStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    validation = Rule::new("self.metadata.name.size() <= 63").message(
        "metadata.name must be at most 63 characters, since pods carry it as a label; choose a shorter name"
    ),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas", description = "Idle pods asked for"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.ready", description = "Idle pods that are ready"),
    printcolumn(name = "Allocated", type_ = "integer", json_path = ".status.allocated", description = "Pods held by Sandboxes"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"PodsFailing\")].reason",
        description = "What is wrong with idle pods, or PodsHealthy"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.template.spec.containers[0].image", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Wanted", type_ = "integer", json_path = ".status.wanted", description = "Idle pods wanted now, of a pool with scaling", priority = 1),
    printcolumn(name = "Waiting", type_ = "integer", json_path = ".status.waiting", description = "Sandboxes that wait for a pod, of a pool with scaling", priority = 1)
)]
#[x_kube(
    validation = Rule::new("!has(self.scaling) || self.scaling.maxReplicas >= self.replicas")
        .message("spec.scaling.maxReplicas must be at least spec.replicas, which is the least number of idle pods; raise maxReplicas or lower replicas"),
)]
#[serde(rename_all = "camelCase")]
pub struct WarmPoolSpec {
    /// Number of idle pods to keep ready, 0 to 100000; a pod that a Sandbox claims no longer counts and is replaced. With `scaling` it is
    /// the least number, and 0 is a pool that sleeps until a Sandbox asks for a pod. Example: 3.
    #[schemars(range(min = 0, max = 100_000))]
    pub replicas: i32,
    /// Template of the pool's pods: a PodTemplateSpec, kept as it was written. The three labels of the operator win over the
    /// template's own. Where the template leaves them out, terminationGracePeriodSeconds is 1, and automountServiceAccountToken is
    /// false unless the template names a ServiceAccount. Changing the template replaces idle pods one by one; allocated pods are
    /// left alone.
    pub template: PodTemplate,
    /// How the steps of Tasks are run in the pool's pods. Changing its container or mode replaces the idle pods.
    #[serde(default)]
    pub executor: Executor,
    /// Lets the number of idle pods follow what Sandboxes ask for. Unset: there are `replicas` of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
}

/// How the number of idle pods follows what is asked for. Wanted are as many as Sandboxes wait for now, and half as many again as
/// were claimed during the last start of a pod, between `replicas` and `maxReplicas`. A pool grows at once, and shrinks once it has
/// needed less for a while; pods that Sandboxes hold are left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.maxPods) || self.maxPods >= self.maxReplicas")
        .message("spec.scaling.maxPods counts idle pods and those that Sandboxes hold, so it must be at least maxReplicas; raise maxPods or lower maxReplicas"),
)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// The most idle pods, at least `replicas`. Example: 20.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_replicas: i32,
    /// The most pods of this pool, idle ones and those that Sandboxes hold together. Beyond it Sandboxes wait with the reason
    /// PoolAtLimit. Unset: any number. Example: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub max_pods: Option<i32>,
    /// Seconds for which fewer pods must have been needed before the pool shrinks: by a fifth of what it had then, and by as much again
    /// after each tenth of this time.
    #[serde(default = "scale_down_after")]
    #[schemars(range(min = 1, max = 86_400))]
    pub scale_down_after_seconds: i32,
}

fn scale_down_after() -> i32 {
    300
}

/// How steps are run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.mode != 'Exec' || self.connect != 'Idle'",
    "message": "spec.executor.connect: Idle needs mode Agent, since plain exec has no stream that could be kept open; leave connect out or set mode: Agent",
}]))]
#[serde(rename_all = "camelCase", default)]
pub struct Executor {
    /// Agent: a small static program, put into the pod by an init container, runs the steps; Tasks take milliseconds, outlive the
    /// operator, and end with everything they started. Exec: one pods/exec call for each step, for templates that cannot take
    /// another init container; slower, it needs `sh` in the image for env, workDir and FilePatch, cannot end what a step started,
    /// and a restart of the operator interrupts the running Task.
    pub mode: ExecutorMode,
    /// Name of the container in the template that the steps run in. Unset: the one that the annotation
    /// kubectl.kubernetes.io/default-container names, else the one named executor, else the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// When the operator opens its stream to the agent in a pod. Claimed: when a Sandbox gets the pod. Idle: as soon as the pod is
    /// ready, so that a Task that is created together with its Sandbox does not wait for it; each idle pod then costs memory in the
    /// operator and on its node. Changing it replaces no pods, and closes no streams. Idle needs mode Agent.
    pub connect: Connect,
}

/// When a stream is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Connect {
    /// When a Sandbox gets the pod.
    #[default]
    Claimed,
    /// As soon as the pod is ready.
    Idle,
}

/// The two ways to run steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExecutorMode {
    /// Through the agent in the pod.
    #[default]
    Agent,
    /// Through plain pods/exec.
    Exec,
}

impl WarmPoolSpec {
    /// The container the steps run in.
    pub fn executor_container(&self) -> Result<&str, NoExecutor> {
        match self.executor.container.as_deref() {
            Some(named) => self.template.container(named).ok_or_else(|| NoExecutor::Named(named.to_owned())),
            None => self.template.executor(),
        }
    }

    /// A fingerprint of all that idle pods are replaced for: the template, and an executor that is not the default.
    pub fn fingerprint(&self) -> String {
        let template = self.template.fingerprint();
        let Executor { mode, container, connect: _ } = &self.executor;
        if (*mode, container.as_ref()) == (ExecutorMode::default(), None) {
            return template;
        }
        let executor = format!("{template} {mode:?} {container:?}");
        format!("{:016x}", fnv1a(executor.as_bytes()))
    }
}

/// What a WarmPool has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WarmPoolStatus {
    /// Number of ready (unallocated) pods.
    #[serde(default)]
    pub ready: i32,
    /// Number of allocated pods: those that Sandboxes hold.
    #[serde(default)]
    pub allocated: i32,
    /// Total number of pods, idle and allocated, without those being deleted.
    #[serde(default)]
    pub total: i32,
    /// Number of idle pods, ready or not; what `kubectl scale` and autoscalers read.
    #[serde(default)]
    pub replicas: i32,
    /// Number of idle pods of an earlier template than that of `observedGeneration`, which are replaced one by one.
    #[serde(default)]
    pub outdated: i32,
    /// Label selector of the idle pods; what autoscalers read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Current phase, derived from the counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<WarmPoolPhase>,
    /// Number of idle pods wanted now, of a pool with `scaling`: between `replicas` and `scaling.maxReplicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<i32>,
    /// Number of Sandboxes that wait for a pod of this pool, of a pool with `scaling`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<i32>,
    /// Of the last Sandboxes that got a pod of this pool, 100 at most, how many of a hundred found one ready at once; of a pool with
    /// `scaling`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hit_rate: Option<i32>,
    /// The highest number a pod of this pool has had; numbers are not used again, so that a pod's name means one pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_pod_number: Option<i64>,
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Detailed status conditions: `Ready`, and `PodsFailing` with the cause a person needs; `ScalingLimited` of a pool with `scaling`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Current phase: Pending (nothing is ready although replicas > 0), Ready (at least `replicas` idle pods are ready) or Scaling
/// (anything else). With `scaling`, `status.wanted` stands in the place of `replicas`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WarmPoolPhase {
    /// No pod is ready although some are asked for.
    Pending,
    /// As many pods are ready as are asked for.
    Ready,
    /// Some pods are ready, fewer than are asked for.
    Scaling,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(executor: &Value) -> WarmPoolSpec {
        let containers = json!([{ "name": "executor" }, { "name": "tools" }]);
        let template = json!({ "spec": { "containers": containers } });
        serde_json::from_value(json!({ "replicas": 1, "template": template, "executor": executor })).unwrap()
    }

    #[test]
    fn the_container_is_the_named_one_or_the_templates() {
        for (executor, expected) in [
            (json!({}), Ok("executor")),
            (json!({ "container": "tools" }), Ok("tools")),
            (json!({ "container": "nosuch" }), Err(NoExecutor::Named("nosuch".into()))),
        ] {
            assert_eq!(spec(&executor).executor_container(), expected, "{executor}");
        }
    }

    #[test]
    fn idle_pods_are_replaced_for_another_container_or_mode() {
        let print = |executor: Value| spec(&executor).fingerprint();
        let template = spec(&json!({})).template.fingerprint();
        assert_eq!([print(json!({})), print(json!({ "connect": "Idle" }))], [template.clone(), template.clone()]);
        let others =
            [json!({ "mode": "Exec" }), json!({ "container": "tools" }), json!({ "container": "executor" })].map(print);
        let all: std::collections::BTreeSet<&String> = others.iter().chain([&template]).collect();
        assert_eq!(all.len(), 4, "{all:?}");
    }

    #[test]
    fn a_pool_shrinks_after_five_minutes_unless_it_says_otherwise() {
        let scaling: Scaling = serde_json::from_value(json!({ "maxReplicas": 2 })).unwrap();
        assert_eq!(scaling.scale_down_after_seconds, 300);
    }
}
