//! What has become of a Sandbox whose pod is gone.

use arl_crds::{Sandbox, SandboxPhase, condition};
use kube::{Api, Client};

use crate::stream::Place;

/// In words; none where the Sandbox does not explain it, or cannot be asked for.
pub(super) async fn of_sandbox(client: &Client, place: &Place) -> Option<String> {
    let name = place.sandbox.as_ref()?;
    let sandboxes: Api<Sandbox> = Api::namespaced(client.clone(), &place.namespace);
    let sandbox = sandboxes.get_opt(name).await.ok()?;
    told(name, &place.pod_uid, sandbox.as_ref())
}

fn told(name: &str, pod_uid: &str, sandbox: Option<&Sandbox>) -> Option<String> {
    let deleted = || Some(format!("Sandbox {name} was deleted"));
    let Some(sandbox) = sandbox.filter(|sandbox| sandbox.metadata.deletion_timestamp.is_none()) else {
        return deleted();
    };
    let status = sandbox.status.clone().unwrap_or_default();
    // Another of the same name.
    if status.pod_uid.as_deref() != Some(pod_uid) {
        return deleted();
    }
    let ready = condition::find(&status.conditions, "Ready")?;
    (status.phase == Some(SandboxPhase::Released))
        .then(|| format!("Sandbox {name} has ended ({}): {}", ready.reason, ready.message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sandbox_that_is_gone_or_ended_explains_its_pod() {
        let sandbox = |phase: &str, pod_uid: &str, deleted: Option<&str>| -> Sandbox {
            serde_json::from_value(json!({
                "metadata": { "name": "s", "deletionTimestamp": deleted },
                "spec": { "poolRef": "p" },
                "status": { "phase": phase, "podUID": pod_uid, "conditions": [{ "type": "Ready",
                    "status": "False", "reason": "IdleTimeout", "message": "why",
                    "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
            }))
            .unwrap()
        };
        let deleted = Some("Sandbox s was deleted");
        for (sandbox, expected) in [
            (None, deleted),
            (Some(sandbox("Ready", "u", Some("2026-01-01T00:00:00Z"))), deleted),
            (Some(sandbox("Ready", "another", None)), deleted),
            (Some(sandbox("Ready", "u", None)), None),
            (Some(sandbox("Released", "u", None)), Some("Sandbox s has ended (IdleTimeout): why")),
        ] {
            assert_eq!(told("s", "u", sandbox.as_ref()).as_deref(), expected);
        }
    }
}
