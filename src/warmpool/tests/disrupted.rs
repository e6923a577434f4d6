//! Idle pods that are evicted, as by a drain, and take their time to go.

use super::{cluster::Cluster, *};

/// What is done to pods of this age.
type Disrupt = fn(&Cluster, Duration);

/// Evicts the newest pod, so long after it was made.
fn evict(cluster: &Cluster, age: Duration) {
    let mut pods = cluster.server.pods();
    let newest = pods.len();
    let pod = pods.values_mut().find(|pod| pod["metadata"]["name"].as_str().unwrap().ends_with(&format!("-{newest}")));
    let pod = pod.unwrap();
    let target = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
        "lastTransitionTime": (at(0) + age).to_string(),
    });
    pod["metadata"]["creationTimestamp"] = json!(at(0).to_string());
    pod["metadata"]["deletionTimestamp"] = json!((at(0) + age).to_string());
    pod["status"] = json!({ "phase": "Running", "conditions": [target] });
}

/// Labels every pod so that it is none of the idle ones, so long after it was seen. By a node's clock it is of another time.
fn relabel(cluster: &Cluster, age: Duration) {
    cluster.watched();
    cluster.pass(age);
    for pod in cluster.server.pods().values_mut() {
        pod["metadata"]["creationTimestamp"] = json!(at(0).to_string());
        pod["metadata"]["labels"][labels::POD_STATE] = json!("allocated");
    }
}

/// How many pods were made in a minute in which this was done to each at this age, and what is said of the pool.
async fn after_a_minute_of(disrupt: Disrupt, age: Duration) -> (usize, Value) {
    let cluster = Cluster::new(None);
    for _ in 0..20 {
        cluster.reconcile(1).await;
        disrupt(&cluster, age);
    }
    (cluster.posts().len(), cluster.failing())
}

#[tokio::test]
async fn an_evicted_pod_is_replaced_before_it_is_gone() {
    let cluster = Cluster::new(None);
    cluster.reconcile(1).await;
    evict(&cluster, Duration::from_secs(300));
    cluster.reconcile(5).await;
    assert_eq!(cluster.posts(), [201, 201], "once");
    assert_eq!(cluster.failing()["status"], json!("False"), "{}", cluster.failing());
}

#[tokio::test]
async fn pods_that_are_disrupted_again_and_again_are_told_of_and_new_ones_are_made_with_growing_pauses() {
    let kinds = [
        (evict as Disrupt, Duration::from_secs(5), "was evicted"),
        (relabel as Disrupt, Duration::ZERO, "was labelled so that"),
    ];
    for (disrupt, young, words) in kinds {
        let (made, failing) = after_a_minute_of(disrupt, Duration::from_secs(300)).await;
        assert!(made >= 19, "{words}: {made}");
        assert_eq!(failing["reason"], "PodsDisrupted", "{failing}");
        let (made, failing) = after_a_minute_of(disrupt, young).await;
        assert!((5..=9).contains(&made), "{words}: {made}");
        assert_eq!((&failing["status"], &failing["reason"]), (&json!("True"), &json!("PodsDisrupted")), "{failing}");
        assert!(failing["message"].as_str().unwrap().contains(words), "{failing}");
    }
}

#[tokio::test]
async fn a_pod_that_was_relabelled_is_counted_with_why() {
    let cluster = Cluster::new(None);
    cluster.reconcile(1).await;
    relabel(&cluster, Duration::from_secs(300));
    cluster.reconcile(5).await;
    assert_eq!(cluster.posts(), [201, 201], "once");
    assert!(cluster.metrics().contains("reason=\"relabelled\"} 1"), "{}", cluster.metrics());
    assert_eq!(cluster.failing()["status"], json!("False"), "{}", cluster.failing());
}
