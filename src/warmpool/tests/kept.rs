//! What stays on record, and what is written at once, where calls fail.

use std::sync::atomic::Ordering;

use super::{cluster::Cluster, *};

#[tokio::test(start_paused = true)]
async fn counts_are_written_at_once_where_the_pool_is_not_looked_at_again_in_time() {
    let cluster = Cluster::new(None);
    cluster.scale(4);
    cluster.reconcile(3).await;
    let since = at(0).to_string();
    let ready = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": since }] });
    cluster.server.deletes_fail.store(true, Ordering::Relaxed);
    for (n, pod) in cluster.server.pods().values_mut().enumerate() {
        match n {
            0 | 1 => pod["status"] = ready.clone(),
            3 => pod["status"] = json!({ "phase": "Failed" }),
            _ => {}
        }
    }
    cluster.reconcile(90).await;
    if let Some(pod) = cluster.server.pods().values_mut().next() {
        let owner = json!({ "apiVersion": "v1", "kind": "Sandbox", "name": "s", "uid": "s", "controller": true });
        pod["metadata"]["resourceVersion"] = json!("9");
        pod["metadata"]["labels"][labels::POD_STATE] = json!("allocated");
        pod["metadata"]["labels"][labels::SANDBOX] = json!("s");
        pod["metadata"]["ownerReferences"] = json!([owner]);
    }
    let (next, status) = cluster.look().await;
    assert!(next.is_err(), "an ended pod cannot be deleted");
    assert_eq!((&status["ready"], &status["allocated"]), (&json!(1), &json!(1)));
}

#[test]
fn what_events_said_of_a_late_pod_stays_while_they_cannot_be_looked_at() {
    let mut scene = Scene::new(1, &Value::Null);
    scene.pod(1, false, None);
    let mut pod = (**scene.cache.read().pods.get(&Key::new("ns", "p-1")).unwrap()).clone();
    let creating = json!({ "name": "executor", "state": { "waiting": { "reason": "ContainerCreating" } } });
    let conditions = json!([
        { "type": "PodScheduled", "status": "True" },
        { "type": "Ready", "status": "False", "reason": "ContainersNotReady" },
    ]);
    pod.status = object(&json!({ "phase": "Pending", "conditions": conditions, "containerStatuses": [creating] }));
    scene.apply(pod.seen_at(at(100)));
    scene.now = at(131);
    let asked = |scene: &Scene, warning| {
        scene.remember(|memory| {
            memory.asked = Some(Asked::after(memory.asked.as_ref(), Uid("pod-1".into()), warning, scene.now));
        });
    };
    let found = || {
        let (reason, note) = ("FailedMount".into(), "secret s not found".into());
        Warning::Found(Some(PodEvent { reason, note, container: None }))
    };
    asked(&scene, found());
    let said = scene.reconciled().1;
    assert!(said.conditions.iter().any(|c| c.message.contains("secret s not found")), "{said:?}");
    scene.pool(1, &Value::Null, &serde_json::to_value(&said).unwrap());
    for (is_new, warning) in [(true, Warning::Later), (false, Warning::Later), (false, Warning::Unknown)] {
        scene.memories.forget(&Key::new("ns", "p"));
        if !is_new {
            asked(&scene, found());
        }
        let what = format!("{is_new} {warning:?}");
        asked(&scene, warning);
        let conditions = |status: &WarmPoolStatus| {
            let said = status.conditions.iter().map(|c| (c.type_.clone(), c.status.clone(), c.message.clone()));
            said.collect::<Vec<_>>()
        };
        assert_eq!(conditions(&scene.reconciled().1), conditions(&said), "{what}");
    }
    asked(&scene, Warning::Found(None));
    assert!(scene.reconciled().1.conditions.iter().all(|c| !c.message.contains("secret s")), "it is over");
}
