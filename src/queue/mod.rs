//! The work queue of a controller.
//!
//! Why not kube-runtime's scheduler: see docs/decisions/work-queue.md. The rules are those of client-go's workqueue:
//! a key is worked on by one worker at a time; added again meanwhile, it is worked on once more afterwards; each key has at
//! most one timer, the earliest asked for. Beyond these, namespaces take turns: within one, keys are served in the order they
//! were added, and one namespace never occupies all workers.

mod rotation;
mod shares;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::metrics::{counter::Counter, histogram::Histogram};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{burst::AT_MOST, clock::backoff, metrics::Metrics};
pub use rotation::{Namespaced, Rotation};
pub use shares::Shares;

/// A queue of keys to reconcile.
#[derive(Debug)]
pub struct Queue<K> {
    inner: Mutex<Inner<K>>,
    changed: Notify,
    counts: Counts,
}

/// How many keys wait or are worked on in the queues that have it in common.
#[derive(Clone, Debug, Default)]
pub struct InFlight(watch::Sender<usize>);

impl InFlight {
    /// Resolves when no key is in flight, or after the longest burst: keys that keep failing would hold it up for ever.
    pub async fn none(&self) {
        // The sender is held here, so there is always one.
        let _ = tokio::time::timeout(AT_MOST, self.0.subscribe().wait_for(|keys| *keys == 0)).await;
    }

    pub(crate) fn more(&self) {
        self.0.send_modify(|keys| *keys += 1);
    }

    fn less(&self) {
        self.0.send_modify(|keys| *keys -= 1);
    }
}

/// Where a queue counts.
#[derive(Clone, Debug)]
pub struct Counts {
    adds: Counter,
    retries: Counter,
    waited: Histogram,
    worked: Histogram,
}

impl Counts {
    /// In the metrics of queues of this name.
    pub fn of(metrics: &Metrics, name: &str) -> Self {
        Self {
            adds: metrics.queue_adds.with([name]),
            retries: metrics.queue_retries.with([name]),
            waited: metrics.queue_seconds.with([name]),
            worked: metrics.queue_work_seconds.with([name]),
        }
    }
}

/// What goes on in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Keys that wait.
    pub depth: usize,
    /// How long the keys that are worked on have been so, together.
    pub unfinished: Duration,
    /// How long the one longest worked on has been so.
    pub longest: Duration,
    /// How long keys have waited without a worker's taking or finishing any, where there are workers.
    pub stalled: Duration,
}

#[derive(Debug)]
struct Inner<K> {
    in_flight: InFlight,
    ready: Rotation<K>,
    queued: BTreeMap<K, Instant>,
    active: BTreeMap<K, Instant>,
    moved: Instant,
    again: BTreeSet<K>,
    timers: BTreeMap<K, Instant>,
    deadlines: BTreeSet<(Instant, K)>,
    failures: BTreeMap<K, u32>,
}

/// The first retry comes after about this long, the last ones after [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(30);

impl<K: Clone + Ord + Namespaced> Queue<K> {
    /// An empty queue that counts here, and adds to `in_flight`.
    pub fn new(counts: Counts, in_flight: InFlight) -> Self {
        Self {
            counts,
            inner: Mutex::new(Inner {
                in_flight,
                ready: Rotation::default(),
                queued: BTreeMap::new(),
                active: BTreeMap::new(),
                moved: Instant::now(),
                again: BTreeSet::new(),
                timers: BTreeMap::new(),
                deadlines: BTreeSet::new(),
                failures: BTreeMap::new(),
            }),
            changed: Notify::new(),
        }
    }

    /// No more than so many keys of one namespace are worked on at a time.
    pub fn limit_namespaces(&self, keys: usize) {
        self.lock().ready.limit(keys);
        self.changed.notify_one();
    }

    /// Has `key` reconciled soon.
    pub fn add(&self, key: K) {
        if self.lock().add(key) {
            self.counts.adds.inc();
        }
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
                if let Some((key, waited)) = inner.take() {
                    self.counts.waited.observe(waited.as_secs_f64());
                    if inner.ready.len() > 0 {
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
        self.counts.worked.observe(inner.finish(key).as_secs_f64());
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
        self.counts.worked.observe(inner.finish(key).as_secs_f64());
        self.counts.retries.inc();
        inner.set_timer(key.clone(), Instant::now() + delay);
        drop(inner);
        self.changed.notify_one();
        delay
    }

    /// What goes on in it now.
    pub fn stats(&self) -> QueueStats {
        let inner = self.lock();
        let ages = || inner.active.values().map(Instant::elapsed);
        let waits = inner.ready.len() > 0 && !inner.active.is_empty();
        QueueStats {
            depth: inner.ready.len(),
            unfinished: ages().sum(),
            longest: ages().max().unwrap_or_default(),
            stalled: if waits { inner.moved.elapsed() } else { Duration::ZERO },
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Ord + Namespaced> Inner<K> {
    /// Whether it was not queued already.
    fn add(&mut self, key: K) -> bool {
        if self.active.contains_key(&key) {
            return self.again.insert(key);
        }
        let is_new = !self.queued.contains_key(&key);
        if is_new {
            self.queued.insert(key.clone(), Instant::now());
            self.ready.push(key);
            self.in_flight.more();
        }
        is_new
    }

    /// The next key, and how long it waited.
    fn take(&mut self) -> Option<(K, Duration)> {
        let key = self.ready.pop()?;
        let waited = self.queued.remove(&key).map(|since| since.elapsed()).unwrap_or_default();
        self.moved = Instant::now();
        self.active.insert(key.clone(), self.moved);
        self.clear_timer(&key);
        Some((key, waited))
    }

    /// How long it was worked on.
    fn finish(&mut self, key: &K) -> Duration {
        let worked = self.active.remove(key).map(|since| since.elapsed()).unwrap_or_default();
        self.ready.finished(key);
        self.moved = Instant::now();
        if self.again.remove(key) {
            self.add(key.clone());
        }
        self.in_flight.less();
        worked
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
    use crate::{metrics::Catalogue, object::Key};

    /// Keys of tests are written as people write keys.
    impl Namespaced for &'static str {
        fn namespace(&self) -> &str {
            self.split_once('/').map_or("", |(namespace, _)| namespace)
        }
    }

    fn queue() -> Queue<&'static str> {
        Queue::new(Counts::of(&Metrics::unread(), "test"), InFlight::default())
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_can_be_seen() {
        let mut catalogue = Catalogue::default();
        let queue = Queue::new(Counts::of(&Metrics::new(&mut catalogue), "test"), InFlight::default());
        queue.add("a");
        queue.add("b");
        queue.add("b");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(queue.stats(), QueueStats { depth: 2, ..QueueStats::default() }, "nobody works: nothing is stalled");
        let key = queue.next().await;
        tokio::time::advance(Duration::from_secs(7)).await;
        let seven = Duration::from_secs(7);
        assert_eq!(queue.stats(), QueueStats { depth: 1, unfinished: seven, longest: seven, stalled: seven });
        queue.failed(&key, 1.0);
        assert_eq!(queue.stats(), QueueStats { depth: 1, ..QueueStats::default() });
        let text = catalogue.text().unwrap();
        for line in [
            "workqueue_adds_total{name=\"test\"} 2",
            "workqueue_retries_total{name=\"test\"} 1",
            "workqueue_queue_duration_seconds_sum{name=\"test\"} 5.0",
            "workqueue_work_duration_seconds_sum{name=\"test\"} 7.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_a_load_until_no_work_on_them_is_left() {
        let in_flight = InFlight::default();
        let queue = Queue::new(Counts::of(&Metrics::unread(), "test"), in_flight.clone());
        let is_none = async || tokio::time::timeout(Duration::from_millis(1), in_flight.none()).await.is_ok();
        assert!(is_none().await);
        queue.add("a");
        queue.add("a");
        assert!(!is_none().await, "one waits");
        queue.next().await;
        queue.add("a");
        assert!(!is_none().await, "one is worked on");
        queue.done(&"a", None);
        assert!(!is_none().await, "it waits once more");
        queue.next().await;
        queue.failed(&"a", 1.0);
        assert!(is_none().await, "what has its time to come is none yet");

        queue.add("b");
        let start = Instant::now();
        in_flight.none().await;
        assert_eq!(start.elapsed(), AT_MOST, "one that is always there keeps nobody for ever");
    }

    async fn idle(queue: &Queue<&'static str>) -> bool {
        tokio::time::timeout(Duration::from_millis(1), queue.next()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_served_in_order_and_once() {
        let queue = queue();
        for key in ["b", "a", "b", "c"] {
            queue.add(key);
        }
        assert_eq!((queue.next().await, queue.next().await, queue.next().await), ("b", "a", "c"));
        assert!(idle(&queue).await);
    }

    #[tokio::test(start_paused = true)]
    async fn thousands_of_keys_of_one_namespace_delay_another_by_one_place() {
        let queue = Queue::<Key>::new(Counts::of(&Metrics::unread(), "test"), InFlight::default());
        (0..5_000).for_each(|n| queue.add(Key::new("many", &format!("s{n}"))));
        queue.add(Key::new("other", "s"));
        let mut place = 1;
        while queue.next().await.namespace != "other" {
            place += 1;
        }
        assert!(place <= 2, "it came at place {place}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_may_take_nothing_gets_a_key_as_soon_as_one_of_its_namespace_is_done() {
        let queue = queue();
        queue.limit_namespaces(1);
        queue.add("a/1");
        queue.add("a/2");
        assert_eq!(queue.next().await, "a/1");
        let (next, ()) = tokio::join!(queue.next(), async {
            tokio::task::yield_now().await;
            assert_eq!(queue.stats().depth, 1);
            queue.done(&"a/1", None);
        });
        assert_eq!(next, "a/2");
    }

    #[tokio::test(start_paused = true)]
    async fn each_worker_that_waits_gets_a_key_where_several_may_be_taken_at_once() {
        let queue = queue();
        queue.limit_namespaces(1);
        for key in ["a/1", "a/2", "a/3"] {
            queue.add(key);
        }
        assert_eq!(queue.next().await, "a/1");
        assert_eq!(queue.stats().stalled, Duration::ZERO);
        let both = async {
            tokio::join!(queue.next(), queue.next(), async {
                tokio::task::yield_now().await;
                queue.limit_namespaces(3);
            })
        };
        let taken = tokio::time::timeout(Duration::from_secs(1), both).await.map(|(first, second, ())| [first, second]);
        assert_eq!(taken, Ok(["a/2", "a/3"]));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(queue.stats().stalled, Duration::ZERO, "nothing waits");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_while_worked_on_is_worked_on_once_more_afterwards() {
        let queue = queue();
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
    async fn a_key_is_kept_once_however_often_it_is_added_and_not_at_all_when_it_is_done() {
        let queue = queue();
        let held = || {
            let inner = queue.lock();
            let (waiting, active) = (inner.ready.len() + inner.queued.len(), inner.active.len() + inner.again.len());
            (waiting, active, inner.timers.len() + inner.deadlines.len(), inner.failures.len())
        };
        let add = || {
            for n in 0..1000 {
                queue.add("a");
                queue.add_at("a", Instant::now() + Duration::from_secs(2000 - n));
            }
        };
        add();
        assert_eq!(held(), (2, 0, 2, 0));
        queue.next().await;
        add();
        queue.failed(&"a", 1.0);
        assert_eq!(held(), (2, 0, 2, 1));
        queue.next().await;
        add();
        assert_eq!(held(), (0, 2, 2, 1));
        queue.done(&"a", None);
        queue.next().await;
        queue.done(&"a", None);
        assert_eq!(held(), (0, 0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_timer_counts_and_work_clears_it() {
        let queue = queue();
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
        let queue = queue();
        let mut delays = Vec::new();
        queue.add("a");
        for _ in 0..12 {
            let (asked, key) = (Instant::now(), queue.next().await);
            let waited = delays.last().copied().unwrap_or_default();
            assert!(asked.elapsed().abs_diff(waited) <= Duration::from_millis(1), "{waited:?}");
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
