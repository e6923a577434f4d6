//! What has become of a Sandbox whose pod is gone.

use arl_crds::{Sandbox, SandboxPhase, condition, reason::SandboxReason};
use kube::{Api, Client};

use crate::{error::Fault, stream::Place};

/// In words, and whose fault that is; none where the Sandbox does not explain it, or cannot be asked for.
pub(super) async fn of_sandbox(client: &Client, place: &Place) -> Option<(String, Fault)> {
    let name = place.sandbox.as_ref()?;
    let sandboxes: Api<Sandbox> = Api::namespaced(client.clone(), &place.namespace);
    let sandbox = sandboxes.get_opt(name).await.ok()?;
    told(name, &place.pod_uid, sandbox.as_ref())
}

fn told(name: &str, pod_uid: &str, sandbox: Option<&Sandbox>) -> Option<(String, Fault)> {
    let deleted = || Some((format!("Sandbox {name} was deleted"), Fault::Usage));
    let Some(sandbox) = sandbox.filter(|sandbox| sandbox.metadata.deletion_timestamp.is_none()) else {
        return deleted();
    };
    let status = sandbox.status.clone().unwrap_or_default();
    // Another of the same name.
    if status.pod_uid.as_deref() != Some(pod_uid) {
        return deleted();
    }
    let ready = condition::find(&status.conditions, "Ready")?;
    let is_lost = ready.reason == SandboxReason::PodLost.as_str();
    let fault = if is_lost { Fault::Infrastructure } else { Fault::Usage };
    (status.phase == Some(SandboxPhase::Released))
        .then(|| (format!("Sandbox {name} has ended ({}): {}", ready.reason, ready.message), fault))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sandbox_that_is_gone_or_ended_explains_its_pod() {
        let sandbox = |phase: &str, pod_uid: &str, reason: &str, deleted: Option<&str>| -> Sandbox {
            serde_json::from_value(json!({
                "metadata": { "name": "s", "deletionTimestamp": deleted },
                "spec": { "poolRef": "p" },
                "status": { "phase": phase, "podUID": pod_uid, "conditions": [{ "type": "Ready",
                    "status": "False", "reason": reason, "message": "why",
                    "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
            }))
            .unwrap()
        };
        let deleted = Some(("Sandbox s was deleted", Fault::Usage));
        let finished = ("Sandbox s has ended (TasksFinished): why", Fault::Usage);
        for (sandbox, expected) in [
            (None, deleted),
            (Some(sandbox("Ready", "u", "Allocated", Some("2026-01-01T00:00:00Z"))), deleted),
            (Some(sandbox("Ready", "another", "Allocated", None)), deleted),
            (Some(sandbox("Ready", "u", "Allocated", None)), None),
            (Some(sandbox("Released", "u", "TasksFinished", None)), Some(finished)),
            (
                Some(sandbox("Released", "u", "PodLost", None)),
                Some(("Sandbox s has ended (PodLost): why", Fault::Infrastructure)),
            ),
        ] {
            let told = told("s", "u", sandbox.as_ref());
            assert_eq!(told.as_ref().map(|(message, fault)| (message.as_str(), *fault)), expected);
        }
    }
}
