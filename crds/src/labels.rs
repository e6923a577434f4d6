//! What the pods of a pool carry. The first three are the users' reference; the rest are ours.

/// Label: name of the WarmPool the pod was made for.
pub const WARMPOOL: &str = "arl.infra.io/warmpool";
/// Label: whether a Sandbox holds the pod, see [`PodState`].
pub const POD_STATE: &str = "arl.infra.io/pod-state";
/// Label: name of the Sandbox that holds the pod; absent while the pod is idle.
pub const SANDBOX: &str = "arl.infra.io/sandbox";
/// Label: the convention's name for what manages an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`] on pool pods.
pub const MANAGER: &str = "arl-operator";
/// Annotation: fingerprint of the pool's template that the pod was made from.
pub const TEMPLATE_HASH: &str = "arl.infra.io/template-hash";
/// Annotation: the container the steps run in, as it was chosen when the pod was created.
pub const EXECUTOR: &str = "arl.infra.io/executor";
/// Annotation: the pod has the agent, and speaks this version of its protocol.
pub const AGENT: &str = "arl.infra.io/agent";
/// Annotation: fingerprint of the image that the agent comes from, and of how it is pulled.
pub const AGENT_IMAGE: &str = "arl.infra.io/agent-image";
/// Annotation: whether cluster-autoscaler may remove the pod's node.
/// <https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md>
pub const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";
/// Annotation: the volumes, by name and separated by commas, that do not keep cluster-autoscaler from removing the pod's node.
pub const SAFE_TO_EVICT_VOLUMES: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";
/// Annotation: asks Karpenter to leave the pod's node alone.
/// <https://karpenter.sh/docs/concepts/disruption/>
pub const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";
/// Annotation: names the container kubectl and we use by default.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Label of Sandboxes and Tasks that a client created: the run of the program that they belong to.
pub const RUN_ID: &str = "arl.infra.io/run-id";
/// Annotation of Sandboxes and Tasks that a client created: the call that did.
pub const REQUEST_ID: &str = "arl.infra.io/request-id";
/// Annotation of Sandboxes and Tasks: the span of the caller that they belong to.
pub const TRACE_CONTEXT: &str = "opentelemetry.io/trace-context";

/// The two values of [`POD_STATE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodState {
    /// Not allocated; whether the pod has started is its own Ready condition.
    Ready,
    /// Held by a Sandbox.
    Allocated,
}

impl PodState {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Allocated => "allocated",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PodState;

    #[test]
    fn the_values_are_those_that_selectors_have() {
        assert_eq!([PodState::Ready, PodState::Allocated].map(PodState::as_str), ["ready", "allocated"]);
    }
}
