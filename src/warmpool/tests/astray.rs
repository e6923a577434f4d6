//! Pods of a pool that somebody labelled so that they are none of its idle ones.

use super::*;

type Change = fn(&mut Value);

/// Which pods go once the idle pod `p-1` of a pool with one replica was changed like this.
fn deleted_after(change: Change, on_record: bool) -> Vec<String> {
    let scene = Scene::new(1, &Value::Null);
    scene.pod(1, true, None);
    let pod = scene.cache.read().pods.get(&Key::new("ns", "p-1")).unwrap().clone();
    let mut pod = serde_json::to_value(&*pod).unwrap();
    change(&mut pod["metadata"]);
    let wakes = scene.apply::<Pod>(object(&pod));
    assert!(wakes.contains(&Wake::Pool(Key::new("ns", "p"))), "{wakes:?}");
    scene.pod(2, true, None);
    if on_record {
        scene.sandbox("s", &json!({ "phase": "Ready", "podName": "p-1", "podUID": "pod-1" }));
    }
    let (plan, status) = scene.reconciled();
    assert_eq!((plan.create.len(), status.ready), (0, 1), "it is replaced once");
    assert_eq!(plan.ended.is_some(), !plan.delete.is_empty(), "what is done is told");
    plan.delete.into_iter().map(|pod| pod.key.name).collect()
}

#[test]
fn a_pod_that_is_labelled_otherwise_goes_unless_a_sandbox_may_have_to_do_with_it() {
    let gone: [(&str, Change); 3] = [
        ("allocated", |pod| pod["labels"][labels::POD_STATE] = json!("allocated")),
        ("without a state", |pod| drop(pod["labels"].as_object_mut().unwrap().remove(labels::POD_STATE))),
        ("another pool's", |pod| pod["labels"][labels::WARMPOOL] = json!("q")),
    ];
    for (what, change) in gone {
        assert_eq!(deleted_after(change, false), ["p-1"], "{what}");
        assert_eq!(deleted_after(change, true), Vec::<String>::new(), "{what}, and a Sandbox has it on record");
    }
    let kept: [(&str, Change); 4] = [
        ("it names a Sandbox", |pod| {
            pod["labels"][labels::POD_STATE] = json!("allocated");
            pod["labels"][labels::SANDBOX] = json!("s");
        }),
        ("a Sandbox controls it", |pod| {
            pod["labels"][labels::POD_STATE] = json!("allocated");
            pod["ownerReferences"][0]["kind"] = json!("Sandbox");
            pod["ownerReferences"][0]["uid"] = json!("s");
        }),
        ("nothing controls it", |pod| {
            pod["labels"][labels::POD_STATE] = json!("allocated");
            pod["ownerReferences"] = json!([]);
        }),
        ("it goes already", |pod| {
            pod["labels"][labels::POD_STATE] = json!("allocated");
            pod["deletionTimestamp"] = json!(at(1).to_string());
        }),
    ];
    for (what, change) in kept {
        assert_eq!(deleted_after(change, false), Vec::<String>::new(), "{what}");
    }
}
