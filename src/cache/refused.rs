//! Claims that the API server refused. A pod that was refused is left alone for a while, and is claimed last from then on; a Sandbox
//! that was refused sits out for longer, so that nobody waits behind it. Whom a policy keeps apart is not paired again at once.
//!
//! It only slows things down: after a restart everything is tried at once.

use std::time::Duration;

use jiff::Timestamp;

use super::{Row, SandboxRow, Tables};
use crate::{
    object::{Key, Uid, Version},
    queue::backoff,
};

/// How long a pod is left alone: the first time, and at most.
const POD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// How long a Sandbox sits out: the first time, and at most.
const SANDBOX: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(20));
/// What was refused so long ago is as good as new.
const FORGET: Duration = Duration::from_secs(60);

/// A pod or a Sandbox whose claim was refused.
#[derive(Debug)]
pub(super) struct Pause {
    /// The Sandbox, as long as it sits out.
    sits_out: Option<Key>,
    attempts: u32,
    until: Timestamp,
    message: String,
}

/// Why a pod that is there is not given to a Sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRefusal {
    /// In the API server's words.
    pub message: String,
    /// When it is tried again.
    pub retry_at: Timestamp,
}

impl Tables {
    /// The claim of this pod was refused. Returns the Sandboxes whose turn it newly is.
    pub fn refuse_pod(&mut self, pod: &Version, message: String, now: Timestamp) -> Vec<Key> {
        self.refuse(&pod.uid, None, POD, message, now);
        self.pair([], [pod.key.clone()])
    }

    /// The claims of this Sandbox were refused. Returns the Sandboxes whose turn it newly is.
    pub fn refuse_sandbox(&mut self, row: &SandboxRow, message: String, now: Timestamp) -> Vec<Key> {
        self.refuse(&Uid::of(&*row.sandbox), Some(row.key()), SANDBOX, message, now);
        self.pair([row.key()], [])
    }

    fn refuse(
        &mut self,
        uid: &Uid,
        sits_out: Option<Key>,
        (min, max): (Duration, Duration),
        message: String,
        now: Timestamp,
    ) {
        let sandboxes = &self.sandboxes;
        self.refused.retain(|uid, pause| match &pause.sits_out {
            Some(key) => sandboxes.get(key).is_some_and(|row| Uid::of(&*row.sandbox) == *uid),
            None => pause.until + FORGET > now,
        });
        let attempts = self.times_refused(uid).saturating_add(1);
        self.refused
            .insert(uid.clone(), Pause { sits_out, attempts, until: now + backoff(attempts, min, max), message });
    }

    /// Whether a Sandbox has sat out long enough.
    pub fn may_resume(&self, row: &SandboxRow, now: Timestamp) -> bool {
        self.refused.get(&Uid::of(&*row.sandbox)).is_some_and(|pause| pause.sits_out.is_some() && pause.until <= now)
    }

    /// It takes its place in the queue again. Returns the Sandboxes whose turn it newly is.
    pub fn resume(&mut self, row: &SandboxRow) -> Vec<Key> {
        if let Some(pause) = self.refused.get_mut(&Uid::of(&*row.sandbox)) {
            pause.sits_out = None;
        }
        self.pair([row.key()], [])
    }

    /// What keeps a Sandbox from a pod now: its own refusal, or that of the pod which it is its turn to claim.
    pub fn claim_refusal(&self, row: &SandboxRow, now: Timestamp) -> Option<ClaimRefusal> {
        let own = self.refused.get(&Uid::of(&*row.sandbox)).filter(|own| own.sits_out.is_some());
        let pod = || self.refused.get(&Uid::of(&**self.candidate(&row.key())?)).filter(|pause| pause.until > now);
        let pause = own.or_else(pod)?;
        Some(ClaimRefusal { message: pause.message.clone(), retry_at: pause.until })
    }

    pub(super) fn sits_out(&self, uid: &Uid) -> bool {
        self.refused.get(uid).is_some_and(|pause| pause.sits_out.is_some())
    }

    pub(super) fn times_refused(&self, uid: &Uid) -> u32 {
        self.refused.get(uid).map_or(0, |pause| pause.attempts)
    }
}
