//! What is put into a pool's pod so that steps can be run in it: an init container that copies the agent into a volume, and the
//! volume's mounts in the executor container. The rest of the template stays as it is.

use arl_agent::{BIN, DIRECTORY, POD_UID, STATE};
use arl_crds::{labels, template::fnv1a};
use serde_json::{Map, Value, json};

use crate::pod::AGENT;

/// The init container's user where the pod's would be root: "restricted" wants another. Any will do, the volume can be written by
/// all; elsewhere it is left to the image, or to a policy that sets one.
/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted>
const USER: i64 = 65532;
/// What the init container asks for. Of devices and pages of memory that the executor has it needs none, and where they are
/// counted out it would wait for its own.
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Where the agent comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentImage {
    /// An image with `/arl-agent` in it.
    pub image: String,
    /// When it is pulled.
    pub pull_policy: String,
}

impl AgentImage {
    /// What pods that were made with another one are told by.
    pub(super) fn fingerprint(&self) -> String {
        format!("{:016x}", fnv1a(format!("{} {}", self.image, self.pull_policy).as_bytes()))
    }
}

/// Adds the agent to a pod's spec, for `executor`, else for the container that would be chosen.
pub(super) fn agent(spec: &mut Map<String, Value>, executor: Option<&str>, agent: &AgentImage) {
    let containers = list(spec, "containers");
    let named = executor.and_then(|name| containers.iter().position(|c| c["name"] == name));
    let Some(container) = containers.get_mut(named.unwrap_or(0)).and_then(Value::as_object_mut) else { return };
    let resources = container.get("resources").map_or_else(|| json!({}), resources);
    let mut command = vec![json!("/arl-agent"), json!("install"), json!(DIRECTORY)];
    // A variable in it is none: the kubelet puts those of the init container in arguments, and none in a working directory.
    command.extend(container.get("workingDir").and_then(Value::as_str).map(|path| json!(path.replace('$', "$$"))));
    // Nobody in the container can put another program in the agent's place; what the agent keeps is closed by its own folders.
    let mounts = list(container, "volumeMounts");
    mounts.push(json!({ "name": AGENT, "mountPath": DIRECTORY, "subPath": BIN, "readOnly": true }));
    mounts.push(json!({ "name": AGENT, "mountPath": format!("{DIRECTORY}/{STATE}"), "subPath": STATE }));
    let is_root = spec.get("securityContext").is_some_and(|context| context["runAsUser"] == 0);
    list(spec, "volumes").push(json!({ "name": AGENT, "emptyDir": {} }));
    let mut install = json!({
        "name": AGENT,
        "image": agent.image,
        "imagePullPolicy": agent.pull_policy,
        "command": command,
        "env": [{ "name": POD_UID, "valueFrom": { "fieldRef": { "fieldPath": "metadata.uid" } } }],
        "volumeMounts": [{ "name": AGENT, "mountPath": DIRECTORY }],
        "resources": resources,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        // What it says when it fails is then in the pod's status, and from there in the pool's.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    if is_root {
        install["securityContext"]["runAsUser"] = json!(USER);
    }
    list(spec, "initContainers").insert(0, install);
}

/// Those of the executor as far as they concern the pod's class, quota and what it needs of a node: these stay the same.
fn resources(executor: &Value) -> Value {
    let mut copied = json!({});
    for kind in ["requests", "limits"] {
        let amounts = executor[kind].as_object().into_iter().flatten();
        let amounts = amounts.filter(|(name, _)| RESOURCES.contains(&name.as_str()));
        let amounts: Map<String, Value> = amounts.map(|(name, amount)| (name.clone(), amount.clone())).collect();
        if !amounts.is_empty() {
            copied[kind] = amounts.into();
        }
    }
    copied
}

/// Tells the cluster autoscaler that a pod's node can go in spite of our volume, beside those that the template names.
pub(super) fn let_nodes_go(annotations: &mut Map<String, Value>) {
    let named = annotations.get(labels::SAFE_TO_EVICT_VOLUMES).and_then(Value::as_str).unwrap_or_default();
    let others = named.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != AGENT);
    let all: Vec<&str> = others.chain([AGENT]).collect();
    annotations.insert(labels::SAFE_TO_EVICT_VOLUMES.into(), json!(all.join(",")));
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
