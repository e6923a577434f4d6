//! What the operator asked of the API server, from the audit log of the local cluster: exact, and none of it self-reported.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::World;
use super::setup::root;

/// One request of the operator that has been answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// As RBAC calls it: get, list, watch, create, patch, delete.
    pub verb: String,
    /// What it was about.
    #[serde(default)]
    pub object_ref: ObjectRef,
    /// What it was answered.
    #[serde(default)]
    pub response_status: ResponseStatus,
    /// What the API server noted: who was asked about the right to it, and what came of that.
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The object of a request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// The group of the kind; empty: the core.
    pub api_group: String,
    /// The plural of the kind.
    pub resource: String,
    /// The part of the object, such as `status`.
    pub subresource: String,
    /// The object's name; a create has none where the name is in the body only.
    pub name: String,
}

/// The answer to a request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResponseStatus {
    /// The HTTP status code.
    pub code: u16,
}

impl Request {
    /// Whether it was refused because the object has changed since it was read.
    pub fn is_conflict(&self) -> bool {
        self.response_status.code == 409
    }

    /// Whether it asked for a change.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }

    /// Whether it was refused for want of rights. A 403 alone is also what a namespace that is being deleted answers.
    pub fn is_forbidden(&self) -> bool {
        self.annotations.get("authorization.k8s.io/decision").is_some_and(|decision| decision == "forbid")
    }

    /// Whether it was this verb on this resource, written as RBAC writes it: `sandboxes/status`.
    pub fn is(&self, verb: &str, resource: &str) -> bool {
        let (kind, part) = resource.split_once('/').unwrap_or((resource, ""));
        self.verb == verb && self.object_ref.resource == kind && self.object_ref.subresource == part
    }
}

impl World {
    /// The operator's requests so far, Events aside; None on a cluster without an audit log.
    pub async fn requests(&self) -> Option<Vec<Request>> {
        let mut requests = self.requests_of(&self.operator_user()).await?;
        requests.retain(|r| r.object_ref.resource != "events");
        Some(requests)
    }

    /// All requests of a user so far; None on a cluster without an audit log.
    pub async fn requests_of(&self, user: &str) -> Option<Vec<Request>> {
        let path = root().join(".cluster/audit.log");
        if !path.exists() {
            eprintln!("no {}: the counts of requests are not checked", path.display());
            return None;
        }
        self.everything_is_logged().await;
        Some(lines_with(user).filter_map(|line| serde_json::from_str::<Request>(&line).ok()).collect())
    }

    /// A request is answered a moment before its line is written: waits for the line of a request made after all others.
    async fn everything_is_logged(&self) {
        let marker = format!("marker-{}-{}", self.ns, unique());
        let absent = self.api::<ConfigMap>().get_opt(&marker).await.unwrap();
        assert!(absent.is_none());
        let mut ticks = interval(Duration::from_millis(100));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let seen = async {
            while lines_with(&marker).next().is_none() {
                ticks.tick().await;
            }
        };
        timeout(super::wait::DEADLINE, seen).await.expect("the audit log is being written");
    }
}

/// Unique in this process, which with its namespace is all a marker needs.
fn unique() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn lines_with(text: &str) -> impl Iterator<Item = String> {
    let log = File::open(root().join(".cluster/audit.log")).unwrap();
    BufReader::new(log).lines().map_while(Result::ok).filter(move |line| line.contains(text))
}
