//! What is put into a pool's pod so that steps can be run in it: an init container that copies the agent into a volume, and the
//! volume's mount in the executor container. The rest of the template stays as it is.

use arl_agent::{DIRECTORY, POD_UID};
use serde_json::{Map, Value, json};

/// Name of the init container and the volume.
const NAME: &str = "arl-agent";
/// Any user but root: "restricted" wants one, and the volume can be written by all.
/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted>
const USER: i64 = 65532;

/// Where the agent comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentImage {
    /// An image with `/arl-agent` in it.
    pub image: String,
    /// When it is pulled.
    pub pull_policy: String,
}

/// Adds the agent to a pod's spec, for `executor`, else for the container that would be chosen.
pub(super) fn agent(spec: &mut Map<String, Value>, executor: Option<&str>, agent: &AgentImage) {
    let containers = list(spec, "containers");
    let named = executor.and_then(|name| containers.iter().position(|c| c["name"] == name));
    let Some(container) = containers.get_mut(named.unwrap_or(0)).and_then(Value::as_object_mut) else { return };
    // Resources are those of the executor, so that the pod's class, quota and what it needs of a node stay the same; devices
    // cannot be asked for twice.
    let mut resources = container.get("resources").cloned().unwrap_or_else(|| json!({}));
    if let Some(resources) = resources.as_object_mut() {
        resources.remove("claims");
    }
    let mount = json!({ "name": NAME, "mountPath": DIRECTORY });
    list(container, "volumeMounts").push(mount.clone());
    list(spec, "volumes").push(json!({ "name": NAME, "emptyDir": {} }));
    let install = json!({
        "name": NAME,
        "image": agent.image,
        "imagePullPolicy": agent.pull_policy,
        "command": ["/arl-agent", "install", DIRECTORY],
        "env": [{ "name": POD_UID, "valueFrom": { "fieldRef": { "fieldPath": "metadata.uid" } } }],
        "volumeMounts": [mount],
        "resources": resources,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
    });
    list(spec, "initContainers").insert(0, install);
}

fn list<'a>(object: &'a mut Map<String, Value>, key: &str) -> &'a mut Vec<Value> {
    let entry = object.entry(key).or_insert_with(|| json!([]));
    if !entry.is_array() {
        *entry = json!([]);
    }
    match entry {
        Value::Array(items) => items,
        _ => unreachable!("made an array above"),
    }
}
