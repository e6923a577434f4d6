//! When a stream that nobody waits for may be opened: it costs the node more than a claim does, so those of a burst of claims wait
//! until the burst is over. The first one does not, and whoever has a Task does not either.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::{Instant, sleep_until};

use crate::burst::{AT_MOST, QUIET};

/// The claims of late.
#[derive(Debug, Default)]
pub(super) struct Lull(Mutex<Option<Instant>>);

impl Lull {
    /// A pod was claimed; whether its stream has to wait.
    pub(super) fn claimed(&self) -> bool {
        let now = Instant::now();
        self.last().replace(now).is_some_and(|before| before + QUIET > now)
    }

    /// Resolves once no pod has been claimed for a while.
    pub(super) async fn comes(&self) {
        let at_most = Instant::now() + AT_MOST;
        loop {
            let quiet = self.last().map_or_else(Instant::now, |last| last + QUIET).min(at_most);
            if quiet <= Instant::now() {
                return;
            }
            sleep_until(quiet).await;
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn waited(lull: &Lull) -> u128 {
        let start = Instant::now();
        lull.comes().await;
        start.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_of_a_burst_does_not_wait_and_the_others_do_for_a_bounded_time() {
        let lull = Lull::default();
        assert_eq!((lull.claimed(), waited(&Lull::default()).await), (false, 0));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(lull.claimed());
        assert_eq!(waited(&lull).await, 500);
        assert!(!lull.claimed(), "the burst was over");
        let start = Instant::now();
        let goes_on = async {
            loop {
                lull.claimed();
                sleep_until(Instant::now() + Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            () = goes_on => {}
            () = lull.comes() => {}
        }
        assert_eq!(start.elapsed().as_millis(), 5000);
    }
}
