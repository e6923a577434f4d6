//! An API server that takes its time.

use std::sync::atomic::Ordering;

use super::{cluster::Cluster, *};

/// How many of sixteen pods are created, and then deleted, before the pool is looked at again.
async fn at_once(call: Duration) -> (usize, usize) {
    let cluster = Cluster::new(None);
    cluster.server.takes.store(u64::try_from(call.as_millis()).unwrap(), Ordering::Relaxed);
    cluster.scale(16);
    cluster.reconcile(1).await;
    let created = cluster.posts().len();
    cluster.server.takes.store(0, Ordering::Relaxed);
    cluster.reconcile(20).await;
    assert_eq!(cluster.server.pods().len(), 16, "the watch tells of what is created");
    cluster.server.takes.store(u64::try_from(call.as_millis()).unwrap(), Ordering::Relaxed);
    cluster.scale(0);
    cluster.reconcile(1).await;
    let pods = cluster.server.pods();
    (created, pods.values().filter(|pod| !pod["metadata"]["deletionTimestamp"].is_null()).count())
}

#[tokio::test(start_paused = true)]
async fn a_pool_is_looked_at_again_after_some_seconds_however_long_calls_take() {
    assert_eq!(at_once(Duration::from_millis(1)).await, (16, 16));
    assert_eq!(at_once(Duration::from_millis(900)).await, (3, 3));
    assert_eq!(at_once(Duration::from_secs(15)).await, (1, 1));
}
