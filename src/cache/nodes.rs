//! Which nodes take no new pods: a pod on one of them is about to be drained, or its node does not report, and it is claimed only
//! where there is no other. Nodes are looked at only by an operator that watches all namespaces, and may do so; without, all are alike.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Resource, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

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
/// After so many refusals in a row, what was known of nodes is forgotten.
const LASTING: u32 = 3;
/// How long after a refusal it is tried again, before that and after.
const SOON: Duration = Duration::from_secs(5);
const LATER: Duration = Duration::from_secs(300);

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

/// Whether the API server refuses the watch.
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
    /// Follows the nodes. An API server that has just started may refuse what it allows a moment later, and rights are given and taken: what
    /// is refused is tried again.
    pub(crate) async fn run_nodes(self: Arc<Self>, nodes: Api<Node>) {
        let mut refusals = 0_u32;
        loop {
            let since = Instant::now();
            let Some(error) = self.follow_nodes(&nodes).await else { return };
            // Nodes may be listed where they may not be watched.
            refusals = if since.elapsed() > LATER { 1 } else { refusals.saturating_add(1) };
            if refusals >= LASTING {
                self.keep_nodes(&BTreeSet::new());
            }
            if refusals == LASTING {
                tracing::info!(
                    error = watch_failed(&error),
                    "nodes may not be watched: pods on nodes that are drained are claimed like others"
                );
            }
            sleep_until(Instant::now() + if refusals < LASTING { SOON } else { LATER }).await;
        }
    }

    /// Until that is refused.
    async fn follow_nodes(&self, nodes: &Api<Node>) -> Option<watcher::Error> {
        let config = watcher::Config::default().page_size(PAGE);
        let mut events = std::pin::pin!(watcher(nodes.clone(), config).backoff(Patience::default()));
        let mut listed = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take_node(event, &mut listed),
                Err(error) if is_refused(&error) => return Some(error),
                Err(error) => tracing::warn!(error = watch_failed(&error), "the watch of nodes failed; trying again"),
            }
        }
        None
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
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use http::{Request, Response};
    use jiff::Timestamp;
    use kube::{Client, client::Body};
    use serde_json::{Value, json};

    use super::*;
    use crate::{clock::Clock, metrics::Metrics};

    #[tokio::test(start_paused = true)]
    async fn nodes_are_watched_though_that_was_refused_at_first() {
        let asked = Arc::new(AtomicUsize::new(0));
        let api = tower::service_fn(move |request: Request<Body>| {
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch="));
            let is_refused = !is_watch && asked.fetch_add(1, Ordering::Relaxed) < 2;
            async move {
                if is_watch {
                    std::future::pending::<()>().await;
                }
                let node = json!({ "metadata": { "name": "a" }, "spec": { "unschedulable": true } });
                let nodes = json!({ "metadata": { "resourceVersion": "1" }, "items": [node] });
                let refusal = json!({ "kind": "Status", "code": 403, "message": "no", "reason": "Forbidden" });
                let (code, body) = if is_refused { (403, refusal) } else { (200, nodes) };
                let body = Body::from(serde_json::to_vec(&body).unwrap());
                Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
            }
        });
        let (clock, metrics) = (Clock::new(|| Timestamp::UNIX_EPOCH), Metrics::unread());
        let watch = Arc::new(Watch { cache: Arc::default(), clock, metrics, wake: Arc::new(|_| {}) });
        let watching = tokio::spawn(Arc::clone(&watch).run_nodes(Api::all(Client::new(api, "ns"))));
        let is_known = async {
            while watch.cache.read().closed_nodes_but(&BTreeSet::new()).is_empty() {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(300), is_known).await.expect("asked again");
        watching.abort();
    }

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
