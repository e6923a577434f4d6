//! Whether live processes keep a Sandbox that would end now. Pure.
//!
//! Nothing of them is on record: the agent is asked, and what it said before the Sandbox was due is no answer. A pod that cannot be reached
//! suspends the end, however long, as it suspends Tasks: its end, or the node's, ends the Sandbox then.

use std::time::Duration;

use arl_crds::ExecutorMode;
use jiff::Timestamp;

use super::observe::Observed;
use crate::{clock::after, pod::Pod, runs::LiveState};

/// An agent that is reached and has not answered by then, over several streams, is of no use, and runs nothing.
const ANSWER_MAX: Duration = Duration::from_secs(30);

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
        LiveState::Idle(said) if said >= due => Live::Clear,
        LiveState::Idle(_) | LiveState::Unreached => Live::Ask(None),
        LiveState::Unanswered(since) => match after(since, ANSWER_MAX) {
            late if late <= now => Live::Clear,
            late => Live::Ask(Some(late)),
        },
    }
}
