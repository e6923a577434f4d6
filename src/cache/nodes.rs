//! Which nodes take no new pods: a pod on one of them is about to be drained, or its node does not report, and it is claimed only
//! where there is no other. Nodes are looked at only by an operator that watches all namespaces, and may do so; without, all are alike.

use std::{collections::BTreeSet, sync::Arc};

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Resource, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use serde::Deserialize;

use super::{
    wake::Wake,
    watch::{Patience, Watch},
};
use crate::texts::watch_failed;

/// What is read of a node.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = k8s_openapi::api::core::v1::Node)]
pub(crate) struct Node {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    unschedulable: bool,
    taints: Vec<Taint>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Taint {
    key: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
}

/// Nodes of a list that are in memory at once: each has the names of all its images.
const PAGE: u32 = 50;

/// What autoscalers put on a node that they are about to remove. Other taints that keep new pods off are for pods that do not tolerate
/// them, and a pool's may.
const GOING: [&str; 3] =
    ["ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted", "node.kubernetes.io/out-of-service"];

impl Node {
    fn is_closed(&self) -> bool {
        let taints = &self.spec.taints;
        self.spec.unschedulable
            || self.metadata.deletion_timestamp.is_some()
            || taints.iter().any(|taint| GOING.contains(&taint.key.as_str()))
            || self.status.conditions.iter().any(|c| c.type_ == "Ready" && c.status != "True")
    }
}

/// Whether the API server refuses the watch, and would again.
fn is_refused(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status)) | WatchStartFailed(kube::Error::Api(status)) => {
            matches!(status.code, 403 | 404)
        }
        WatchError(status) => status.code == 403,
        InitialListFailed(_) | WatchStartFailed(_) | WatchFailed(_) | NoResourceVersion => false,
    }
}

impl Watch {
    /// Follows the nodes for as long as that is allowed.
    pub(crate) async fn run_nodes(self: Arc<Self>, nodes: Api<Node>) {
        let config = watcher::Config::default().page_size(PAGE);
        let mut events = std::pin::pin!(watcher(nodes, config).backoff(Patience::default()));
        let mut listed = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take_node(event, &mut listed),
                Err(error) if is_refused(&error) => {
                    self.keep_nodes(&BTreeSet::new());
                    tracing::info!(
                        error = watch_failed(&error),
                        "nodes may not be watched: pods on nodes that are drained are claimed like others"
                    );
                    return;
                }
                Err(error) => tracing::warn!(error = watch_failed(&error), "the watch of nodes failed; trying again"),
            }
        }
    }

    fn take_node(&self, event: watcher::Event<Node>, listed: &mut BTreeSet<String>) {
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(node) => {
                self.set_node(&node.name_any(), node.is_closed());
                listed.insert(node.name_any());
            }
            watcher::Event::InitDone => self.keep_nodes(&std::mem::take(listed)),
            watcher::Event::Apply(node) => self.set_node(&node.name_any(), node.is_closed()),
            watcher::Event::Delete(node) => self.set_node(&node.name_any(), false),
        }
    }

    /// Forgets the nodes that are gone, or may not be looked at any more.
    fn keep_nodes(&self, listed: &BTreeSet<String>) {
        let gone = self.cache.read().closed_nodes_but(listed);
        for node in gone {
            self.set_node(&node, false);
        }
    }

    fn set_node(&self, node: &str, is_closed: bool) {
        let turns = self.cache.write().set_node(node, is_closed);
        for sandbox in turns {
            (self.wake)(Wake::Sandbox(sandbox));
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::{clock::Clock, metrics::Metrics};

    #[test]
    fn a_node_that_is_drained_or_does_not_report_is_closed_and_one_with_a_taint_of_its_own_is_not() {
        let closed = |spec: Value, ready: &str| {
            let conditions =
                json!([{ "type": "Ready", "status": ready }, { "type": "DiskPressure", "status": "False" }]);
            let node = json!({ "metadata": { "name": "n" }, "spec": spec, "status": { "conditions": conditions } });
            serde_json::from_value::<Node>(node).unwrap().is_closed()
        };
        let tainted = |key: &str, effect: &str| json!({ "taints": [{ "key": key, "effect": effect }] });
        assert!(!closed(json!({}), "True"));
        assert!(!closed(tainted("dedicated", "NoSchedule"), "True"), "its pods tolerate that");
        assert!(closed(json!({ "unschedulable": true }), "True"));
        assert!(closed(tainted("ToBeDeletedByClusterAutoscaler", "NoSchedule"), "True"));
        assert!(closed(json!({}), "Unknown"));
    }

    #[test]
    fn a_node_that_is_gone_when_nodes_are_listed_again_is_closed_no_more() {
        let (clock, metrics) = (Clock::new(|| Timestamp::UNIX_EPOCH), Metrics::unread());
        let watch = Watch { cache: Arc::default(), clock, metrics, wake: Arc::new(|_| {}) };
        let node = |name: &str| {
            serde_json::from_value::<Node>(json!({ "metadata": { "name": name }, "spec": { "unschedulable": true } }))
                .unwrap()
        };
        let closed = || watch.cache.read().closed_nodes_but(&BTreeSet::new());
        let mut listed = BTreeSet::new();
        let mut list = |nodes: &[&str]| {
            watch.take_node(watcher::Event::Init, &mut listed);
            for name in nodes {
                watch.take_node(watcher::Event::InitApply(node(name)), &mut listed);
            }
            watch.take_node(watcher::Event::InitDone, &mut listed);
            closed()
        };
        assert_eq!(list(&["a", "b"]), ["a", "b"]);
        assert_eq!(list(&["b"]), ["b"]);
        assert_eq!(list(&[]), [""; 0]);
    }
}
