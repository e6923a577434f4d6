//! Watches that fail: what the tables have of a kind may be old by then.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A watch that works says nothing until something changes: one that has not failed for so long does. One that fails is tried again after
/// 5 s at most, and then 30 s may pass before an API server that cannot be reached is given up. The alert on an outage has to wait for
/// longer than this, or it would be of one that is over.
const OVER: Duration = Duration::from_secs(45);

/// The watches that fail now, by kind.
#[derive(Debug, Default)]
pub struct Outages(Mutex<BTreeMap<String, Outage>>);

#[derive(Debug)]
struct Outage {
    first: Instant,
    last: Instant,
    error: String,
}

impl Outages {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Outage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The watch of `kind` has failed, for the first time or again; `was_open`: one that worked until then.
    pub fn failed(&self, kind: &str, error: &str, was_open: bool) {
        let (mut all, now) = (self.lock(), Instant::now());
        let before = all.get(kind).filter(|outage| !was_open && !outage.is_over());
        let first = before.map_or(now, |outage| outage.first);
        all.insert(kind.to_owned(), Outage { first, last: now, error: error.to_owned() });
    }

    /// The watch of `kind` works.
    pub fn works(&self, kind: &str) {
        self.lock().remove(kind);
    }

    /// The kinds whose watches have failed for this long or longer: for how long, and why.
    pub fn lasting(&self, least: Duration) -> Vec<(String, Duration, String)> {
        let all = self.lock();
        let current = all.iter().filter(|(_, outage)| !outage.is_over());
        let lasting = current.map(|(kind, outage)| (kind.clone(), outage.last - outage.first, outage.error.clone()));
        lasting.filter(|(_, time, _)| *time >= least).collect()
    }
}

impl Outage {
    fn is_over(&self) -> bool {
        self.last.elapsed() > OVER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_lasts_from_the_first_failure_until_the_watch_works() {
        let outages = Outages::default();
        let ten = Duration::from_secs(10);
        outages.failed("Pod", "refused", false);
        outages.failed("Task", "broken once", true);
        tokio::time::advance(ten).await;
        assert_eq!(outages.lasting(ten), [], "they may work again: nothing says so before something changes");
        outages.failed("Pod", "forbidden", false);
        assert_eq!(outages.lasting(ten), [("Pod".to_owned(), ten, "forbidden".to_owned())]);
        outages.works("Pod");
        assert_eq!(outages.lasting(Duration::ZERO).len(), 1);
        tokio::time::advance(OVER).await;
        assert_eq!(outages.lasting(Duration::ZERO), []);
        outages.failed("Task", "broken again", false);
        assert_eq!(outages.lasting(Duration::ZERO), [("Task".to_owned(), Duration::ZERO, "broken again".to_owned())]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_answered_is_an_outage_and_what_is_cut_again_and_again_is_none() {
        let outages = Outages::default();
        for _ in 0..10 {
            outages.failed("Pod", "watch: deadline has elapsed", false);
            outages.failed("Task", "watch: connection closed", true);
            tokio::time::advance(Duration::from_secs(35)).await;
        }
        let lasting = outages.lasting(Duration::from_secs(10));
        let named: Vec<_> = lasting.iter().map(|(kind, time, _)| (kind.as_str(), time.as_secs())).collect();
        assert_eq!(named, [("Pod", 315)]);
        outages.failed("Sandbox", "watch: connection refused", false);
        tokio::time::advance(Duration::from_secs(70)).await;
        outages.failed("Sandbox", "watch: connection refused", false);
        assert_eq!(outages.lasting(Duration::from_secs(10)), [], "two that are far apart");
    }
}
