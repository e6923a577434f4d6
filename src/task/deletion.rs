//! What a deletion asks for, of the Task or of its Sandbox, and when a Task is to be deleted. Pure.

use std::sync::Arc;

use arl_crds::ExecutorMode;
use jiff::Timestamp;

use super::{
    decision::{Decision, Plan},
    observe::Observed,
    status,
};
use crate::{clock::after, pod::Pod, runs::RunControl};

pub(super) fn why_cancelled(observed: &Observed) -> &'static str {
    if observed.is_deleting() && !observed.row.task.spec.cancel {
        "the Task was deleted"
    } else {
        "spec.cancel was set"
    }
}

/// What its steps started ends before the Task does. Somebody's finalizer can keep the Sandbox, and its pod with it; of a Sandbox that is gone
/// the pod is collected in a moment, and is waited for as long as its agent can be reached.
pub(super) fn ending_with_sandbox(observed: &Observed, now: Timestamp) -> Option<Plan> {
    let is_alive = |pod: &Option<Arc<Pod>>| pod.as_ref().is_some_and(|pod| pod.is_alive());
    let is_kept = is_alive(&observed.pod);
    if let Some(run) = &observed.run {
        let unheard_at = status::unheard_at(run).filter(|_| !is_kept);
        let is_awaited = is_kept || (is_alive(&observed.run_pod) && unheard_at.is_none_or(|at| at > now));
        let cancel = Plan { decision: Decision::Ask(RunControl::Cancel), look_again: unheard_at };
        return (is_awaited && run.ended.is_none()).then_some(cancel);
    }
    let target = observed.pod.as_deref().filter(|_| is_kept).and_then(Pod::target)?;
    (observed.was_started() && target.mode == ExecutorMode::Agent).then(|| Decision::Start(target).into())
}

pub(super) fn expiry(observed: &Observed, now: Timestamp) -> Plan {
    let ended = observed.row.ended_on_record();
    let decision = if observed.is_behind() { Decision::Acknowledge } else { Decision::Rest };
    // What is being deleted need not be deleted again.
    match observed.ttl().zip(ended).filter(|_| !observed.is_deleting()).map(|(ttl, at)| after(at, ttl)) {
        Some(due) if due <= now => Decision::Expire.into(),
        look_again => Plan { decision, look_again },
    }
}
