//! What stands in a pool's way, and how long to wait before trying again.

use std::time::Duration;

use arl_crds::reason::WarmPoolReason;
use jiff::Timestamp;

use crate::{clock::after, effects::Refusal, queue::backoff};

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

    /// The same, as the one that follows `earlier`.
    pub(super) fn after(mut self, earlier: Option<&Self>, now: Timestamp) -> Self {
        self.attempts = earlier.map_or(0, |earlier| earlier.attempts).saturating_add(1);
        self.until = after(now, backoff(self.attempts, MIN, MAX));
        self
    }
}
