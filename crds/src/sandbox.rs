//! Sandbox: a workspace, that is, one pod claimed from a pool.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::setup::{Setup, SetupStatus};

/// What a Sandbox asks for.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "arl.infra.io",
    version = "v1alpha1",
    kind = "Sandbox",
    doc = "A Sandbox is an allocated workspace: a pod claimed from a WarmPool, held until it is released, deleted or idle too long.",
    plural = "sandboxes",
    shortname = "sbx",
    category = "arl",
    namespaced,
    status = "SandboxStatus",
    derive = "PartialEq",
    selectable = ".spec.poolRef",
    selectable = ".status.phase",
    validation = Rule::new("self.metadata.name.size() <= 63").message(
        "metadata.name must be at most 63 characters, since the pod carries it as a label; choose a shorter name"
    ),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.poolRef"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Pod", type_ = "string", json_path = ".status.podName"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "IP", type_ = "string", json_path = ".status.podIP", priority = 1)
)]
#[x_kube(
    validation = Rule::new("has(self.setup) == has(oldSelf.setup)")
        .message("setup cannot be added or taken away, since it runs once; create another Sandbox"),
    validation = Rule::new("has(self.env) == has(oldSelf.env) && (!has(self.env) || self.env == oldSelf.env)")
        .message("env cannot be changed, since steps may have run with it; create another Sandbox"),
)]
#[serde(rename_all = "camelCase")]
pub struct SandboxSpec {
    /// Name of the WarmPool to allocate from, in the same namespace; it may be created later. Cannot be changed. Example: python-pool.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("poolRef cannot be changed; create another Sandbox"))]
    pub pool_ref: String,
    /// Keep the sandbox after task completion. When false and without ttlSecondsAfterFinished, the pod is deleted and the
    /// phase becomes Released once the first Task has finished and no other unfinished Task names the Sandbox. Default: false.
    #[serde(default)]
    pub keep_alive: bool,
    /// Auto-delete the Sandbox, and its pod, after this many seconds of idle time, whatever keepAlive says. Idle time starts
    /// once it is ready and again each time the last unfinished Task finishes, or the last live process or client is gone; 0 acts once
    /// the first of these has. Unset: never by time. Example: 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// Environment variables of every command step and every live process of this Sandbox, added to the container's own; those of
    /// a step or a process win. The pod is not restarted for them. Not for secrets: whoever may read Sandboxes reads them. Cannot be
    /// changed. At most 32, with names of 64 and values of 1024 characters, and 4096 characters in all. Example: {"SEED": "7"}.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "env_schema")]
    pub env: BTreeMap<String, String>,
    /// Steps that are run once, after a pod is allocated and before the Sandbox is ready; Tasks wait until they have succeeded. Where one
    /// fails, the Sandbox is Released with the reason SetupFailed. Cannot be changed. Unset: it is ready with its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<Setup>,
}

/// Written by hand, since the rules on the names need the bounds on the map beside them. Every Sandbox is in memory with its variables, and
/// each step gets them: the bounds are narrower than those of a step's own.
fn env_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "type": "string", "maxLength": 1024, "pattern": r"^[^\x00]*$" },
        "x-kubernetes-validations": [
            {
                "rule": "self.all(name, name.size() <= 64 && name.matches('^[A-Za-z_][A-Za-z0-9_]*$'))",
                "message": "names of variables are letters, digits and underscores, do not start with a digit and have at most 64 \
                    characters, such as PYTHONPATH",
            },
            {
                "rule": "self.map(name, name.size() + self[name].size()).sum() <= 4096",
                "message": "the names and values of env may have 4096 characters together; write larger input into a file of the Sandbox",
            },
        ],
    })
}

impl SandboxSpec {
    /// The bytes of its variables.
    pub fn env_size(&self) -> usize {
        self.env.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// What a Sandbox has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxStatus {
    /// Current phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<SandboxPhase>,
    /// Name of the allocated pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// UID of the allocated pod; a pod of the same name with another UID is another pod.
    #[serde(default, rename = "podUID", skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// Name of the container of the pod that steps and live commands run in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// IP address of the allocated pod.
    #[serde(default, rename = "podIP", skip_serializing_if = "Option::is_none")]
    pub pod_ip: Option<String>,
    /// When the pod was allocated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated_at: Option<MicroTime>,
    /// Since when no Task has been unfinished, or since it gave up its pod; recorded lazily, at most a tenth of the ttl late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_since: Option<MicroTime>,
    /// How often the executor container has been started again since the pod was allocated; each time lost its processes
    /// and its files outside volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<i32>,
    /// The executor container's restart count at allocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts_before: Option<i32>,
    /// What became of `spec.setup`; absent before its Task is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<SetupStatus>,
    /// The Sandbox's place among those created in the same second: its resourceVersion when it was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival: Option<i64>,
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Detailed status conditions: `Ready`, with the reason it waits, works or was released.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Current phase: Pending (it has no pod yet, or is being set up), Ready (it has its pod), Bound (a Task is running) or Released (it has given up its
/// pod, for good).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SandboxPhase {
    /// Waiting for pod allocation, or for its setup.
    Pending,
    /// Pod allocated and ready for tasks.
    Ready,
    /// Currently executing a task.
    Bound,
    /// Released: the pod has been given up and deleted; nothing leads out of this phase.
    Released,
}

#[cfg(test)]
mod tests {
    use super::SandboxSpec;

    #[test]
    fn variables_are_as_large_as_their_names_and_values() {
        let spec = serde_json::json!({ "poolRef": "p", "env": { "A": "12345", "BCD": "6789" } });
        assert_eq!(serde_json::from_value::<SandboxSpec>(spec).unwrap().env_size(), 1 + 5 + 3 + 4);
    }
}
