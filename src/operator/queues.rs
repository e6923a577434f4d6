//! The queues of a scope.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    cache::{Cache, Wake},
    controller::Reconcile,
    metrics::Metrics,
    object::Key,
    queue::{Counts, InFlight, Queue},
    sandbox::Sandboxes,
    task::Tasks,
    warmpool::WarmPools,
};

/// A pool's changes come in bursts and nobody waits for its status: they are looked at together, after this long.
const POOL_DEBOUNCE: Duration = Duration::from_millis(20);

/// The three queues of a scope.
#[derive(Clone)]
pub struct Queues {
    /// WarmPools to look at.
    pub pools: Arc<Queue<Key>>,
    /// Sandboxes to look at.
    pub sandboxes: Arc<Queue<Key>>,
    /// Tasks to look at.
    pub tasks: Arc<Queue<Key>>,
    open: Arc<AtomicBool>,
}

impl Queues {
    pub(super) fn new(metrics: &Metrics, claims: &InFlight) -> Self {
        let queue = |name, in_flight: &InFlight| Arc::new(Queue::new(Counts::of(metrics, name), in_flight.clone()));
        Self {
            pools: queue(WarmPools::NAME, &InFlight::default()),
            sandboxes: queue(Sandboxes::NAME, claims),
            tasks: queue(Tasks::NAME, &InFlight::default()),
            open: Arc::default(),
        }
    }

    /// Takes in every object there is, and from now on each that changes. Before, nobody would take keys out again, and those of
    /// objects that come and go while this operator stands by would pile up.
    pub(super) fn open(&self, cache: &Cache) {
        self.open.store(true, Ordering::SeqCst);
        let tables = cache.read();
        tables.pools.keys().for_each(|key| self.pools.add(key.clone()));
        tables.sandboxes.keys().for_each(|key| self.sandboxes.add(key.clone()));
        tables.tasks.keys().for_each(|key| self.tasks.add(key.clone()));
    }

    /// Each with its name in metrics.
    pub fn named(&self) -> [(&'static str, &Queue<Key>); 3] {
        [(WarmPools::NAME, &*self.pools), (Sandboxes::NAME, &*self.sandboxes), (Tasks::NAME, &*self.tasks)]
    }

    /// Called while the tables are locked for writing, so that a change is seen here or by [`Queues::open`].
    pub(super) fn wake(&self, wake: Wake) {
        if !self.open.load(Ordering::SeqCst) {
            return;
        }
        match wake {
            Wake::Pool(key) => self.pools.add_at(key, Instant::now() + POOL_DEBOUNCE),
            Wake::Sandbox(key) => self.sandboxes.add(key),
            Wake::Task(key) => self.tasks.add(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cache::TaskRow;

    #[tokio::test]
    async fn nothing_piles_up_while_standing_by_and_nothing_is_forgotten() {
        let queues = Queues::new(&Metrics::unread(), &InFlight::default());
        let cache = Cache::default();
        for name in ["came-and-went", "stays"] {
            queues.wake(Wake::Task(Key::new("ns", name)));
        }
        let task = json!({
            "apiVersion": "arl.infra.io/v1alpha1", "kind": "Task", "metadata": {"name": "stays", "namespace": "ns"},
            "spec": {"sandboxRef": "s", "steps": []},
        });
        cache.write().tasks.apply(TaskRow::new(serde_json::from_value(task).unwrap()));
        assert_eq!(queues.tasks.stats().depth, 0);
        queues.open(&cache);
        queues.wake(Wake::Task(Key::new("ns", "new")));
        assert_eq!(queues.tasks.next().await, Key::new("ns", "stays"));
        assert_eq!(queues.tasks.next().await, Key::new("ns", "new"));
        assert_eq!(queues.tasks.stats().depth, 0);
    }
}
