//! Whether live processes keep a Sandbox that would end now. Pure.
//!
//! Nothing of them is on record: the agent is asked, and what it said before the Sandbox was due, or long ago, is no answer. A pod that cannot be reached
//! suspends the end, however long, as it suspends Tasks: its end, or the node's, ends the Sandbox then.

use std::time::Duration;

use arl_crds::ExecutorMode;
use jiff::Timestamp;

use super::observe::Observed;
use crate::{clock::after, pod::Pod, runs::LiveState};

/// An agent that is reached and has not answered by then, over several streams, is of no use, and runs nothing.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What an agent said longer ago may not be so any more: this process may have stood still since.
const FRESH: Duration = Duration::from_secs(3);

/// What live processes mean for a Sandbox that would end now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Live {
    /// There are none.
    Clear,
    /// There are some; the end of the last of them wakes it.
    Keep,
    /// The agent has to be asked; the answer wakes it, and at this time it is too late for one.
    Ask(Option<Timestamp>),
}

/// Of a Sandbox that was due then.
pub(super) fn check(observed: &Observed, pod: &Pod, due: Timestamp, now: Timestamp) -> Live {
    // What a container ran has ended with it.
    if pod.target().is_none_or(|target| target.mode == ExecutorMode::Exec) {
        return Live::Clear;
    }
    match observed.live.state {
        LiveState::Absent => Live::Clear,
        LiveState::Active => Live::Keep,
        // Of one that is due at once nothing was asked: that the last has ended is news.
        LiveState::Idle(_) if due == Timestamp::MIN => Live::Clear,
        LiveState::Idle(said) if said >= due && !may_have_begun(observed.live.state, now) => Live::Clear,
        LiveState::Idle(_) | LiveState::Unreached => Live::Ask(None),
        LiveState::Unanswered(since) => match after(since, ANSWER_MAX) {
            late if late <= now => Live::Clear,
            late => Live::Ask(Some(late)),
        },
    }
}

/// Whether live processes are there, or may be for all that is known now.
pub(super) fn may_have_begun(state: LiveState, now: Timestamp) -> bool {
    match state {
        LiveState::Active => true,
        LiveState::Idle(said) => after(said, FRESH) < now,
        LiveState::Unreached | LiveState::Unanswered(_) | LiveState::Absent => false,
    }
}
