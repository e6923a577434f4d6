//! What is counted of a Sandbox that has its pod.

use jiff::Timestamp;

use super::observe::Observed;
use crate::{
    cache::Row,
    metrics::{Metrics, exemplar, seconds},
};

/// Counts its claim; `trace` is that of the Sandbox.
pub(super) fn claimed(metrics: &Metrics, observed: &Observed, trace: Option<String>, now: Timestamp) {
    // One that found a pod at once had nothing written to its status before.
    let result = if observed.status().is_some() { "waited" } else { "warm" };
    let key = observed.row.key();
    let labels = [key.namespace.as_str(), observed.pool_name(), result];
    let took = seconds(observed.row.created_at(), now);
    metrics.claims.with(labels).inc();
    metrics.claim_seconds.with(labels).observe(took, trace.map(exemplar), None);
}
