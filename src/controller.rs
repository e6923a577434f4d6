//! Workers: keys come out of a queue, a reconcile looks after each, and the queue is told what to expect next.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{Instrument, field::Empty};

use crate::{clock::Clock, effects::Failure, metrics::Metrics, object::Key, queue::Queue};

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
    for _ in 0..workers {
        let (queue, reconciler, clock) = (Arc::clone(queue), Arc::clone(reconciler), clock.clone());
        let metrics = Arc::clone(metrics);
        set.spawn(async move {
            let active = metrics.active_workers.with([R::NAME]);
            let seconds = metrics.reconcile_seconds.with([R::NAME]);
            loop {
                let key = queue.next().await;
                let start = Instant::now();
                active.inc();
                let result = work(&*reconciler, &queue, &clock, key).await;
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
async fn work<R: Reconcile>(reconciler: &R, queue: &Queue<Key>, clock: &Clock, key: Key) -> &'static str {
    let span = tracing::info_span!("reconcile", kind = R::KIND, namespace = %key.namespace, name = %key.name, uid = Empty, trace_id = Empty);
    async {
        // A panic is a bug; it stays with the object that it happened to.
        match AssertUnwindSafe(reconciler.reconcile(&key)).catch_unwind().await {
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

    use super::*;
    use crate::queue::{Counts, Load};

    struct Fragile(AtomicUsize);

    impl Reconcile for Fragile {
        const KIND: &'static str = "Fragile";
        const NAME: &'static str = "fragile";

        async fn reconcile(&self, key: &Key) -> Next {
            assert_ne!(key.name, "bad", "this one always panics");
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(None)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_stays_with_its_object_and_is_tried_again_later() {
        let queue = Queue::new(Counts::of(&Metrics::unread(), Fragile::NAME), Load::default());
        let (queue, fragile) = (Arc::new(queue), Arc::new(Fragile(AtomicUsize::new(0))));
        let clock = Clock::new(|| Timestamp::UNIX_EPOCH);
        for name in ["bad", "good"] {
            queue.add(Key::new("ns", name));
        }
        let mut results = Vec::new();
        for _ in 0..2 {
            results.push(work(&*fragile, &queue, &clock, queue.next().await).await);
        }
        assert_eq!(results, [PANIC, "success"]);
        assert_eq!(fragile.0.load(Ordering::Relaxed), 1);
        assert_eq!(queue.next().await, Key::new("ns", "bad"), "after its back-off");
    }
}
