//! WarmPool: N idle pods of a template, kept ready.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::template::PodTemplate;

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
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.template.spec.containers[0].image", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct WarmPoolSpec {
    /// Number of idle pods to keep ready; a pod that a Sandbox claims is replaced at once and no longer counts. Example: 3.
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// Template of the pool's pods.
    pub template: PodTemplate,
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
    /// Label selector of the idle pods; what autoscalers read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Pending: nothing is ready although replicas > 0. Ready: at least `replicas` pods are ready. Scaling: anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<WarmPoolPhase>,
    /// The highest number a pod of this pool has had; numbers are not used again, so that a pod's name means one pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_pod_number: Option<i64>,
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Detailed status conditions: `Ready`, and `PodsFailing` with the cause a person needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The phase of a WarmPool, derived from the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WarmPoolPhase {
    /// No pod is ready although some are asked for.
    Pending,
    /// As many pods are ready as are asked for.
    Ready,
    /// Some pods are ready, fewer than are asked for.
    Scaling,
}
