//! What a Task should do that has not started. Pure.

use std::time::Duration;

use arl_crds::reason::TaskReason;
use jiff::Timestamp;

use super::{
    decision::{Decision, Plan, finish},
    observe::Observed,
};
use crate::{clock::after, pod::Pod};

/// A run of which its agent has said nothing for this long is one that waits, which is worth a write.
pub(super) const CONNECTING: Duration = Duration::from_secs(2);

/// Decides: it starts, waits with a reason, or ends since its Sandbox is of no use to it.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let Some(sandbox) = &observed.sandbox else {
        if observed.sandbox_is_unread {
            return unless_new(observed, TaskReason::SandboxNotReady, now);
        }
        return unless_new(observed, TaskReason::SandboxNotFound, now);
    };
    if sandbox.is_released() {
        let name = &observed.row.task.spec.sandbox_ref;
        return finish(
            TaskReason::SandboxReleased,
            format!("Sandbox {name} has given up its pod; create the Task again for another one"),
        );
    }
    if observed.is_setup_again(sandbox) {
        let name = &observed.row.task.spec.sandbox_ref;
        let message = format!(
            "a Sandbox is set up once, and another Task of this name was to set up {name}; create another Sandbox"
        );
        return finish(TaskReason::InvalidSpec, message);
    }
    if !sandbox.is_set_up() && !observed.is_setup(sandbox) {
        return Decision::Wait(TaskReason::SandboxNotReady).into();
    }
    if observed.behind.is_some() {
        return Decision::Wait(TaskReason::Queued).into();
    }
    match observed.pod.as_deref().filter(|pod| pod.is_ready()).and_then(Pod::target) {
        // Its run says nothing by itself while a stream to the agent is being opened.
        Some(target) => Plan { decision: Decision::Start(target), look_again: Some(after(now, CONNECTING)) },
        None if observed.awaits_claim => unless_new(observed, TaskReason::SandboxNotReady, now),
        None => Decision::Wait(TaskReason::SandboxNotReady).into(),
    }
}

/// A Task is often created together with its Sandbox: what is over in a moment is not worth a write, for which its end would have to wait.
fn unless_new(observed: &Observed, reason: TaskReason, now: Timestamp) -> Plan {
    match observed.row.is_new_until(now).filter(|_| observed.row.status().is_none()) {
        Some(until) => Plan { decision: Decision::Rest, look_again: Some(until) },
        None => Decision::Wait(reason).into(),
    }
}
