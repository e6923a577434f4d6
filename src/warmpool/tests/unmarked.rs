//! An admission webhook that takes away what marks a pod as its pool's, or what its agent needs.

use std::sync::atomic::Ordering;

use super::{
    cluster::{Cluster, Strip},
    *,
};

const KINDS: [(&str, Strip); 4] = [
    ("the pool's label", |pod| drop(labels_of(pod).remove(labels::WARMPOOL))),
    ("the state's label", |pod| drop(labels_of(pod).remove(labels::POD_STATE))),
    ("an annotation", |pod| pod["metadata"]["annotations"] = json!({})),
    ("the owner", |pod| pod["metadata"]["ownerReferences"] = json!([])),
];

const AGENT: [(&str, Strip); 2] = [
    ("the agent's init container", |pod| pod["spec"]["initContainers"] = json!([])),
    ("the agent's mounts", |pod| pod["spec"]["containers"][0]["volumeMounts"] = json!([])),
];

fn labels_of(pod: &mut Value) -> &mut serde_json::Map<String, Value> {
    pod["metadata"]["labels"].as_object_mut().unwrap()
}

/// The condition after a minute, of which pods may be there still that could not be deleted.
async fn after_a_minute(mark: &str, strip: Strip, deletes_fail: bool) -> String {
    let cluster = Cluster::new(Some(strip));
    cluster.server.deletes_fail.store(deletes_fail, Ordering::Relaxed);
    cluster.reconcile(20).await;
    let posts = cluster.posts();
    // Pauses of 1, 2, 4, 8, 16 and 32 seconds; before each pod, the name of the one before may be tried.
    let made = posts.iter().filter(|code| **code == 201).count();
    assert!((3..=6).contains(&made) && posts.len() <= 12, "{mark}, {deletes_fail}: {posts:?}");
    let failing = cluster.failing();
    assert_eq!((&failing["status"], &failing["reason"]), (&json!("True"), &json!("Refused")), "{mark}");

    *cluster.strip.lock().unwrap() = None;
    cluster.server.deletes_fail.store(false, Ordering::Relaxed);
    cluster.reconcile(25).await;
    assert_eq!(cluster.posts().last(), Some(&201), "{mark}, {deletes_fail}");
    assert_eq!(cluster.failing()["status"], json!("False"), "{mark}, {deletes_fail}: {}", cluster.failing());
    failing["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_webhook_that_takes_marks_away_costs_no_more_pods_than_the_pauses_allow_though_they_are_slow_to_go() {
    for (mark, strip) in KINDS.into_iter().chain(AGENT) {
        let message = after_a_minute(mark, strip, false).await;
        assert!(message.contains("is not as it was asked for"), "{mark}: {message}");
        assert!(!message.contains("still there"), "{mark}: {message}");
    }
}

#[tokio::test]
async fn what_is_said_of_a_pod_without_its_marks_is_that_though_it_cannot_be_deleted() {
    // One without its annotations is the pool's all the same, and counts as one of an earlier template.
    for (mark, strip) in KINDS.into_iter().filter(|(mark, _)| *mark != "an annotation") {
        let message = after_a_minute(mark, strip, true).await;
        assert!(message.contains("is not as it was asked for"), "{mark}: {message}");
        assert!(message.contains("that pod is still there: InternalError"), "{mark}: {message}");
    }
}
