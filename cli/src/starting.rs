//! What was made a moment ago: that it is not where it should be yet is no fault.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Resource;

/// An operator looks at what is new within this.
pub const LOOK_MAX: SignedDuration = SignedDuration::from_secs(10);
/// A pod that is not ready after this is late, as the operator has it.
const START_MAX: SignedDuration = SignedDuration::from_secs(30);
/// What a container waits for before its first start.
const ORDINARY: [&str; 3] = ["", "PodInitializing", "ContainerCreating"];

/// Whether no operator need have looked at it yet.
pub fn is_new(object: &impl Resource, now: Timestamp) -> bool {
    is_younger(object, LOOK_MAX, now)
}

/// When something else than its status was written last, as far as is on record.
pub fn changed(object: &impl Resource) -> Option<Timestamp> {
    let meta = object.meta();
    let writes = meta.managed_fields.iter().flatten().filter(|write| write.subresource.as_deref() != Some("status"));
    writes.filter_map(|write| write.time.as_ref()).chain(&meta.creation_timestamp).map(|time| time.0).max()
}

/// Whether it is on its way to its first start, and nothing is in the way.
pub fn is_starting(pod: &Pod, now: Timestamp) -> bool {
    let Some(status) = &pod.status else { return is_younger(pod, START_MAX, now) };
    let is_refused = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    let mut containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    is_younger(pod, START_MAX, now)
        && pod.metadata.deletion_timestamp.is_none()
        && !matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"))
        && !is_refused
        && containers.all(is_well)
}

fn is_well(container: &ContainerStatus) -> bool {
    let Some(state) = &container.state else { return true };
    let waits = state.waiting.as_ref().map(|waiting| waiting.reason.as_deref().unwrap_or_default());
    let has_failed = state.terminated.as_ref().is_some_and(|ended| ended.exit_code != 0);
    container.restart_count == 0 && waits.is_none_or(|reason| ORDINARY.contains(&reason)) && !has_failed
}

fn is_younger(object: &impl Resource, age: SignedDuration, now: Timestamp) -> bool {
    object.meta().creation_timestamp.as_ref().is_some_and(|made| now.duration_since(made.0) < age)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        let meta = json!({ "name": "p-1", "creationTimestamp": "1970-01-01T00:00:00Z" });
        serde_json::from_value(json!({ "metadata": meta, "status": status })).unwrap()
    }

    #[test]
    fn a_pod_starts_while_it_is_new_and_nothing_is_in_the_way() {
        let at = |status: &Value, second| is_starting(&pod(status), Timestamp::from_second(second).unwrap());
        let container = |state: &Value, restarts: i32| {
            json!({ "phase": "Pending", "containerStatuses": [
            { "name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": restarts, "state": state }] })
        };
        let waits = |reason: &str| container(&json!({ "waiting": { "reason": reason } }), 0);
        assert!(
            at(&json!({}), 5) && at(&waits("ContainerCreating"), 29) && at(&container(&json!({ "running": {} }), 0), 5)
        );
        assert!(!at(&waits("ContainerCreating"), 31), "it is late");
        let unscheduled = json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False" }] });
        for status in [waits("ErrImagePull"), container(&json!({}), 1), unscheduled, json!({ "phase": "Failed" })] {
            assert!(!at(&status, 5), "{status}");
        }
    }
}
