//! What tests of streams begin with.

use std::sync::Arc;

use arl_crds::ExecutorMode;
use futures::FutureExt;
use jiff::Timestamp;
use kube::Client;

use super::streams::{Agent, StillWanted};
use crate::{
    clock::Clock,
    metrics::Metrics,
    object::{Key, Uid},
    pod::Target,
    queue::InFlight,
};

/// A clock that stands.
pub fn clock() -> Clock {
    Clock::new(|| Timestamp::UNIX_EPOCH)
}

/// One whose runs are all still wanted.
pub fn agent(client: Client, metrics: &Arc<Metrics>) -> Arc<Agent> {
    agent_beside(&InFlight::default(), client, metrics)
}

/// The same, beside claims.
pub fn agent_beside(claims: &InFlight, client: Client, metrics: &Arc<Metrics>) -> Arc<Agent> {
    let still_wanted: StillWanted = Arc::new(|_, _| async { Some(true) }.boxed());
    Agent::new(client, clock(), still_wanted, Arc::clone(metrics), claims.clone())
}

/// The executor of a pod, which has its name as its uid.
pub fn target(namespace: &str, pod: &str) -> Target {
    Target {
        pod: Key::new(namespace, pod),
        pod_uid: Uid(pod.into()),
        container: "executor".into(),
        container_id: "c".into(),
        mode: ExecutorMode::Agent,
    }
}
