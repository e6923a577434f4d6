//! Watches that fail: what the tables have of a kind may be old by then.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A watch that works says nothing until something changes: one that has not failed for so long does. While one fails it is tried again
/// every few seconds.
const OVER: Duration = Duration::from_secs(30);

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

    /// The watch of `kind` has failed, for the first time or again.
    pub fn failed(&self, kind: &str, error: &str) {
        let (mut all, now) = (self.lock(), Instant::now());
        let before = all.get(kind).filter(|outage| !outage.is_over());
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
        outages.failed("Pod", "refused");
        outages.failed("Task", "broken once");
        tokio::time::advance(ten).await;
        assert_eq!(outages.lasting(ten), [], "they may work again: nothing says so before something changes");
        outages.failed("Pod", "forbidden");
        assert_eq!(outages.lasting(ten), [("Pod".to_owned(), ten, "forbidden".to_owned())]);
        outages.works("Pod");
        assert_eq!(outages.lasting(Duration::ZERO).len(), 1);
        tokio::time::advance(OVER).await;
        assert_eq!(outages.lasting(Duration::ZERO), []);
        outages.failed("Task", "broken again");
        assert_eq!(outages.lasting(Duration::ZERO), [("Task".to_owned(), Duration::ZERO, "broken again".to_owned())]);
    }
}
