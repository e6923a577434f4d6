//! Claims that the API server refused. A pod that was refused is left alone for a while, and is claimed last from then on; a Sandbox
//! that was refused sits out for longer, so that nobody waits behind it. Whom a policy keeps apart is not paired again at once.
//!
//! It only slows things down: after a restart everything is tried at once.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    clock::backoff,
    object::{Key, Uid},
};

/// How long a pod is left alone: the first time, and at most.
const POD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// How long a Sandbox sits out: the first time, and at most.
const SANDBOX: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(20));
/// What was refused so long ago is as good as new.
const FORGET: Duration = Duration::from_secs(60);

/// A pod or a Sandbox whose claim was refused.
#[derive(Debug)]
struct Pause {
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

/// The refusals on record, by the uid of the pod or Sandbox.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<Uid, Pause>);

impl Refusals {
    /// The claim of this pod was refused.
    pub(super) fn pod(&mut self, uid: &Uid, message: String, now: Timestamp) {
        self.insert(uid, None, POD, message, now);
    }

    /// The claims of this Sandbox were refused.
    pub(super) fn sandbox(&mut self, key: Key, uid: &Uid, message: String, now: Timestamp) {
        self.insert(uid, Some(key), SANDBOX, message, now);
    }

    fn insert(
        &mut self,
        uid: &Uid,
        sits_out: Option<Key>,
        (min, max): (Duration, Duration),
        message: String,
        now: Timestamp,
    ) {
        let attempts = self.times(uid).saturating_add(1);
        let until = now + backoff(attempts, min, max);
        self.0.insert(uid.clone(), Pause { sits_out, attempts, until, message });
    }

    /// Forgets pods that were refused long ago, and Sandboxes that are no more.
    pub(super) fn prune(&mut self, now: Timestamp, exists: impl Fn(&Key, &Uid) -> bool) {
        self.0.retain(|uid, pause| match &pause.sits_out {
            Some(key) => exists(key, uid),
            None => pause.until + FORGET > now,
        });
    }

    /// The Sandbox takes its place in the queue again.
    pub(super) fn resume(&mut self, sandbox: &Uid) {
        if let Some(pause) = self.0.get_mut(sandbox) {
            pause.sits_out = None;
        }
    }

    /// Whether a Sandbox has sat out long enough.
    pub(super) fn may_resume(&self, sandbox: &Uid, now: Timestamp) -> bool {
        self.0.get(sandbox).is_some_and(|pause| pause.sits_out.is_some() && pause.until <= now)
    }

    pub(super) fn sits_out(&self, sandbox: &Uid) -> bool {
        self.0.get(sandbox).is_some_and(|pause| pause.sits_out.is_some())
    }

    /// The Sandboxes that sit out.
    pub(super) fn sitting_out(&self) -> impl Iterator<Item = &Key> {
        self.0.values().filter_map(|pause| pause.sits_out.as_ref())
    }

    pub(super) fn times(&self, uid: &Uid) -> u32 {
        self.0.get(uid).map_or(0, |pause| pause.attempts)
    }

    /// What keeps a Sandbox from a pod now: its own refusal, or that of the pod which it is its turn to claim.
    pub(super) fn between(&self, sandbox: &Uid, candidate: Option<&Uid>, now: Timestamp) -> Option<ClaimRefusal> {
        let own = self.0.get(sandbox).filter(|own| own.sits_out.is_some());
        let of_pod = || self.0.get(candidate?).filter(|pause| pause.until > now);
        let pause = own.or_else(of_pod)?;
        Some(ClaimRefusal { message: pause.message.clone(), retry_at: pause.until })
    }
}
