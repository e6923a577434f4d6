//! What is counted of a pool.

use std::sync::atomic::Ordering;

use super::{cluster::Cluster, *};

/// Whether the pod that takes the place of one that ended is counted, where the pool goes while that one is being deleted.
async fn is_counted(goes: bool) -> bool {
    let cluster = Cluster::new(None);
    cluster.reconcile(1).await;
    cluster.server.pods().values_mut().for_each(|pod| pod["status"] = json!({ "phase": "Failed" }));
    cluster.server.takes.store(100, Ordering::Relaxed);
    let going = async {
        tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_millis(50)).await;
        if goes {
            cluster.pool_is_gone();
        }
    };
    tokio::join!(cluster.reconcile(1), going);
    cluster.metrics().contains("arl_warmpool_pod_replacements_total{")
}

#[tokio::test(start_paused = true)]
async fn nothing_is_counted_of_a_pool_that_is_gone() {
    assert!(is_counted(false).await);
    assert!(!is_counted(true).await, "nobody would forget it");
}
