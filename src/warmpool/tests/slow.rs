//! An API server that takes its time.

use std::sync::atomic::Ordering;

use super::{cluster::Cluster, *};

/// How many of sixteen pods are created, and then deleted, before the pool is looked at again.
async fn at_once(call: Duration) -> (usize, usize) {
    let cluster = Cluster::new(None);
    cluster.server.takes.store(u64::try_from(call.as_millis()).unwrap(), Ordering::Relaxed);
    cluster.scale(16);
    drop(cluster.look().await);
    let created = cluster.posts().len();
    cluster.server.takes.store(0, Ordering::Relaxed);
    cluster.reconcile(20).await;
    assert_eq!(cluster.server.pods().len(), 16, "the watch tells of what is created");
    cluster.server.takes.store(u64::try_from(call.as_millis()).unwrap(), Ordering::Relaxed);
    cluster.scale(0);
    drop(cluster.look().await);
    let pods = cluster.server.pods();
    (created, pods.values().filter(|pod| !pod["metadata"]["deletionTimestamp"].is_null()).count())
}

#[tokio::test(start_paused = true)]
async fn a_pool_is_looked_at_again_after_some_seconds_however_long_calls_take() {
    assert_eq!(at_once(Duration::from_millis(1)).await, (16, 16));
    assert_eq!(at_once(Duration::from_millis(900)).await, (3, 3));
    assert_eq!(at_once(Duration::from_secs(15)).await, (1, 1));
}

/// What a pool says of whether it is ready.
fn ready(status: &Value) -> &str {
    let conditions = status["conditions"].as_array().unwrap();
    conditions.iter().find(|c| c["type"] == "Ready").unwrap()["message"].as_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_pool_says_what_is_known_of_it_before_a_call_has_ended_and_what_came_of_that_after() {
    let cluster = Cluster::new(None);
    cluster.server.takes.store(15_000, Ordering::Relaxed);
    let meanwhile = async {
        tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_secs(6)).await;
        cluster.status()
    };
    let ((next, after), status) = tokio::join!(cluster.look(), meanwhile);
    assert!(next.unwrap().is_none_or(|next| next > at(100)), "the watch tells of the pod, and nothing is asked before");
    assert_eq!((&status["phase"], &status["ready"]), (&json!("Pending"), &json!(0)));
    assert!(ready(&status).contains("takes long to answer"), "{status}");
    assert!(ready(&after).ends_with("the others are starting"), "{after}");
}
