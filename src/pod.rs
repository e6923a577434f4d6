//! A pod with only the fields the operator uses: a whole one would take 25 times the memory.
//!
//! A field that is not listed here is not in the cache, whatever the API server has; add it before you read it.

mod container;
mod lost;
mod owner;
mod scheduling;
mod seen;
mod slim;
mod target;
mod terminated;
mod unready;

use std::collections::BTreeMap;

use arl_crds::{
    ExecutorMode,
    labels::{self, PodState},
};
pub use container::Container;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
pub use lost::{Cause, Loss, RAISE_MEMORY, how_lost};
use serde::{Deserialize, Serialize};
pub use target::Target;

use crate::{object::Key, texts};

/// Name of what the operator adds to a pod for its agent: an init container, a volume, and the mounts of that.
pub const AGENT: &str = "arl-agent";

/// A pool's pod.
#[derive(Clone, Debug, Default, Deserialize, Serialize, Resource)]
#[resource(inherit = k8s_openapi::api::core::v1::Pod)]
#[allow(missing_docs)] // the API's own fields
pub struct Pod {
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: PodSpec,
    /// Containers have a say in some of its texts, such as termination messages.
    #[serde(default, deserialize_with = "texts::printable")]
    pub status: PodStatus,
    /// When it was seen as it is here, by the operator's clock.
    #[serde(skip)]
    pub seen: Option<Timestamp>,
    /// When this operator saw it first, likewise.
    #[serde(skip)]
    pub first_seen: Option<Timestamp>,
    /// Since when it has not been ready, as far as this operator saw, by its own clock. None is one that is ready.
    #[serde(skip)]
    pub unready_since: Option<Timestamp>,
    /// Since when its executor container has not run, likewise. None is one that runs.
    #[serde(skip)]
    pub down_since: Option<Timestamp>,
    /// How its executor container last ended after it had run, as far as this operator saw, without its message: the status then has how an
    /// attempt to start it again failed.
    #[serde(skip)]
    pub last_end: Option<Terminated>,
}

/// What is kept of the pod's spec.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[allow(missing_docs)]
pub struct PodSpec {
    #[serde(default)]
    pub containers: Vec<Container>,
    #[serde(default, rename = "initContainers")]
    pub init_containers: Vec<Container>,
    #[serde(default, rename = "restartPolicy")]
    pub restart_policy: String,
    #[serde(default, rename = "nodeName")]
    pub node_name: String,
}

/// What is kept of the pod's status.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct PodStatus {
    pub phase: String,
    pub reason: String,
    pub message: String,
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    pub conditions: Vec<PodCondition>,
    pub container_statuses: Vec<ContainerStatus>,
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// What is kept of a pod condition.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct PodCondition {
    #[serde(rename = "type")]
    pub type_: String,
    pub status: String,
    pub reason: String,
    pub message: String,
    pub last_transition_time: Option<Time>,
}

/// What is kept of a container's status.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ContainerStatus {
    pub name: String,
    pub ready: bool,
    pub started: bool,
    pub restart_count: i32,
    #[serde(rename = "containerID")]
    pub container_id: Option<String>,
    pub state: ContainerState,
    pub last_state: ContainerState,
}

/// What is kept of a container's state.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[allow(missing_docs)]
pub struct ContainerState {
    pub running: Option<Running>,
    pub waiting: Option<Waiting>,
    pub terminated: Option<Terminated>,
}

/// That a container runs.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Running {
    pub started_at: Option<Time>,
    /// Since when, as far as this operator saw, by its own clock.
    #[serde(skip)]
    pub since: Option<Timestamp>,
}

/// Why a container has not started.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Waiting {
    pub reason: String,
    pub message: String,
}

/// How a container ended.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Terminated {
    pub reason: String,
    pub message: String,
    pub exit_code: i32,
    #[serde(rename = "containerID")]
    pub container_id: Option<String>,
}

impl Pod {
    fn label(&self, name: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(name).map(String::as_str)
    }

    fn annotations(&self) -> Option<&BTreeMap<String, String>> {
        self.metadata.annotations.as_ref()
    }

    /// The pool the pod was made for.
    pub fn pool(&self) -> Option<Key> {
        self.label(labels::WARMPOOL).map(|name| Key::of(self).sibling(name))
    }

    /// The Sandbox the label names.
    pub fn sandbox(&self) -> Option<Key> {
        self.label(labels::SANDBOX).map(|name| Key::of(self).sibling(name))
    }

    /// Whether no Sandbox holds the pod.
    pub fn is_idle(&self) -> bool {
        self.label(labels::POD_STATE) == Some(PodState::Ready.as_str())
    }

    /// The fingerprint of the template it was made from.
    pub fn template_hash(&self) -> Option<&str> {
        self.annotations()?.get(labels::TEMPLATE_HASH).map(String::as_str)
    }

    /// The fingerprint of the image that its agent comes from, of a pod that is not ready.
    pub fn agent_image(&self) -> Option<&str> {
        self.annotations()?.get(labels::AGENT_IMAGE).map(String::as_str)
    }

    /// Whether its deletion has begun.
    pub fn is_deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// What says that it was ended from outside, such as by a drain.
    pub fn disruption(&self) -> Option<&PodCondition> {
        self.condition("DisruptionTarget").filter(|c| c.status != "False")
    }

    /// Whether its deletion has begun from outside.
    pub fn is_disrupted(&self) -> bool {
        self.is_deleting() && self.disruption().is_some()
    }

    /// Whether it has ended for good.
    pub fn is_terminal(&self) -> bool {
        matches!(self.status.phase.as_str(), "Failed" | "Succeeded")
    }

    /// How long it had been there when its status last changed. Both times are the cluster's: how far the operator's clock is ahead of
    /// it makes no difference.
    pub fn lasted(&self) -> Option<SignedDuration> {
        let created = self.metadata.creation_timestamp.as_ref()?.0;
        let last = self.status.conditions.iter().filter_map(|c| c.last_transition_time.as_ref()).map(|t| t.0).max()?;
        Some(last.duration_since(created))
    }

    /// Whether it still is, or will be, of use.
    pub fn is_alive(&self) -> bool {
        !self.is_deleting() && !self.is_terminal()
    }

    /// Its condition of this type.
    pub fn condition(&self, type_: &str) -> Option<&PodCondition> {
        self.status.conditions.iter().find(|c| c.type_ == type_)
    }

    /// Since when its Ready condition is True, if it is.
    pub fn ready_since(&self) -> Option<Timestamp> {
        let ready = self.condition("Ready").filter(|c| c.status == "True")?;
        Some(ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0))
    }

    /// Whether its Ready condition is True.
    pub fn is_ready(&self) -> bool {
        self.ready_since().is_some()
    }

    /// Whether a Sandbox may claim it.
    pub fn is_claimable(&self) -> bool {
        self.is_idle() && self.is_alive() && self.is_ready()
    }

    /// How steps get into the pod.
    pub fn mode(&self) -> ExecutorMode {
        let has_agent = self.annotations().is_some_and(|a| a.contains_key(labels::AGENT));
        if has_agent { ExecutorMode::Agent } else { ExecutorMode::Exec }
    }

    /// The container the steps run in, by the rule of `WarmPoolSpec::executor_container`.
    pub fn executor(&self) -> &str {
        let names = || self.spec.containers.iter().map(|c| c.name.as_str());
        let annotated = |name| self.annotations().and_then(|a| a.get(name)).map(String::as_str);
        let annotated = annotated(labels::EXECUTOR).or_else(|| annotated(labels::DEFAULT_CONTAINER));
        annotated
            .filter(|wanted| names().any(|n| n == *wanted))
            .or_else(|| names().find(|n| *n == "executor"))
            .or_else(|| names().next())
            .unwrap_or_default()
    }

    /// The spec of its container, or init container, of this name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.spec.containers.iter().chain(&self.spec.init_containers).find(|c| c.name == name)
    }

    /// The status of the executor container.
    pub fn executor_status(&self) -> Option<&ContainerStatus> {
        self.status.container_statuses.iter().find(|c| c.name == self.executor())
    }

    /// The ID of the executor container, while it runs.
    pub fn running_container(&self) -> Option<&str> {
        self.executor_status().filter(|c| c.state.running.is_some())?.container_id.as_deref()
    }
}
