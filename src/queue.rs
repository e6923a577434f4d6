//! The work queue of a controller.
//!
//! Why not kube-runtime's scheduler: see docs/decisions/work-queue.md. The rules are those of client-go's workqueue:
//! a key is worked on by one worker at a time; added again meanwhile, it is worked on once more afterwards; keys are
//! served in the order they were added; each key has at most one timer, the earliest asked for.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// A queue of keys to reconcile.
#[derive(Debug)]
pub struct Queue<K> {
    inner: Mutex<Inner<K>>,
    changed: Notify,
}

#[derive(Debug)]
struct Inner<K> {
    ready: VecDeque<K>,
    queued: BTreeSet<K>,
    active: BTreeSet<K>,
    again: BTreeSet<K>,
    timers: BTreeMap<K, Instant>,
    deadlines: BTreeSet<(Instant, K)>,
    failures: BTreeMap<K, u32>,
}

/// The first retry comes after about this long, the last ones after [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(30);

impl<K: Clone + Ord> Default for Queue<K> {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                ready: VecDeque::new(),
                queued: BTreeSet::new(),
                active: BTreeSet::new(),
                again: BTreeSet::new(),
                timers: BTreeMap::new(),
                deadlines: BTreeSet::new(),
                failures: BTreeMap::new(),
            }),
            changed: Notify::new(),
        }
    }
}

impl<K: Clone + Ord> Queue<K> {
    /// Has `key` reconciled soon.
    pub fn add(&self, key: K) {
        self.lock().add(key);
        self.changed.notify_one();
    }

    /// Has `key` reconciled at `at`, or earlier if that was asked for already.
    pub fn add_at(&self, key: K, at: Instant) {
        self.lock().set_timer(key, at);
        self.changed.notify_one();
    }

    /// The next key to work on; [`Queue::done`] must follow.
    pub async fn next(&self) -> K {
        loop {
            let deadline = {
                let mut inner = self.lock();
                inner.fire(Instant::now());
                if let Some(key) = inner.take() {
                    if !inner.ready.is_empty() {
                        self.changed.notify_one();
                    }
                    return key;
                }
                inner.deadlines.first().map(|(at, _)| *at)
            };
            match deadline {
                None => self.changed.notified().await,
                Some(at) => {
                    let _ = tokio::time::timeout_at(at, self.changed.notified()).await;
                }
            }
        }
    }

    /// The work on `key` is over, well: it is looked at again at `look_again`, if that is set.
    pub fn done(&self, key: &K, look_again: Option<Instant>) {
        let mut inner = self.lock();
        inner.failures.remove(key);
        inner.finish(key);
        if let Some(at) = look_again {
            inner.set_timer(key.clone(), at);
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// The work on `key` failed: it is tried again after a while that grows, spread by `chance` (0 to 1).
    pub fn failed(&self, key: &K, chance: f64) -> Duration {
        let mut inner = self.lock();
        let failures = inner.failures.entry(key.clone()).or_insert(0);
        *failures = failures.saturating_add(1);
        let delay = backoff(*failures, RETRY_MIN, RETRY_MAX).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
        inner.finish(key);
        inner.set_timer(key.clone(), Instant::now() + delay);
        drop(inner);
        self.changed.notify_one();
        delay
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The delay before attempt number `failures`: it doubles from `min` to `max`.
pub fn backoff(failures: u32, min: Duration, max: Duration) -> Duration {
    min.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(max)
}

impl<K: Clone + Ord> Inner<K> {
    fn add(&mut self, key: K) {
        if self.active.contains(&key) {
            self.again.insert(key);
        } else if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        self.queued.remove(&key);
        self.active.insert(key.clone());
        self.clear_timer(&key);
        Some(key)
    }

    fn finish(&mut self, key: &K) {
        self.active.remove(key);
        if self.again.remove(key) {
            self.add(key.clone());
        }
    }

    fn set_timer(&mut self, key: K, at: Instant) {
        if self.timers.get(&key).is_some_and(|set| *set <= at) {
            return;
        }
        self.clear_timer(&key);
        self.timers.insert(key.clone(), at);
        self.deadlines.insert((at, key));
    }

    fn clear_timer(&mut self, key: &K) {
        if let Some(at) = self.timers.remove(key) {
            self.deadlines.remove(&(at, key.clone()));
        }
    }

    fn fire(&mut self, now: Instant) {
        while let Some((at, key)) = self.deadlines.first().cloned() {
            if at > now {
                return;
            }
            self.clear_timer(&key);
            self.add(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn idle(queue: &Queue<&'static str>) -> bool {
        tokio::time::timeout(Duration::from_millis(1), queue.next()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_served_in_order_and_once() {
        let queue = Queue::default();
        for key in ["b", "a", "b", "c"] {
            queue.add(key);
        }
        assert_eq!((queue.next().await, queue.next().await, queue.next().await), ("b", "a", "c"));
        assert!(idle(&queue).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_while_worked_on_is_worked_on_once_more_afterwards() {
        let queue = Queue::default();
        queue.add("a");
        assert_eq!(queue.next().await, "a");
        queue.add("a");
        queue.add("a");
        assert!(idle(&queue).await, "two workers on one key");
        queue.done(&"a", None);
        assert_eq!(queue.next().await, "a");
        queue.done(&"a", None);
        assert!(idle(&queue).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_timer_counts_and_work_clears_it() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add_at("a", start + Duration::from_secs(60));
        queue.add_at("a", start + Duration::from_secs(5));
        queue.add_at("a", start + Duration::from_secs(30));
        assert_eq!(queue.next().await, "a");
        assert_eq!(start.elapsed().as_secs(), 5);
        queue.done(&"a", Some(start + Duration::from_secs(9)));
        assert_eq!(queue.next().await, "a");
        assert_eq!(start.elapsed().as_secs(), 9);
        queue.done(&"a", None);
        assert!(idle(&queue).await);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_back_off_and_success_forgets_them() {
        let queue = Queue::default();
        let mut delays = Vec::new();
        queue.add("a");
        for _ in 0..12 {
            let key = queue.next().await;
            delays.push(queue.failed(&key, 1.0));
        }
        assert_eq!(delays[0], RETRY_MIN);
        assert!(delays.windows(2).all(|w| w[0] <= w[1]));
        assert_eq!(delays[11], RETRY_MAX);
        let key = queue.next().await;
        queue.done(&key, None);
        queue.add("a");
        let key = queue.next().await;
        assert_eq!(queue.failed(&key, 1.0), RETRY_MIN);
    }
}
