//! Nodes that nobody has: [kwok](https://kwok.sigs.k8s.io) says of their pods that they are ready, and nothing runs.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
    runtime::wait::{Condition, await_condition},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{cluster::from, seen::DEADLINE};

/// What kwok looks for, see `dev/with-kwok`.
const LABEL: (&str, &str) = (TAINT, "kwok");
/// Keeps other pods off.
const TAINT: &str = "arl.infra.io/bench-node";
/// What a node of kwok holds is more than any cluster bears.
pub const PODS_EACH: usize = 1000;

/// So many nodes of a run.
pub struct Nodes {
    api: Api<Node>,
    names: Vec<String>,
}

impl Nodes {
    /// Makes them and waits until they are ready.
    pub async fn create(client: Client, run: &str, count: usize) -> Result<Self> {
        let nodes = Self { api: Api::all(client), names: (0..count).map(|number| format!("{run}-{number}")).collect() };
        let made = nodes.made().await;
        if made.is_err() {
            nodes.delete().await;
        }
        made.map(|()| nodes)
    }

    async fn made(&self) -> Result<()> {
        for name in &self.names {
            let node = from(json!({
                "metadata": {
                    "name": name,
                    "labels": {LABEL.0: LABEL.1, "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
                    "annotations": {"kwok.x-k8s.io/node": "fake"},
                },
                "spec": {"taints": [{"key": TAINT, "effect": "NoSchedule"}]},
            }))?;
            self.api.create(&PostParams::default(), &node).await.context("a node is refused")?;
        }
        for name in &self.names {
            let ready = timeout(DEADLINE, await_condition(self.api.clone(), name, is_ready())).await;
            ready.with_context(|| format!("node {name} is not ready: does kwok run? see `dev/with-kwok`"))??;
        }
        Ok(())
    }

    /// Deletes them, and says so where that fails.
    pub async fn delete(&self) {
        for name in &self.names {
            if let Err(error) = self.api.delete(name, &DeleteParams::default()).await {
                eprintln!("node {name} is not gone: {error}; delete it with `kubectl delete node {name}`");
            }
        }
    }
}

fn is_ready() -> impl Condition<Node> {
    |node: Option<&Node>| {
        let conditions = node.and_then(|node| node.status.as_ref()?.conditions.as_deref()).unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }
}

/// Has the pods of a template run there.
pub fn place(pod_spec: &mut Value) {
    pod_spec["nodeSelector"] = json!({LABEL.0: LABEL.1});
    pod_spec["tolerations"] = json!([{"key": TAINT, "operator": "Exists"}]);
}
