//! What a deletion asks for, of the Task or of its Sandbox, and when a Task is to be deleted. Pure.

use arl_crds::ExecutorMode;
use jiff::Timestamp;

use super::{
    decision::{Decision, Plan},
    observe::Observed,
};
use crate::{clock::after, pod::Pod, runs::RunControl};

pub(super) fn why_cancelled(observed: &Observed) -> &'static str {
    if observed.is_deleting() && !observed.row.task.spec.cancel {
        "the Task was deleted"
    } else {
        "spec.cancel was set"
    }
}

/// What its steps started ends before the Task does, where somebody's finalizer keeps the Sandbox, and its pod with it.
pub(super) fn ending_with_sandbox(observed: &Observed) -> Option<Decision> {
    let target = observed.pod.as_deref().filter(|pod| pod.is_alive()).and_then(Pod::target)?;
    match &observed.run {
        Some(run) => run.ended.is_none().then_some(Decision::Ask(RunControl::Cancel)),
        None => (observed.was_started() && target.mode == ExecutorMode::Agent).then_some(Decision::Start(target)),
    }
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
