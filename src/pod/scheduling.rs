//! How far a pod is on its way to a node.

use super::{Pod, PodCondition};

/// What the scheduler says of a pod whose ephemeral volumes have no claims yet. It looks at each such pod once before the controller that makes
/// them can have done so.
const CLAIMS_TO_COME: &str = "waiting for ephemeral volume controller";

impl Pod {
    /// Whether it is to get a node, and no scheduler has looked for one yet, or none can before what it needs is made.
    pub fn awaits_scheduler(&self) -> bool {
        let is_unseen = self.condition("PodScheduled").is_none() || self.uncreated_claims().is_some();
        self.is_nowhere() && is_unseen
    }

    /// Whether it has no node yet, whatever the cause.
    pub fn is_nowhere(&self) -> bool {
        self.spec.node_name.is_empty() && !self.is_ready()
    }

    /// Whether a scheduler has found no node for it.
    pub fn is_unschedulable(&self) -> bool {
        self.found_no_node().is_some()
    }

    /// What a scheduler says that has found no node for it.
    pub fn found_no_node(&self) -> Option<&PodCondition> {
        self.refused_by_scheduler().filter(|c| !c.message.contains(CLAIMS_TO_COME))
    }

    /// What a scheduler says of the claims of its ephemeral volumes, while there are none.
    pub fn uncreated_claims(&self) -> Option<&PodCondition> {
        self.refused_by_scheduler().filter(|c| c.message.contains(CLAIMS_TO_COME))
    }

    fn refused_by_scheduler(&self) -> Option<&PodCondition> {
        self.condition("PodScheduled").filter(|c| c.status == "False" && c.reason == "Unschedulable")
    }
}
