//! What stands in a pool's way, and how long to wait before trying again.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use arl_crds::reason::WarmPoolReason;
use jiff::Timestamp;

use crate::{effects::Refusal, object::Uid, queue::backoff};

/// The pauses between attempts grow from about this long to [`MAX`].
const MIN: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(60);

/// A trouble and its consequences.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setback {
    pub(super) reason: WarmPoolReason,
    pub(super) message: String,
    pub(super) attempts: u32,
    pub(super) until: Timestamp,
}

impl Setback {
    fn new(reason: WarmPoolReason, message: String) -> Self {
        Self { reason, message, attempts: 0, until: Timestamp::UNIX_EPOCH }
    }

    /// The API server refused a pod.
    pub(super) fn refused(refusal: &Refusal) -> Self {
        let said = &refusal.message;
        if refusal.code == 403 && said.contains("exceeded quota") {
            let advice = "raise the ResourceQuota of the namespace or lower spec.replicas";
            return Self::new(WarmPoolReason::QuotaExceeded, format!("{said}; {advice}"));
        }
        if refusal.code == 403 {
            let advice = "change spec.template so that the namespace's admission accepts it";
            return Self::new(WarmPoolReason::Refused, format!("{said}; {advice}"));
        }
        Self::new(WarmPoolReason::InvalidTemplate, format!("{said}; correct spec.template"))
    }

    /// Pods ended instead of staying idle.
    pub(super) fn ended(message: String) -> Self {
        Self::new(WarmPoolReason::PodsEnded, message)
    }

    /// Whether a pod that was created, ready or not, proves that it is over.
    pub(super) fn is_refusal(&self) -> bool {
        self.reason != WarmPoolReason::PodsEnded
    }
}

/// The setbacks of all pools. They only slow things down: after a restart the first attempt is made at once.
#[derive(Debug, Default)]
pub(super) struct Setbacks(Mutex<BTreeMap<Uid, Setback>>);

impl Setbacks {
    pub(super) fn get(&self, pool: &Uid) -> Option<Setback> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(pool).cloned()
    }

    /// Takes note of a new setback, or of the end of the old one; returns the one in force.
    pub(super) fn update(&self, pool: &Uid, new: Option<Setback>, cleared: bool, now: Timestamp) -> Option<Setback> {
        let mut setbacks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut new) = new {
            new.attempts = setbacks.get(pool).map_or(0, |s| s.attempts).saturating_add(1);
            new.until = now + backoff(new.attempts, MIN, MAX);
            setbacks.insert(pool.clone(), new);
        } else if cleared {
            setbacks.remove(pool);
        }
        setbacks.get(pool).cloned()
    }
}
