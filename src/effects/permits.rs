//! How many calls to the API server are in flight: each is a connection of its own over HTTP/1.1.
//!
//! What nobody waits for (refill, the status of pools) takes half of them at most, and so does not delay claims and results; one
//! namespace, whose admission webhook may be slow, takes three quarters of either at most. A large call counts as several: its contents are
//! there some five times, from what is sent to what is read of the answer. All that is looked after by one process shares them.

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::queue::Shares;

const CALLS: usize = 32;
const UNHURRIED: usize = CALLS / 2;
/// How many look at the Events of a pod at a time.
const EXPLAINING: usize = 4;
/// A call counts as one more for each of so many bytes.
const LIGHT: usize = 64 * 1024;
/// As how many the largest counts.
pub(super) const WEIGHT_MAX: u32 = 8;

/// As how many calls one counts that sends so many bytes.
pub(super) fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes / LIGHT).unwrap_or(u32::MAX).saturating_add(1).min(WEIGHT_MAX)
}

/// Whether somebody waits for what a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Haste {
    /// A Sandbox or a Task does.
    Awaited,
    /// Nobody does.
    Unhurried,
}

/// Permits for calls.
#[derive(Debug)]
pub struct Permits {
    all: Semaphore,
    unhurried: Semaphore,
    explaining: Semaphore,
    explaining_shares: Shares,
    shares: Shares,
    unhurried_shares: Shares,
}

/// A call may be made while this is held.
pub(super) struct Permit<'a> {
    _namespace: Option<OwnedSemaphorePermit>,
    _unhurried: Option<(OwnedSemaphorePermit, SemaphorePermit<'a>)>,
    _any: Option<SemaphorePermit<'a>>,
}

impl Default for Permits {
    fn default() -> Self {
        Self {
            all: Semaphore::new(CALLS),
            unhurried: Semaphore::new(UNHURRIED),
            explaining: Semaphore::new(EXPLAINING),
            explaining_shares: Shares::of_each(1),
            shares: Shares::new(CALLS),
            unhurried_shares: Shares::new(UNHURRIED),
        }
    }
}

impl Permits {
    /// A permit to look at the Events of a pod, where nobody does so in its namespace, of which the API server reads all Events for it, and few do
    /// in others.
    pub(super) fn explain(&self, namespace: &str) -> Option<(OwnedSemaphorePermit, SemaphorePermit<'_>)> {
        Some((self.explaining_shares.of(namespace).try_acquire_owned().ok()?, self.explaining.try_acquire().ok()?))
    }

    /// Waits for a permit. The semaphores are never closed. Whoever waits for one holds only what is scarcer.
    pub(super) async fn acquire(&self, namespace: &str, haste: Haste, weight: u32) -> Permit<'_> {
        let unhurried = match haste {
            Haste::Unhurried => self.unhurried_shares.of(namespace).acquire_many_owned(weight).await.ok(),
            Haste::Awaited => None,
        };
        let of_namespace = self.shares.of(namespace).acquire_many_owned(weight).await.ok();
        let unhurried = match unhurried {
            Some(permit) => self.unhurried.acquire_many(weight).await.ok().map(|any| (permit, any)),
            None => None,
        };
        Permit { _namespace: of_namespace, _unhurried: unhurried, _any: self.all.acquire_many(weight).await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;

    /// As many permits as there are.
    async fn take<'a>(permits: &'a Permits, namespace: &str, haste: Haste) -> Vec<Permit<'a>> {
        let mut taken = Vec::new();
        while let Ok(permit) =
            tokio::time::timeout(Duration::from_millis(1), permits.acquire(namespace, haste, 1)).await
        {
            taken.push(permit);
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_leaves_calls_to_what_somebody_waits_for() {
        let permits = Permits::default();
        let refill = take(&permits, "a", Haste::Unhurried).await;
        assert_eq!(refill.len(), 12);
        let other = take(&permits, "b", Haste::Unhurried).await;
        assert_eq!(other.len(), 4, "a namespace whose pods are made slowly leaves some to others");
        assert_eq!(take(&permits, "b", Haste::Awaited).await.len(), 16);
        assert_eq!(take(&permits, "a", Haste::Awaited).await.len(), 12, "the same namespace's as well");
    }

    #[tokio::test(start_paused = true)]
    async fn thousands_of_calls_that_wait_in_one_namespace_delay_no_call_of_another() {
        let permits = Arc::new(Permits::default());
        for _ in 0..5_000 {
            let permits = Arc::clone(&permits);
            tokio::spawn(async move {
                let _permit = permits.acquire("many", Haste::Awaited, 1).await;
                std::future::pending::<()>().await;
            });
        }
        while permits.shares.of("many").available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let other = tokio::time::timeout(Duration::from_millis(1), permits.acquire("other", Haste::Awaited, 1)).await;
        assert!(other.is_ok(), "it waited for those");
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_with_slow_calls_leaves_some_to_others() {
        let permits = Permits::default();
        let slow = take(&permits, "slow", Haste::Awaited).await;
        let other = take(&permits, "other", Haste::Awaited).await;
        assert_eq!((slow.len(), other.len()), (24, 8));
    }

    #[tokio::test(start_paused = true)]
    async fn of_large_calls_few_are_in_flight_and_they_leave_room_for_others() {
        assert_eq!([0, LIGHT - 1, LIGHT, 512 * 1024, usize::MAX].map(weight), [1, 1, 2, 8, 8]);
        let permits = Permits::default();
        let large = weight(512 * 1024);
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(permits.acquire("a", Haste::Awaited, large).await);
        }
        let short = Duration::from_millis(1);
        assert!(tokio::time::timeout(short, permits.acquire("a", Haste::Awaited, large)).await.is_err(), "a fourth");
        taken.push(permits.acquire("b", Haste::Awaited, large).await);
    }
}
