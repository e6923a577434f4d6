//! What is said to whoever waits: not again and again.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Nothing is said so soon after something was.
const PAUSE: Duration = Duration::from_secs(60);

/// When something was said last.
#[derive(Debug, Default)]
pub(crate) struct Notices(Mutex<Option<Instant>>);

impl Notices {
    /// Whether something is to be said now; then nothing else is for a while.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.duration_since(last) >= PAUSE);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_claims_that_wait_say_so_once() {
        let (notices, now) = (Notices::default(), Instant::now());
        assert!(notices.is_due(now) && !notices.is_due(now) && !notices.is_due(now + PAUSE / 2));
        assert!(notices.is_due(now + PAUSE) && !notices.is_due(now + PAUSE));
    }
}
