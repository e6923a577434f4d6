//! Workers: keys come out of a queue, a reconcile looks after each, and the queue learns what to expect next.

use std::{
    any::Any,
    collections::BTreeMap,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{Instrument, field::Empty};

use crate::{clock::Clock, effects::Failure, metrics::Metrics, object::Key, queue::Queue, stalled::Obstacle};

/// When to look at an object again, if nothing changes before. Waiting is no error: only the API fails.
pub type Next = Result<Option<Timestamp>, Failure>;

/// One of the three reconcilers.
pub trait Reconcile: Send + Sync + 'static {
    /// The kind, for logs.
    const KIND: &'static str;

    /// The controller's name in metrics.
    const NAME: &'static str;

    /// Looks after one object.
    fn reconcile(&self, key: &Key) -> impl Future<Output = Next> + Send;

    /// Shows on the object which call to the API keeps failing for it, or that none does.
    fn show(&self, key: &Key, obstacle: Option<Obstacle<'_>>) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A failure that is over before is not shown: an API server that is being restarted would be written to about nothing else.
const LASTING: Duration = Duration::from_secs(1);

/// Since when reconciles of a key have failed, without one that went well.
#[derive(Debug, Default)]
struct Spells(Mutex<BTreeMap<Key, Spell>>);

#[derive(Debug)]
struct Spell {
    since: Instant,
    is_shown: bool,
}

impl Spells {
    fn over(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// How a failure is to be shown, if it is to be.
    fn obstacle<'a>(&self, key: &Key, failure: &'a Failure) -> Option<Obstacle<'a>> {
        let mut spells = self.lock();
        let spell = spells.entry(key.clone()).or_insert_with(|| Spell { since: Instant::now(), is_shown: false });
        if spell.since.elapsed() + failure.took() < LASTING {
            return None;
        }
        Some(Obstacle { failure, is_new: !std::mem::replace(&mut spell.is_shown, true) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Spell>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts workers on a queue: `workers` for the keys of one namespace, and some more, which another namespace finds free where
/// one keeps all of its own busy. They run until they are dropped with the returned set.
pub fn spawn<R: Reconcile>(
    set: &mut tokio::task::JoinSet<()>,
    workers: usize,
    queue: &Arc<Queue<Key>>,
    reconciler: &Arc<R>,
    clock: &Clock,
    metrics: &Arc<Metrics>,
) {
    queue.limit_namespaces(workers);
    let workers = workers + workers.div_ceil(4);
    metrics.max_workers.with([R::NAME]).inc_by(i64::try_from(workers).unwrap_or(i64::MAX));
    // There from the start: an increase from nothing to one would be none.
    for counters in [&metrics.reconcile_errors, &metrics.reconcile_panics] {
        drop(counters.with([R::NAME]));
    }
    let spells = Arc::new(Spells::default());
    for _ in 0..workers {
        let spells = Arc::clone(&spells);
        let (queue, reconciler, clock) = (Arc::clone(queue), Arc::clone(reconciler), clock.clone());
        let metrics = Arc::clone(metrics);
        set.spawn(async move {
            let active = metrics.active_workers.with([R::NAME]);
            let seconds = metrics.reconcile_seconds.with([R::NAME]);
            loop {
                let key = queue.next().await;
                let start = Instant::now();
                active.inc();
                let result = work(&*reconciler, &queue, &spells, &clock, key).await;
                active.dec();
                seconds.observe(start.elapsed().as_secs_f64());
                if result == PANIC {
                    metrics.reconcile_panics.with([R::NAME]).inc();
                }
                if [PANIC, ERROR].contains(&result) {
                    metrics.reconcile_errors.with([R::NAME]).inc();
                }
                let result = if result == PANIC { ERROR } else { result };
                metrics.reconciles.with([R::NAME, result]).inc();
            }
        });
    }
}

const ERROR: &str = "error";
const PANIC: &str = "panic";

/// What came of it, in a word.
async fn work<R: Reconcile>(
    reconciler: &R,
    queue: &Queue<Key>,
    spells: &Spells,
    clock: &Clock,
    key: Key,
) -> &'static str {
    let span = tracing::info_span!("reconcile", kind = R::KIND, namespace = %key.namespace, name = %key.name, uid = Empty, trace_id = Empty);
    async {
        // A panic is a bug; it stays with the object that it happened to.
        match AssertUnwindSafe(reconcile(reconciler, spells, &key)).catch_unwind().await {
            Ok(Ok(look_again)) => {
                queue.done(&key, look_again.map(|at| clock.instant(at)));
                if look_again.is_some() { "requeue_after" } else { "success" }
            }
            Ok(Err(failure)) => {
                let delay = queue.failed(&key, chance(clock));
                tracing::warn!(error = %failure, retry_in_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), "the API failed; trying again");
                ERROR
            }
            Err(panic) => {
                queue.failed(&key, 1.0);
                tracing::error!(panic = said(&*panic), "reconcile panicked; this is a bug in the operator");
                PANIC
            }
        }
    }
    .instrument(span)
    .await
}

/// Reconciles, and shows what keeps failing, or that it does no more.
async fn reconcile<R: Reconcile>(reconciler: &R, spells: &Spells, key: &Key) -> Next {
    let result = match reconciler.reconcile(key).await {
        Ok(next) => reconciler.show(key, None).await.map(|()| next),
        Err(failure) => Err(failure),
    };
    let Err(failure) = &result else {
        spells.over(key);
        return result;
    };
    if let Some(obstacle) = spells.obstacle(key, failure)
        && let Err(also) = reconciler.show(key, Some(obstacle)).await
    {
        tracing::error!(error = %failure, %also, "a call keeps failing, and that cannot be shown on the object");
    }
    result
}

fn said(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}

/// Spreads retries: the sub-millisecond digits of the clock are as good as dice for that.
fn chance(clock: &Clock) -> f64 {
    f64::from(clock.now().subsec_nanosecond().unsigned_abs() / 1_000 % 1_000) / 1_000.0
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::{
        sync::mpsc::{UnboundedSender, unbounded_channel},
        task::JoinSet,
    };

    use super::*;
    use crate::queue::{Counts, InFlight};

    struct Fragile(AtomicUsize);

    impl Reconcile for Fragile {
        const KIND: &'static str = "Fragile";
        const NAME: &'static str = "fragile";

        async fn reconcile(&self, key: &Key) -> Next {
            assert_ne!(key.name, "bad", "this one always panics");
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(None)
        }

        async fn show(&self, _: &Key, _: Option<Obstacle<'_>>) -> Result<(), Failure> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_shown_once_it_lasts_and_is_new_again_after_a_success() {
        let (spells, key) = (Spells::default(), Key::new("ns", "a"));
        let failure = Failure::new("get", "Pod", &key, crate::effects::Cause::Timeout);
        let shown = || spells.obstacle(&key, &failure).map(|obstacle| obstacle.is_new);
        assert_eq!(shown(), None, "the first");
        tokio::time::advance(LASTING / 2).await;
        assert_eq!(shown(), None, "it may be over soon");
        tokio::time::advance(LASTING / 2).await;
        assert_eq!((shown(), shown()), (Some(true), Some(false)));
        spells.over(&key);
        assert_eq!(shown(), None, "another one begins");
        spells.over(&key);
        let slow = failure.clone().after(LASTING);
        assert!(
            spells.obstacle(&key, &slow).is_some(),
            "what took long to fail, such as a webhook that hangs, is not over soon"
        );
    }

    /// Of one namespace each takes its time, and is to be looked at again at once, as a pool that grows.
    struct Growing(UnboundedSender<Key>);

    impl Reconcile for Growing {
        const KIND: &'static str = "Growing";
        const NAME: &'static str = "growing";

        async fn reconcile(&self, key: &Key) -> Next {
            if key.namespace == "crowd" {
                tokio::time::sleep_until(Instant::now() + Duration::from_secs(2)).await;
                return Ok(Some(Timestamp::UNIX_EPOCH));
            }
            self.0.send(key.clone()).unwrap();
            Ok(None)
        }

        async fn show(&self, _: &Key, _: Option<Obstacle<'_>>) -> Result<(), Failure> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pools_that_grow_on_and_on_in_one_namespace_make_no_other_wait() {
        let queue = Arc::new(Queue::new(Counts::of(&Metrics::unread(), Growing::NAME), InFlight::default()));
        let (serve, mut served) = unbounded_channel();
        let (mut workers, clock) = (JoinSet::new(), Clock::new(|| Timestamp::UNIX_EPOCH));
        spawn(&mut workers, 4, &queue, &Arc::new(Growing(serve)), &clock, &Metrics::unread());
        for pool in 0..17 {
            queue.add(Key::new("crowd", &format!("p{pool}")));
        }
        for other in ["a", "b", "c"] {
            tokio::time::sleep_until(Instant::now() + Duration::from_millis(2_500)).await;
            let since = Instant::now();
            queue.add(Key::new(other, "p"));
            assert_eq!(served.recv().await, Some(Key::new(other, "p")));
            assert!(since.elapsed() < Duration::from_millis(100), "{other} waited {:?}", since.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_stays_with_its_object_and_is_tried_again_later() {
        let queue = Queue::new(Counts::of(&Metrics::unread(), Fragile::NAME), InFlight::default());
        let (queue, fragile) = (Arc::new(queue), Arc::new(Fragile(AtomicUsize::new(0))));
        let clock = Clock::new(|| Timestamp::UNIX_EPOCH);
        for name in ["bad", "good"] {
            queue.add(Key::new("ns", name));
        }
        let mut results = Vec::new();
        for _ in 0..2 {
            results.push(work(&*fragile, &queue, &Spells::default(), &clock, queue.next().await).await);
        }
        assert_eq!(results, [PANIC, "success"]);
        assert_eq!(fragile.0.load(Ordering::Relaxed), 1);
        assert_eq!(queue.next().await, Key::new("ns", "bad"), "after its back-off");
    }
}
