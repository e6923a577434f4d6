use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex},
};

use arl_crds::{Sandbox, Task, WarmPool};
use jiff::Timestamp;
use kube::runtime::watcher;
use serde_json::{Value, json};

use super::{wake::distinct, *};
use crate::{
    clock::Clock,
    metrics::Metrics,
    object::{Key, Uid, Version},
    pod::{Pod, PodStatus},
};

fn at(second: usize) -> String {
    Timestamp::from_second(i64::try_from(second).unwrap()).unwrap().to_string()
}

fn pool(name: &str, template: &Value) -> WarmPool {
    let metadata = json!({ "name": name, "namespace": "ns", "uid": name });
    let spec = json!({ "replicas": 1, "template": template });
    serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
}

/// A pod that became ready at this second, of the template that is.
fn pod(name: &str, ready: usize, owner: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "ns", "uid": name, "resourceVersion": "1",
            "labels": { "arl.infra.io/warmpool": "pool", "arl.infra.io/pod-state": "ready" },
            "annotations": { arl_crds::labels::TEMPLATE_HASH: pool("pool", &json!({ "spec": {} })).spec.fingerprint() },
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Any", "name": "any", "uid": owner, "controller": true }],
        },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": at(ready) }] },
    }))
    .unwrap()
}

/// A Sandbox that was created at this second; it has the pod of this name on record.
fn sandbox(name: &str, created: usize, has: Option<&str>) -> Sandbox {
    serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": "ns", "uid": name, "creationTimestamp": at(created), "resourceVersion": "1" },
        "spec": { "poolRef": "pool" }, "status": { "podName": has, "podUID": has },
    }))
    .unwrap()
}

fn key(name: &str) -> Key {
    Key::new("ns", name)
}

/// Takes a change in as a watch does; returns the Sandboxes that are woken.
fn follow<S: Source>(tables: &mut Tables, change: &Change<S>) -> BTreeSet<String> {
    S::remember(change, tables, &Clock::system());
    let mut wakes: Vec<Wake> = S::pair(change, tables).into_iter().map(Wake::Sandbox).collect();
    wakes.extend(S::wakes(change, tables));
    let names = distinct(wakes).into_iter().filter_map(|wake| match wake {
        Wake::Sandbox(key) => Some(key.name),
        _ => None,
    });
    names.collect()
}

fn apply<S: Source>(tables: &mut Tables, object: S::Object) -> BTreeSet<String> {
    let change = S::table(tables).apply(S::row(object, Timestamp::UNIX_EPOCH));
    follow(tables, &change)
}

fn delete<S: Source>(tables: &mut Tables, name: &str) -> BTreeSet<String> {
    let change = S::table(tables).delete(&key(name));
    follow(tables, &change)
}

/// What the claim of a Sandbox makes of its pod.
fn claimed(name: &str, sandbox: &str) -> Pod {
    let mut pod = pod(name, 0, sandbox);
    let labels = pod.metadata.labels.as_mut().unwrap();
    labels.insert("arl.infra.io/pod-state".into(), "allocated".into());
    labels.insert("arl.infra.io/sandbox".into(), sandbox.into());
    pod
}

fn with_pool() -> Tables {
    let mut tables = Tables::default();
    apply::<WarmPool>(&mut tables, pool("pool", &json!({ "spec": {} })));
    tables
}

fn candidate(tables: &Tables, sandbox: &str) -> Option<String> {
    tables.candidate(&key(sandbox)).and_then(|pod| pod.metadata.name.clone())
}

fn candidates(tables: &Tables, sandboxes: &[&str]) -> Vec<String> {
    sandboxes.iter().map(|name| candidate(tables, name).unwrap_or_else(|| "-".into())).collect()
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

fn task(name: &str, version: i64, status: &Value) -> Task {
    serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": "ns", "uid": name, "resourceVersion": version.to_string() },
        "spec": { "sandboxRef": "s", "steps": [] }, "status": status,
    }))
    .unwrap()
}

/// What is noted of a row while a list is read is no newer version of it.
#[test]
fn a_task_whose_sandbox_is_deleted_while_tasks_are_listed_is_as_the_list_has_it() {
    let (mut table, mut listing) = (Table::default(), listing::Listing::default());
    table.apply(TaskRow::new(task("t", 4, &Value::Null)));
    listing.add(TaskRow::new(task("t", 6, &Value::Null)), table.get(&key("t")).map(AsRef::as_ref));
    let noted = TaskRow::clone(table.get(&key("t")).unwrap()).outliving(Uid("s".into()));
    table.apply(noted);
    assert_eq!(listing.take_over(&mut table).len(), 1);
    let row = table.get(&key("t")).unwrap();
    assert_eq!(row.metadata().resource_version.as_deref(), Some("6"));
    assert_eq!(row.sandbox_uid(), Some(Uid("s".into())));
}

/// The answer to a write may be learned late, and be older than what was listed meanwhile, or of an object that is gone.
#[test]
fn an_answer_that_is_learned_while_a_list_is_read_replaces_nothing_newer_of_the_list() {
    let of = |uid: &str, version| {
        let mut task = task("t", version, &Value::Null);
        task.metadata.uid = Some(uid.into());
        TaskRow::new(task)
    };
    for (listed, learned, expected) in [
        (of("a", 6), of("a", 5), ("a", "6")),
        (of("a", 6), of("a", 7), ("a", "7")),
        (of("b", 6), of("a", 5), ("b", "6")),
    ] {
        let (mut table, mut listing) = (Table::default(), listing::Listing::default());
        table.apply(of("a", 4));
        listing.add(listed, table.get(&key("t")).map(AsRef::as_ref));
        table.learn(learned);
        listing.take_over(&mut table);
        let found = table.get(&key("t")).unwrap().metadata();
        assert_eq!((found.uid.as_deref(), found.resource_version.as_deref()), (Some(expected.0), Some(expected.1)));
    }
}

#[test]
fn a_task_that_waits_with_nothing_on_record_belongs_to_the_sandbox_that_is_deleted_meanwhile() {
    let deleting = || {
        let mut going = sandbox("s", 1, None);
        going.metadata.deletion_timestamp = Some(serde_json::from_value(json!(at(2))).unwrap());
        going.metadata.resource_version = Some("5".into());
        going
    };
    let of =
        |tables: &Tables, name: &str| tables.tasks.get(&key(name)).and_then(|row| row.sandbox_uid()).map(|uid| uid.0);
    for is_kept in [false, true] {
        let mut tables = with_pool();
        apply::<SandboxRow>(&mut tables, sandbox("s", 1, None));
        apply::<TaskRow>(&mut tables, task("waits", 4, &Value::Null));
        apply::<TaskRow>(&mut tables, task("later", 6, &Value::Null));
        apply::<TaskRow>(&mut tables, task("recorded", 4, &json!({ "state": "Pending", "sandboxUID": "before" })));
        assert_eq!(of(&tables, "waits"), None);
        if is_kept {
            apply::<SandboxRow>(&mut tables, deleting());
        } else {
            let change = Change { version: Some(5), ..tables.sandboxes.delete(&key("s")) };
            follow(&mut tables, &change);
        }
        let all = |tables: &Tables| ["waits", "later", "recorded"].map(|name| of(tables, name));
        assert_eq!(all(&tables), [Some("s".into()), None, Some("before".into())], "kept: {is_kept}");
        apply::<TaskRow>(&mut tables, task("waits", 7, &Value::Null));
        assert_eq!(of(&tables, "waits").as_deref(), Some("s"), "whatever else changes of it");
        if is_kept {
            let change = Change { version: Some(8), ..tables.sandboxes.delete(&key("s")) };
            follow(&mut tables, &change);
            assert_eq!(of(&tables, "later"), None, "it came for another");
        }
    }
    let mut tables = with_pool();
    apply::<SandboxRow>(&mut tables, sandbox("s", 1, None));
    apply::<TaskRow>(&mut tables, task("waits", 4, &Value::Null));
    delete::<SandboxRow>(&mut tables, "s");
    assert_eq!(of(&tables, "waits"), None, "when it went is not known: the Task may have come after that");
}

#[test]
fn a_pod_that_no_sandbox_controls_takes_none_of_the_pools_room() {
    let mut tables = with_pool();
    let owned = |name: &str, kind: &str| {
        let mut pod = claimed(name, "s");
        pod.metadata.owner_references.as_mut().unwrap()[0].kind = kind.into();
        pod
    };
    apply::<Pod>(&mut tables, owned("held", "Sandbox"));
    apply::<Pod>(&mut tables, owned("of-another", "ReplicaSet"));
    let mut orphan = owned("orphan", "Sandbox");
    orphan.metadata.owner_references = None;
    apply::<Pod>(&mut tables, orphan);
    let mut labelled = owned("labelled", "Sandbox");
    labelled.metadata.owner_references = None;
    labelled.metadata.labels.as_mut().unwrap().remove("arl.infra.io/pod-state");
    apply::<Pod>(&mut tables, labelled);
    assert_eq!(tables.held(&key("pool")), 1);
}

#[test]
fn labels_alone_do_not_make_a_pod_the_pools() {
    let mut tables = with_pool();
    apply::<SandboxRow>(&mut tables, sandbox("s", 0, None));
    apply::<Pod>(&mut tables, pod("labelled", 1, "a-replicaset"));
    let mut elsewhere = pod("elsewhere", 1, "pool");
    elsewhere.metadata.namespace = Some("other".into());
    apply::<Pod>(&mut tables, elsewhere);
    assert_eq!(candidate(&tables, "s"), None);
    apply::<Pod>(&mut tables, pod("its-own", 1, "pool"));
    assert_eq!(candidate(&tables, "s").as_deref(), Some("its-own"));
}

#[test]
fn a_pod_that_names_an_owner_in_another_namespace_is_not_its() {
    let mut tables = with_pool();
    apply::<Pod>(&mut tables, pod("a", 1, "pool"));
    let mut forged = claimed("forged", "s");
    forged.metadata.namespace = Some("other".into());
    apply::<Pod>(&mut tables, forged);
    apply::<SandboxRow>(&mut tables, sandbox("s", 0, None));
    assert_eq!(candidate(&tables, "s").as_deref(), Some("a"), "it still waits for a pod of its own");
    apply::<Pod>(&mut tables, claimed("owned", "s"));
    assert_eq!(candidate(&tables, "s"), None);
}

#[test]
fn first_come_first_served_in_whatever_order_they_are_heard_of() {
    let mut tables = with_pool();
    for (name, created) in [("third", 3), ("first", 1), ("fourth", 4), ("second", 2)] {
        apply::<SandboxRow>(&mut tables, sandbox(name, created, None));
        if name == "first" {
            assert_eq!(apply::<Pod>(&mut tables, pod("b", 2, "pool")), names(["first"]));
            assert_eq!(apply::<Pod>(&mut tables, pod("a", 1, "pool")), names(["third"]));
        }
    }
    assert_eq!(candidates(&tables, &["first", "second", "third", "fourth"]), ["b", "a", "-", "-"]);
    assert_eq!(delete::<Pod>(&mut tables, "b"), names(["first", "second"]), "it takes over from the last served");
    assert_eq!(candidates(&tables, &["first", "second", "third", "fourth"]), ["a", "-", "-", "-"]);
    assert_eq!(delete::<SandboxRow>(&mut tables, "first"), names(["first", "second"]));
    assert_eq!(candidate(&tables, "second").as_deref(), Some("a"));
}

#[test]
fn a_sandbox_whose_pod_can_be_claimed_no_more_is_woken_to_say_what_it_waits_for() {
    let mut tables = with_pool();
    apply::<SandboxRow>(&mut tables, sandbox("s", 1, None));
    assert_eq!(apply::<Pod>(&mut tables, pod("a", 1, "pool")), names(["s"]));
    let mut unready = pod("a", 1, "pool");
    unready.status = PodStatus::default();
    assert_eq!(apply::<Pod>(&mut tables, unready), names(["s"]), "its claim was just lost");
    assert_eq!(candidate(&tables, "s"), None);
    assert_eq!(apply::<Pod>(&mut tables, pod("a", 2, "pool")), names(["s"]));
    assert_eq!(apply::<Pod>(&mut tables, claimed("a", "somebody")), names(["s", "somebody"]));
}

#[test]
fn whoever_is_to_claim_a_pod_hears_of_each_change_of_it() {
    let mut tables = with_pool();
    apply::<SandboxRow>(&mut tables, sandbox("s", 1, None));
    apply::<SandboxRow>(&mut tables, sandbox("late", 2, None));
    apply::<Pod>(&mut tables, pod("a", 1, "pool"));
    let mut changed = pod("a", 1, "pool");
    changed.metadata.resource_version = Some("2".into());
    assert_eq!(apply::<Pod>(&mut tables, changed), names(["s"]), "its claim names another version");
}

#[test]
fn pods_of_the_present_template_come_first_then_those_that_were_ready_first() {
    let mut tables = with_pool();
    let mut old = pod("old", 0, "pool");
    old.metadata.annotations = None;
    for pod in [pod("late", 9, "pool"), old, pod("early", 5, "pool")] {
        apply::<Pod>(&mut tables, pod);
    }
    for (name, created) in [("a", 1), ("b", 2), ("c", 3)] {
        apply::<SandboxRow>(&mut tables, sandbox(name, created, None));
    }
    assert_eq!(candidates(&tables, &["a", "b", "c"]), ["early", "late", "old"]);
    apply::<WarmPool>(&mut tables, pool("pool", &json!({ "spec": { "containers": [] } })));
    delete::<SandboxRow>(&mut tables, "a");
    apply::<SandboxRow>(&mut tables, sandbox("d", 4, None));
    assert!(candidate(&tables, "d").is_some(), "one of an earlier template is better than none");
    delete::<WarmPool>(&mut tables, "pool");
    assert_eq!(candidates(&tables, &["b", "c", "d"]), ["-", "-", "-"]);
    apply::<WarmPool>(&mut tables, pool("pool", &json!({ "spec": {} })));
    assert_eq!(candidates(&tables, &["b", "c", "d"]), ["early", "late", "old"]);
}

#[test]
fn a_pod_that_is_on_record_is_nobody_elses() {
    let mut tables = with_pool();
    apply::<SandboxRow>(&mut tables, sandbox("holder", 0, Some("a")));
    apply::<SandboxRow>(&mut tables, sandbox("s", 1, None));
    apply::<Pod>(&mut tables, pod("a", 1, "pool"));
    assert_eq!(candidate(&tables, "s"), None, "its view is older than the record");
    delete::<SandboxRow>(&mut tables, "holder");
    assert_eq!(candidate(&tables, "s").as_deref(), Some("a"));
}

/// How many Sandboxes are woken where so many wait and so many get a pod, one after the other.
fn woken(waiting: usize, served: usize) -> usize {
    let mut tables = with_pool();
    for n in 0..waiting {
        apply::<SandboxRow>(&mut tables, sandbox(&format!("s{n:04}"), n, None));
    }
    // All pods become ready before the first claim is answered.
    let mut woken: usize =
        (0..served).map(|n| apply::<Pod>(&mut tables, pod(&format!("p{n:04}"), n, "pool")).len()).sum();
    for n in 0..served {
        let (name, pod) = (format!("s{n:04}"), format!("p{n:04}"));
        assert_eq!(candidate(&tables, &name).as_deref(), Some(pod.as_str()));
        woken += apply::<Pod>(&mut tables, claimed(&pod, &name)).len();
        woken += apply::<SandboxRow>(&mut tables, sandbox(&name, n, Some(&pod))).len();
    }
    woken
}

#[test]
fn a_claim_wakes_nobody_but_the_sandbox_however_many_wait() {
    for waiting in [10, 1000] {
        // When its pod is ready, when the claim is answered, when the status is.
        assert_eq!(woken(waiting, 10), 30, "of {waiting}");
    }
    assert_eq!(woken(1000, 1000), 3000);
}

#[test]
fn nothing_is_kept_of_those_who_are_gone() {
    let mut tables = with_pool();
    for n in 0..9 {
        apply::<SandboxRow>(&mut tables, sandbox(&format!("s{n}"), n, None));
        apply::<Pod>(&mut tables, pod(&format!("p{n}"), n, "pool"));
    }
    for n in 0..9 {
        delete::<Pod>(&mut tables, &format!("p{n}"));
        delete::<SandboxRow>(&mut tables, &format!("s{n}"));
    }
    delete::<WarmPool>(&mut tables, "pool");
    assert_eq!(format!("{tables:?}"), format!("{:?}", Tables::default()));
}

#[test]
fn only_what_is_newer_than_what_is_known_changes_it() {
    let mut tables = Tables::default();
    let of = |uid: &str, version: &str| {
        let mut sandbox = sandbox("s", 0, None);
        sandbox.metadata.uid = Some(uid.into());
        sandbox.metadata.resource_version = Some(version.into());
        SandboxRow::new(sandbox)
    };
    assert!(!tables.sandboxes.precedes(&of("a", "7")), "there is none");
    tables.sandboxes.apply(of("a", "7"));
    for (uid, version, newer) in
        [("a", "6", false), ("a", "7", false), ("a", "10", true), ("b", "10", false), ("a", "opaque", true)]
    {
        assert_eq!(tables.sandboxes.precedes(&of(uid, version)), newer, "{uid} {version}");
    }
}

#[test]
fn versions_are_those_of_the_objects_of_each_kind() {
    fn precedes<R: Row>(row: impl Fn(&Value) -> R) -> [bool; 2] {
        let of =
            |version: &str| row(&json!({ "name": "o", "namespace": "ns", "uid": "u", "resourceVersion": version }));
        let mut table = Table::default();
        drop(table.apply(of("7")));
        ["7", "8"].map(|version| table.precedes(&of(version)))
    }
    let template = json!({ "spec": {} });
    let pool = |metadata: &Value| {
        let spec = json!({ "replicas": 1, "template": template });
        serde_json::from_value::<WarmPool>(json!({ "metadata": metadata, "spec": spec })).unwrap()
    };
    let pod = |metadata: &Value| serde_json::from_value::<Pod>(json!({ "metadata": metadata })).unwrap();
    let task = |metadata: &Value| {
        let spec = json!({ "sandboxRef": "s", "steps": [] });
        TaskRow::new(serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap())
    };
    // That there is an older one is true of a newer version alone.
    assert_eq!([precedes(pool), precedes(pod), precedes(task)], [[false, true]; 3]);
}

fn second(n: usize) -> Timestamp {
    Timestamp::from_second(i64::try_from(n).unwrap()).unwrap()
}

fn refuse_pod(tables: &mut Tables, pod: &str, now: Timestamp) -> Vec<Key> {
    let version = Version::of(&**tables.pods.get(&key(pod)).unwrap());
    tables.refuse_pod(&version, "denied".into(), now)
}

fn refuse_sandbox(tables: &mut Tables, sandbox: &str, now: Timestamp) -> Vec<Key> {
    let row = Arc::clone(tables.sandboxes.get(&key(sandbox)).unwrap());
    tables.refuse_sandbox(&row, "denied".into(), now)
}

fn is_refused(tables: &Tables, sandbox: &str, now: Timestamp) -> bool {
    tables.claim_refusal(tables.sandboxes.get(&key(sandbox)).unwrap(), now).is_some()
}

/// Sandboxes a, b and c, and pods 1 and 2.
fn three_for_two() -> Tables {
    let mut tables = with_pool();
    for (created, name) in ["a", "b", "c"].into_iter().enumerate() {
        apply::<SandboxRow>(&mut tables, sandbox(name, created, None));
    }
    for name in ["1", "2"] {
        apply::<Pod>(&mut tables, pod(name, name.parse().unwrap(), "pool"));
    }
    tables
}

#[test]
fn a_pod_that_is_refused_is_left_alone_for_a_while_and_claimed_last() {
    let mut tables = three_for_two();
    apply::<Pod>(&mut tables, pod("3", 3, "pool"));
    delete::<SandboxRow>(&mut tables, "c");
    assert_eq!(candidates(&tables, &["a", "b"]), ["1", "2"]);
    assert_eq!(refuse_pod(&mut tables, "1", second(0)), [key("a")]);
    assert_eq!(candidates(&tables, &["a", "b"]), ["3", "2"]);
    apply::<SandboxRow>(&mut tables, sandbox("late", 9, None));
    assert_eq!(candidate(&tables, "late").as_deref(), Some("1"));
    assert!(is_refused(&tables, "late", second(0)), "not at once");
    assert!(!is_refused(&tables, "late", second(1)));
    assert!(!is_refused(&tables, "a", second(0)), "another pod is tried");
}

#[test]
fn nobody_waits_behind_a_sandbox_that_is_refused() {
    let mut tables = three_for_two();
    refuse_pod(&mut tables, "1", second(0));
    assert_eq!(refuse_sandbox(&mut tables, "a", second(0)), [key("c")]);
    assert_eq!(candidates(&tables, &["a", "b", "c"]), ["-", "2", "1"]);
    assert!(
        is_refused(&tables, "a", second(1))
            && is_refused(&tables, "c", second(0))
            && !is_refused(&tables, "c", second(1))
    );
    let row = Arc::clone(tables.sandboxes.get(&key("a")).unwrap());
    assert!(!tables.may_resume(&row, second(1)) && tables.may_resume(&row, second(2)));
    assert_eq!(tables.resume(&row), [key("a"), key("c")]);
    assert_eq!(candidates(&tables, &["a", "b", "c"]), ["1", "2", "-"], "in its old place");
    assert!(!is_refused(&tables, "a", second(2)));
}

#[test]
fn where_all_is_refused_it_is_tried_at_growing_intervals_by_everybody_in_turn() {
    let (mut tables, mut tries) = (three_for_two(), Vec::new());
    for now in (0..120).map(second) {
        for name in ["a", "b", "c"] {
            let row = Arc::clone(tables.sandboxes.get(&key(name)).unwrap());
            if tables.may_resume(&row, now) {
                tables.resume(&row);
            }
            let before = tries.len();
            while let (Some(pod), None) = (candidate(&tables, name), tables.claim_refusal(&row, now)) {
                refuse_pod(&mut tables, &pod, now);
                tries.push(name);
            }
            if tries.len() > before {
                refuse_sandbox(&mut tables, name, now);
            }
        }
    }
    assert!(tries.len() < 60, "{} tries of two pods in two minutes", tries.len());
    assert!(["a", "b", "c"].iter().all(|name| tries.contains(name)), "{tries:?}");
}

#[test]
fn pods_that_promise_to_stay_are_claimed_first() {
    let mut tables = with_pool();
    let on = |node: &str, restarts: i32, mut pod: Pod| {
        pod.spec.node_name = node.to_owned();
        pod.status.container_statuses = serde_json::from_value(json!([{ "restartCount": restarts }])).unwrap();
        pod
    };
    tables.set_node("cordoned", true);
    apply::<Pod>(&mut tables, on("n", 5, pod("crashes", 1, "pool")));
    apply::<Pod>(&mut tables, on("cordoned", 0, pod("drained", 2, "pool")));
    apply::<Pod>(&mut tables, on("n", 1, pod("stays", 3, "pool")));
    for (name, created) in [("a", 1), ("b", 2), ("c", 3)] {
        apply::<SandboxRow>(&mut tables, sandbox(name, created, None));
    }
    assert_eq!(candidates(&tables, &["a", "b", "c"]), ["stays", "drained", "crashes"]);
    assert_eq!(tables.set_node("cordoned", false), [key("b")], "it is paired anew");
    assert_eq!(tables.set_node("n", true), [key("a"), key("c")]);
    assert_eq!(candidates(&tables, &["a", "b", "c"]), ["stays", "drained", "crashes"], "there is no other for them");
    assert_eq!(tables.set_node("n", true), [], "it was closed before");
    for name in ["a", "b", "c"] {
        delete::<SandboxRow>(&mut tables, name);
    }
    apply::<SandboxRow>(&mut tables, sandbox("d", 4, None));
    assert_eq!(candidate(&tables, "d").as_deref(), Some("drained"), "its node is open now");
}

#[test]
fn objects_of_each_kind_count_for_their_namespace_alone() {
    let empty = Tables::default();
    assert!(!empty.has_any_in("ns"));
    let with = |apply: fn(&mut Tables)| {
        let mut tables = Tables::default();
        apply(&mut tables);
        ["n", "ns", "ns-2"].map(|namespace| tables.has_any_in(namespace))
    };
    let task = |tables: &mut Tables| {
        let metadata = json!({ "name": "t", "namespace": "ns", "uid": "t" });
        let task = json!({ "metadata": metadata, "spec": { "sandboxRef": "s", "steps": [] } });
        drop(tables.tasks.apply(TaskRow::new(serde_json::from_value(task).unwrap())));
    };
    for kind in [
        |tables: &mut Tables| drop(tables.pools.apply(pool("p", &json!({ "spec": {} })))),
        |tables: &mut Tables| drop(tables.sandboxes.apply(SandboxRow::new(sandbox("s", 0, None)))),
        task,
    ] {
        assert_eq!(with(kind), [false, true, false]);
    }
}

#[test]
fn pods_are_found_in_the_order_in_which_they_became_ready() {
    let mut tables = with_pool();
    for (name, ready) in [("late", 9), ("early", 5)] {
        apply::<Pod>(&mut tables, pod(name, ready, "pool"));
    }
    let mut starting = pod("starting", 0, "pool");
    starting.status = PodStatus::default();
    apply::<Pod>(&mut tables, starting);
    let idle = tables.pods.under(&PodIndex::Idle(key("pool"))).map(|pod| pod.key().name).collect::<Vec<_>>();
    assert_eq!(idle, ["starting", "early", "late"]);
}

#[test]
fn pods_rank_otherwise_once_a_template_is_another() {
    let mut tables = Tables::default();
    let of = |uid: &str, generation: Option<i64>, image: &str| {
        let mut pool = pool("pool", &json!({ "spec": { "containers": [{ "name": "c", "image": image }] } }));
        (pool.metadata.uid, pool.metadata.generation) = (Some(uid.into()), generation);
        pool
    };
    let (a, b) = (of("u", None, "a").spec.fingerprint(), of("u", None, "b").spec.fingerprint());
    for (what, pool, changes, template) in [
        ("it is new", of("u", Some(1), "a"), true, &a),
        ("nothing changed", of("u", Some(1), "a"), false, &a),
        ("a generation has one template", of("u", Some(1), "b"), false, &a),
        ("something else changed", of("u", Some(2), "a"), false, &a),
        ("another template", of("u", Some(3), "b"), true, &b),
        ("another pool of the name", of("v", Some(3), "b"), true, &b),
        ("one without a generation", of("v", None, "b"), false, &b),
        ("its template is looked at each time", of("v", None, "a"), true, &a),
    ] {
        assert_eq!(tables.set_template(&key("pool"), Some(&pool)), changes, "{what}");
        assert_eq!(tables.template(&key("pool")), Some(template.as_str()), "{what}");
    }
    assert_eq!([tables.set_template(&key("pool"), None), tables.set_template(&key("pool"), None)], [true, false]);
    assert_eq!(tables.template(&key("pool")), None);
}

#[test]
fn those_without_a_pod_are_counted_whether_or_not_they_sit_out() {
    let mut tables = three_for_two();
    let count = |tables: &Tables| (tables.would_claim(&key("pool")), tables.without_pod(&key("pool")));
    assert_eq!(count(&tables), (3, 3));
    refuse_sandbox(&mut tables, "a", second(0));
    assert_eq!(count(&tables), (2, 3));
    apply::<SandboxRow>(&mut tables, sandbox("a", 0, Some("1")));
    assert_eq!(count(&tables), (2, 2), "it has one");
    let mut another = sandbox("a", 0, None);
    another.metadata.uid = Some("another".into());
    apply::<SandboxRow>(&mut tables, another);
    assert_eq!(count(&tables), (3, 3), "it was not refused");
}

#[test]
fn the_refusal_of_a_sandbox_that_is_gone_is_forgotten() {
    let mut tables = three_for_two();
    for name in ["a", "b"] {
        refuse_sandbox(&mut tables, name, second(0));
    }
    delete::<SandboxRow>(&mut tables, "a");
    refuse_pod(&mut tables, "1", second(0));
    refuse_pod(&mut tables, "2", second(0));
    let row = Arc::clone(tables.sandboxes.get(&key("b")).unwrap());
    assert!(tables.may_resume(&row, second(2)), "that of one that is there is not");
    assert!(!format!("{tables:?}").contains("Uid(\"a\")"), "{tables:?}");
}

/// What a watch makes of events, and whom it has woken since it was last asked.
struct Watched {
    watch: Watch,
    listing: listing::Listing<SandboxRow>,
    woken: Arc<Mutex<BTreeSet<String>>>,
}

impl Watched {
    fn new() -> Self {
        let woken: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let note = Arc::clone(&woken);
        let wake = Arc::new(move |wake| {
            if let Wake::Sandbox(key) | Wake::Task(key) = wake {
                note.lock().unwrap().insert(key.name);
            }
        });
        let (clock, metrics) = (Clock::new(|| Timestamp::UNIX_EPOCH), Metrics::unread());
        let watch = Watch { cache: Arc::default(), clock, metrics, wake };
        Self { watch, listing: listing::Listing::default(), woken }
    }

    fn take(&mut self, event: watcher::Event<Guarded<Sandbox>>) -> BTreeSet<String> {
        self.watch.take(event, &mut self.listing);
        mem::take(&mut self.woken.lock().unwrap())
    }

    /// Part of a list: what is known then.
    fn list(&mut self, sandboxes: &[(&str, &str)]) -> Vec<(String, String)> {
        for (name, version) in sandboxes {
            let object = Guarded(Ok(at_version(name, version)));
            assert_eq!(self.take(watcher::Event::InitApply(object)), names([]), "nobody is woken by half a list");
        }
        self.known()
    }

    fn known(&self) -> Vec<(String, String)> {
        let tables = self.watch.cache.read();
        let known = |row: &SandboxRow| (row.key().name, row.metadata().resource_version.clone().unwrap());
        tables.sandboxes.rows().map(known).collect()
    }
}

fn at_version(name: &str, version: &str) -> Sandbox {
    let mut sandbox = sandbox(name, 0, None);
    sandbox.metadata.resource_version = Some(version.into());
    sandbox
}

fn known(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
}

#[test]
fn a_list_is_taken_over_as_a_whole_and_wakes_those_who_changed() {
    let mut watched = Watched::new();
    watched.take(watcher::Event::Init);
    assert_eq!(watched.list(&[("a", "1"), ("b", "2"), ("c", "3")]), []);
    assert_eq!(watched.take(watcher::Event::InitDone), names(["a", "b", "c"]));
    let before = known(&[("a", "1"), ("b", "2"), ("c", "3")]);
    assert_eq!(watched.known(), before);

    watched.take(watcher::Event::Init);
    assert_eq!(watched.list(&[("a", "1"), ("x", "9")]), before, "a list that breaks is forgotten");
    watched.take(watcher::Event::Init);
    assert_eq!(watched.list(&[("a", "1"), ("b", "5"), ("d", "4")]), before);
    assert_eq!(watched.take(watcher::Event::InitDone), names(["b", "c", "d"]));
    assert_eq!(watched.known(), known(&[("a", "1"), ("b", "5"), ("d", "4")]));
}

#[test]
fn what_was_learned_during_a_list_is_newer_than_the_list() {
    let mut watched = Watched::new();
    watched.take(watcher::Event::Init);
    watched.list(&[("a", "1"), ("b", "1")]);
    watched.take(watcher::Event::InitDone);
    watched.take(watcher::Event::Init);
    watched.list(&[("a", "2"), ("b", "1")]);
    for name in ["a", "b"] {
        watched.watch.learn::<SandboxRow>(at_version(name, "3"));
    }
    watched.take(watcher::Event::InitDone);
    assert_eq!(watched.known(), known(&[("a", "3"), ("b", "3")]));
    watched.take(watcher::Event::Init);
    watched.list(&[("a", "2")]);
    watched.take(watcher::Event::InitDone);
    assert_eq!(watched.known(), known(&[("a", "2")]), "a list is the truth whatever was known");
}

/// A list that was made before a write brings its object as it was.
#[test]
fn a_list_takes_no_object_back_to_what_it_was_before_a_write_that_no_watch_has_told_of() {
    let mut watched = Watched::new();
    let list = |watched: &mut Watched, listed: &[(&str, &str)], meanwhile: &dyn Fn(&mut Watched)| {
        watched.take(watcher::Event::Init);
        meanwhile(watched);
        watched.list(listed);
        watched.take(watcher::Event::InitDone);
        watched.known()
    };
    let told = |watched: &mut Watched, name: &str, version: &str| {
        watched.take(watcher::Event::Apply(Guarded(Ok(at_version(name, version)))));
    };
    list(&mut watched, &[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")], &|_| {});
    let listed = [("a", "4"), ("b", "4"), ("d", "4")];
    let found = list(&mut watched, &listed, &|watched| {
        for name in ["a", "b", "c"] {
            watched.watch.learn::<SandboxRow>(at_version(name, "5"));
        }
        told(watched, "a", "3");
        told(watched, "b", "5");
        told(watched, "d", "5");
    });
    assert_eq!(found, known(&[("a", "5"), ("b", "4"), ("d", "4")]), "of b and d a watch had told before; c is gone");
    watched.watch.learn::<SandboxRow>(at_version("d", "1000"));
    assert_eq!(list(&mut watched, &listed, &|_| {}), known(&listed), "etcd was restored from before the writes");
    told(&mut watched, "d", "6");
    assert_eq!(watched.known(), known(&[("a", "4"), ("b", "4"), ("d", "6")]), "and goes on from there");
    watched.watch.learn::<SandboxRow>(at_version("a", "6"));
    let mut another = at_version("a", "2");
    another.metadata.uid = Some("another".into());
    watched.take(watcher::Event::Init);
    watched.take(watcher::Event::InitApply(Guarded(Ok(another))));
    watched.take(watcher::Event::InitDone);
    assert_eq!(watched.known(), known(&[("a", "2")]), "another of its name is no older one");
}

#[test]
fn a_list_without_what_a_sandbox_rests_on_wakes_it_though_that_was_never_in_sight() {
    let mut watched = Watched::new();
    let mut setting_up = sandbox("setting-up", 0, Some("p"));
    setting_up.spec.setup = Some(serde_json::from_value(json!({ "steps": [] })).unwrap());
    setting_up.status.as_mut().unwrap().setup =
        Some(serde_json::from_value(json!({ "state": "Pending", "task": "t", "taskUID": "t" })).unwrap());
    for object in [setting_up, sandbox("holds", 0, Some("q")), sandbox("waits", 0, None)] {
        watched.take(watcher::Event::Apply(Guarded(Ok(object))));
    }
    let woken = |watched: &Watched| mem::take(&mut *watched.woken.lock().unwrap());
    watched.watch.take::<TaskRow>(watcher::Event::InitDone, &mut listing::Listing::default());
    assert_eq!(woken(&watched), names(["setting-up"]));
    watched.watch.take::<Pod>(watcher::Event::InitDone, &mut listing::Listing::default());
    assert_eq!(woken(&watched), names(["holds", "setting-up"]));
}

#[test]
fn a_sandbox_that_cannot_be_read_is_known_to_be_there_until_it_goes_or_can_be_read() {
    let mut watched = Watched::new();
    let unread = || {
        let object = json!({ "metadata": { "name": "s", "namespace": "ns" }, "status": { "phase": "Unheard" } });
        serde_json::from_value::<Guarded<Sandbox>>(object).unwrap()
    };
    drop(apply::<TaskRow>(&mut watched.watch.cache.write(), task("waits", 1, &Value::Null)));
    let is_unread = |watched: &Watched| watched.watch.cache.read().sandboxes.is_unread(&Key::new("ns", "s"));
    let list = |watched: &mut Watched, event: Option<Guarded<Sandbox>>| {
        watched.take(watcher::Event::Init);
        event.map(|object| watched.take(watcher::Event::InitApply(object)));
        let woken = watched.take(watcher::Event::InitDone);
        assert!(woken.contains("waits"), "who says so is told: {woken:?}");
        is_unread(watched)
    };
    let readable = || Guarded(Ok(at_version("s", "3")));
    assert!(list(&mut watched, Some(unread())));
    assert!(!list(&mut watched, Some(readable())));
    watched.take(watcher::Event::Apply(unread()));
    assert!(is_unread(&watched) && watched.known().is_empty());
    watched.take(watcher::Event::Apply(readable()));
    assert!(!is_unread(&watched) && !watched.known().is_empty());
    watched.take(watcher::Event::Apply(unread()));
    watched.take(watcher::Event::Delete(unread()));
    assert!(!is_unread(&watched));
    assert!(list(&mut watched, Some(unread())) && !list(&mut watched, None));
}
