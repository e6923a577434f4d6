//! Pools that follow what is asked for, from the tables to the plan and the status.

mod astray;
mod cluster;
mod conditions;
mod counted;
mod disrupted;
mod kept;
mod slow;
mod unmarked;

use std::time::{Duration, Instant};

use arl_crds::{WarmPoolPhase, WarmPoolStatus, labels, reason::EventReason};
use serde_json::{Value, json};

use super::*;
use crate::{
    cache::{Cache, SandboxRow, Source, Wake},
    object::Key,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// What the caches hold of a pool, and what a process remembers of it.
struct Scene {
    cache: Cache,
    memories: Memories,
    now: Timestamp,
}

impl Scene {
    fn new(replicas: i64, scaling: &Value) -> Self {
        let scene = Self { cache: Cache::default(), memories: Memories::default(), now: at(100) };
        scene.pool(replicas, scaling, &Value::Null);
        scene
    }

    fn apply<S: Source>(&self, row: S) -> Vec<Wake> {
        let mut tables = self.cache.write();
        let change = S::table(&mut tables).apply(row);
        let now = self.now;
        S::remember(&change, &mut tables, &Clock::new(move || now));
        S::pair(&change, &mut tables);
        S::wakes(&change, &tables)
    }

    fn pool(&self, replicas: i64, scaling: &Value, status: &Value) -> Vec<Wake> {
        self.apply::<WarmPool>(object(&json!({
            "apiVersion": "arl.infra.io/v1alpha1", "kind": "WarmPool", "status": status,
            "metadata": { "name": "p", "namespace": "ns", "uid": "pool", "generation": 1 },
            "spec": { "replicas": replicas, "scaling": scaling, "template": template("v1") },
        })))
    }

    fn remember(&self, with: impl FnOnce(&mut Memory)) {
        self.memories.of(&Key::new("ns", "p"), &Uid("pool".into()), with);
    }

    /// A pod, as the operator makes it, in this state, that a Sandbox holds or nobody does.
    fn pod(&self, number: i64, ready: bool, holder: Option<&str>) -> Vec<Wake> {
        let hash = self.cache.read().template(&Key::new("ns", "p")).unwrap().to_owned();
        self.pod_of(&hash, number, ready, holder)
    }

    fn pod_of(&self, hash: &str, number: i64, ready: bool, holder: Option<&str>) -> Vec<Wake> {
        let state = if holder.is_some() { "allocated" } else { "ready" };
        let (kind, owner) = holder.map_or(("WarmPool", "pool"), |holder| ("Sandbox", holder));
        let status = if ready { "True" } else { "False" };
        self.apply::<Pod>(object(&json!({
            "metadata": {
                "name": format!("p-{number}"), "namespace": "ns", "uid": format!("pod-{number}"), "resourceVersion": "1",
                "creationTimestamp": self.now.to_string(),
                "labels": { labels::WARMPOOL: "p", labels::POD_STATE: state },
                "annotations": { labels::TEMPLATE_HASH: hash },
                "ownerReferences": [{ "apiVersion": "v1", "kind": kind, "name": owner, "uid": owner, "controller": true }],
            },
            "spec": { "containers": [{ "name": "executor" }] },
            "status": {
                "phase": "Running",
                "conditions": [{ "type": "Ready", "status": status, "lastTransitionTime": self.now.to_string() }],
                "containerStatuses": [{ "name": "executor", "containerID": "c", "state": { "running": {} } }],
            },
        })))
    }

    fn sandbox(&self, name: &str, status: &Value) -> Vec<Wake> {
        self.apply(SandboxRow::new(object(&json!({
            "apiVersion": "arl.infra.io/v1alpha1", "kind": "Sandbox", "spec": { "poolRef": "p" }, "status": status,
            "metadata": { "name": name, "namespace": "ns", "uid": name, "resourceVersion": "1" },
        }))))
    }

    /// What a reconcile decides and would write.
    fn reconciled(&self) -> (plan::Plan, WarmPoolStatus) {
        let key = Key::new("ns", "p");
        let observed = Observed::read(&self.cache, &key, &self.memories, &agent(), self.now).unwrap();
        let plan = plan::plan(&observed, self.now);
        self.memories.of(&key, &observed.uid(), |memory| memory.level = Some(observed.scale.level));
        (plan, status::status(&observed, self.now))
    }
}

fn agent() -> AgentImage {
    AgentImage { image: "agent".into(), pull_policy: "Never".into() }
}

fn object<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn template(image: &str) -> Value {
    json!({ "spec": { "containers": [{ "name": "executor", "image": image }] } })
}

fn scaling(max_pods: Option<i64>) -> Value {
    json!({ "maxReplicas": 10, "maxPods": max_pods, "scaleDownAfterSeconds": 60 })
}

fn limit(status: &WarmPoolStatus) -> Option<(&str, &str)> {
    let found = status.conditions.iter().find(|c| c.type_ == "ScalingLimited")?;
    Some((found.status.as_str(), found.reason.as_str()))
}

#[test]
fn a_pool_without_scaling_says_and_does_what_it_did() {
    let scene = Scene::new(2, &Value::Null);
    let woken = scene.sandbox("s", &Value::Null);
    assert!(!woken.iter().any(|wake| matches!(wake, Wake::Pool(_))), "{woken:?}");
    let (plan, status) = scene.reconciled();
    assert_eq!(plan.create, [1, 2]);
    assert_eq!((status.wanted, status.waiting, status.hit_rate, limit(&status)), (None, None, None, None));
}

#[test]
fn streams_are_opened_to_the_ready_idle_pods_of_a_pool_that_keeps_them_and_no_pod_is_replaced_for_that() {
    let scene = Scene::new(2, &Value::Null);
    scene.pod(1, true, None);
    scene.pod(2, false, None);
    scene.pod(3, true, Some("s"));
    for (connect, connected) in [("Claimed", &[][..]), ("Idle", &["p-1"])] {
        scene.apply::<WarmPool>(object(&json!({
            "apiVersion": "arl.infra.io/v1alpha1", "kind": "WarmPool",
            "metadata": { "name": "p", "namespace": "ns", "uid": "pool", "generation": 2 },
            "spec": { "replicas": 2, "template": template("v1"), "executor": { "connect": connect } },
        })));
        let (plan, _) = scene.reconciled();
        let pods: Vec<_> = plan.connect.iter().map(|target| target.pod.name.as_str()).collect();
        assert_eq!((&pods[..], plan.create.len(), plan.delete.len()), (connected, 0, 0), "{connect}");
    }
}

#[test]
fn a_pool_that_sleeps_wakes_with_the_sandbox_that_waits() {
    let mut scene = Scene::new(0, &scaling(None));
    let (plan, status) = scene.reconciled();
    assert_eq!((plan.create.len(), status.wanted, status.waiting), (0, Some(0), Some(0)));
    assert_eq!(limit(&status), Some(("False", "WithinLimits")));

    let woken = scene.sandbox("a", &Value::Null);
    assert!(woken.contains(&Wake::Pool(Key::new("ns", "p"))), "{woken:?}");
    scene.sandbox("b", &Value::Null);
    let (plan, status) = scene.reconciled();
    assert_eq!((plan.create.len(), status.wanted, status.waiting), (2, Some(2), Some(2)));

    scene.now = at(102);
    (1..3).for_each(|number| drop(scene.pod(number, true, None)));
    // One of them gets its pod: the other is not taken from it, and those that are to be spare are put off.
    scene.pod(1, true, Some("a"));
    let woken = scene.sandbox("a", &json!({ "podUID": "pod-1", "podName": "p-1" }));
    assert!(woken.contains(&Wake::Pool(Key::new("ns", "p"))), "{woken:?}");
    let (plan, status) = scene.reconciled();
    assert_eq!((plan.create.len(), plan.delete.len(), status.waiting, status.hit_rate), (0, 0, Some(1), Some(100)));
    assert_eq!(status.wanted, Some(3), "one waits, and half as many again as were claimed, rounded up");

    scene.pod(2, true, Some("b"));
    scene.sandbox("b", &json!({ "podUID": "pod-2", "podName": "p-2" }));
    scene.now = at(103);
    let (plan, status) = scene.reconciled();
    assert_eq!((plan.create.len(), status.wanted, status.allocated), (3, Some(3), 2), "now that claims are over");
    assert_eq!(plan.awaited, 0, "nobody waits for them");
}

#[test]
fn a_sandbox_whose_claim_is_seen_waits_no_more_before_that_is_on_record() {
    let scene = Scene::new(0, &scaling(None));
    scene.sandbox("a", &Value::Null);
    scene.pod(1, true, None);
    scene.pod(1, true, Some("a"));
    let (_, status) = scene.reconciled();
    assert_eq!((status.waiting, status.wanted), (Some(0), Some(2)), "half as many again as were claimed, rounded up");

    let scene = Scene::new(0, &scaling(Some(2)));
    for name in ["a", "b"] {
        scene.sandbox(name, &Value::Null);
    }
    scene.pod(1, true, Some("a"));
    assert!(!scene.cache.read().is_at_limit(&Key::new("ns", "p")), "there may be one for the other");
    scene.pod(2, true, Some("c"));
    assert!(scene.cache.read().is_at_limit(&Key::new("ns", "p")));
}

#[test]
fn pods_that_somebody_waits_for_are_not_put_off_in_a_burst() {
    let scene = Scene::new(0, &scaling(None));
    (1..5).for_each(|number| drop(scene.pod(number, true, None)));
    (1..4).for_each(|number| drop(scene.pod(number, true, Some("x"))));
    for name in ["a", "b", "c"] {
        scene.sandbox(name, &Value::Null);
    }
    let (plan, _) = scene.reconciled();
    assert_eq!(
        (plan.create.len(), plan.awaited),
        (2, 2),
        "three wait and one pod is there: what is wanted beyond that comes later"
    );
}

#[test]
fn there_are_never_more_pods_than_max_pods_while_a_template_rolls_too() {
    let mut scene = Scene::new(1, &scaling(Some(10)));
    (1..9).for_each(|number| drop(scene.pod(number, true, Some("x"))));
    // Two idle pods of an earlier template and eight held: ten.
    scene.pod_of("old", 9, true, None);
    scene.pod_of("old", 10, true, None);
    for name in ["a", "b", "c", "d"] {
        scene.sandbox(name, &json!({ "phase": "Pending" }));
    }
    scene.now = at(200);
    let (plan, status) = scene.reconciled();
    assert_eq!((plan.create.len(), plan.delete.len()), (0, 1), "one goes before one is made");
    assert_eq!((status.total, status.wanted, limit(&status)), (10, Some(2), Some(("True", "AtMaxPods"))));
    assert!(scene.cache.read().is_at_limit(&Key::new("ns", "p")));

    scene.cache.write().pods.delete(&Key::new("ns", "p-9"));
    let (plan, _) = scene.reconciled();
    assert_eq!((plan.create.len(), plan.delete.len()), (1, 0), "there is room for one");
}

#[test]
fn growth_stops_while_pods_cannot_be_scheduled_and_the_condition_says_so() {
    let scene = Scene::new(1, &scaling(None));
    scene.pod(1, false, None);
    {
        let mut tables = scene.cache.write();
        let mut pod = (**tables.pods.get(&Key::new("ns", "p-1")).unwrap()).clone();
        pod.status = object(&json!({ "phase": "Pending", "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available" },
        ] }));
        tables.pods.apply(pod);
    }
    for name in ["a", "b", "c", "d"] {
        scene.sandbox(name, &Value::Null);
    }
    let (plan, status) = scene.reconciled();
    assert_eq!((plan.create.len(), status.wanted, limit(&status)), (0, Some(1), Some(("True", "GrowthHeld"))));
    let said = &status.conditions.iter().find(|c| c.type_ == "ScalingLimited").unwrap().message;
    assert!(said.contains("0/1 nodes are available"), "{said}");
    assert!(!scene.cache.read().is_at_limit(&Key::new("ns", "p")));
}

#[test]
fn a_pool_grows_while_some_of_its_pods_start_however_slowly_or_badly_the_others_do() {
    let crashing = json!({ "phase": "Running", "containerStatuses": [
        { "name": "c", "restartCount": 3, "state": { "waiting": { "reason": "CrashLoopBackOff" } } },
    ] });
    let wanted = |second: &dyn Fn(&mut Pod)| {
        let mut scene = Scene::new(2, &scaling(None));
        for (number, change) in
            [(1, &(|pod: &mut Pod| pod.status = object(&crashing)) as &dyn Fn(&mut Pod)), (2, second)]
        {
            scene.pod(number, false, None);
            let mut tables = scene.cache.write();
            let mut pod = (**tables.pods.get(&Key::new("ns", &format!("p-{number}"))).unwrap()).clone();
            change(&mut pod);
            tables.pods.apply(pod);
        }
        for name in ["a", "b", "c", "d"] {
            scene.sandbox(name, &Value::Null);
        }
        scene.now = at(100);
        scene.reconciled().1.wanted
    };
    assert_eq!(wanted(&|pod| pod.status = object(&crashing)), Some(2), "all fail");
    assert_eq!(wanted(&|_| {}), Some(4), "one starts");
    let late = |pod: &mut Pod| {
        pod.status = object(&json!({ "phase": "Running", "conditions": [
            { "type": "PodScheduled", "status": "True" }, { "type": "Ready", "status": "False" },
        ], "containerStatuses": [{ "name": "c", "ready": false, "state": { "running": {} } }] }));
        pod.unready_since = Some(at(0));
    };
    assert_eq!(wanted(&late), Some(4), "one is late, and may become ready");
}

#[test]
fn it_shrinks_after_the_quiet_time_whoever_held_it_before() {
    let mut scene = Scene::new(1, &Value::Null);
    // An earlier process had ten on record.
    scene.pool(1, &scaling(None), &json!({ "wanted": 10, "hitRate": 80 }));
    (1..11).for_each(|number| drop(scene.pod(number, true, None)));
    let mut seen = Vec::new();
    for _ in 0..9 {
        let observed =
            Observed::read(&scene.cache, &Key::new("ns", "p"), &scene.memories, &agent(), scene.now).unwrap();
        let (plan, status) = scene.reconciled();
        for pod in &plan.delete {
            scene.cache.write().pods.delete(&pod.key);
        }
        seen.push((scene.now.as_second() - 100, status.wanted.unwrap(), plan.delete.len()));
        assert_eq!(status.hit_rate, Some(80), "until a Sandbox got a pod");
        match observed.scale.look_again {
            Some(next) => scene.now = next,
            None => break,
        }
    }
    assert_eq!(seen, [(0, 10, 0), (60, 8, 2), (66, 6, 2), (72, 4, 2), (78, 2, 2), (84, 1, 1)]);
}

#[test]
fn a_limit_has_one_event_when_it_is_met() {
    let scene = Scene::new(0, &scaling(Some(10)));
    let (_, before) = scene.reconciled();
    (0..11).for_each(|n| drop(scene.sandbox(&format!("s{n}"), &Value::Null)));
    let (_, limited) = scene.reconciled();
    let events =
        |before, after| status::events(Some(before), after).into_iter().map(|(reason, _)| reason).collect::<Vec<_>>();
    assert_eq!(events(&before, &limited), [EventReason::ScalingLimited]);
    assert_eq!(events(&limited, &limited), []);
    assert_eq!(events(&limited, &before), []);
}

#[test]
fn those_who_wait_look_again_when_the_limit_changes() {
    let scene = Scene::new(0, &scaling(Some(10)));
    scene.sandbox("s", &Value::Null);
    let wakes_s = |woken: Vec<Wake>| woken.contains(&Wake::Sandbox(Key::new("ns", "s")));
    let limited = |reason: &str| {
        json!({ "ready": 0, "conditions": [{ "type": "ScalingLimited", "status": "True", "reason": reason, "message": "m",
            "lastTransitionTime": at(0).to_string() }] })
    };
    assert!(!wakes_s(scene.pool(0, &scaling(Some(10)), &limited("AtMaxReplicas"))));
    assert!(wakes_s(scene.pool(0, &scaling(Some(10)), &limited("AtMaxPods"))));
    assert!(!wakes_s(scene.pool(0, &scaling(Some(10)), &limited("AtMaxPods"))), "nothing has changed");
    assert!(wakes_s(scene.pool(0, &scaling(Some(11)), &limited("AtMaxPods"))));
}

#[test]
fn what_waited_is_no_hit() {
    let scene = Scene::new(0, &scaling(None));
    for (name, before) in
        [("a", Value::Null), ("b", json!({ "phase": "Pending" })), ("c", json!({ "phase": "Pending" }))]
    {
        scene.sandbox(name, &before);
        scene.sandbox(name, &json!({ "podUID": name, "podName": name }));
    }
    assert_eq!(scene.reconciled().1.hit_rate, Some(33));
    assert_eq!(scene.cache.read().demand[&Key::new("ns", "p")].start(), Duration::from_secs(5), "none was seen");
}

#[test]
fn what_was_said_of_a_late_pod_stays_while_a_new_process_has_not_seen_it_for_long() {
    let mut scene = Scene::new(1, &Value::Null);
    let late = json!({ "ready": 0, "conditions": [{ "type": "PodsFailing", "status": "True", "reason": "PodsLate",
        "message": "pod p-1: it waits; do something", "lastTransitionTime": at(0).to_string() }] });
    scene.pool(1, &Value::Null, &late);
    scene.pod(1, false, None);
    let unready = (**scene.cache.read().pods.get(&Key::new("ns", "p-1")).unwrap()).clone();
    scene.apply(unready.seen_at(scene.now));
    let failing = |scene: &Scene| {
        let (_, status) = scene.reconciled();
        let found = status.conditions.into_iter().find(|c| c.type_ == "PodsFailing").unwrap();
        (found.reason, found.message)
    };
    let (reason, message) = failing(&scene);
    assert_eq!((reason.as_str(), message.as_str()), ("PodsLate", "pod p-1: it waits; do something"));
    scene.now = at(130);
    let (reason, message) = failing(&scene);
    assert!(reason == "PodsLate" && message.contains("no scheduler has given it a node"), "{message}");

    scene.now = at(100);
    scene.pod(1, true, None);
    assert_eq!(failing(&scene).0, "PodsHealthy", "it is ready");
    scene.cache.write().pods.delete(&Key::new("ns", "p-1"));
    scene.pod(2, false, None);
    assert_eq!(failing(&scene).0, "PodsHealthy", "it was another pod");
}

/// How long it takes to see whether a pool is at its limit, where so many Sandboxes have its pods, and as many wait.
fn cost_of_a_limit(number: i64) -> Duration {
    let scene = Scene::new(0, &json!({ "maxReplicas": 10, "maxPods": number, "scaleDownAfterSeconds": 60 }));
    for n in 0..number {
        let holder = format!("h-{n}");
        scene.pod(n, true, Some(&holder));
        let has = json!({ "podUID": format!("pod-{n}"), "podName": format!("p-{n}") });
        scene.sandbox(&holder, &has);
        scene.sandbox(&format!("w-{n}"), &Value::Null);
    }
    let tables = scene.cache.read();
    let cost = || {
        let begun = Instant::now();
        assert!(tables.is_at_limit(&Key::new("ns", "p")));
        begun.elapsed()
    };
    (0..100).map(|_| cost()).min().unwrap()
}

#[test]
fn a_thousand_that_wait_at_a_limit_cost_each_other_no_more_than_ten() {
    let (few, many) = (cost_of_a_limit(10), cost_of_a_limit(1000));
    assert!(many < 20 * few, "{many:?} beside {few:?}");
}

#[test]
fn counts_may_wait_and_the_rest_is_said_at_once() {
    let scene = Scene::new(2, &Value::Null);
    let status_of = |scene: &Scene| scene.reconciled().1;
    scene.pod(1, true, None);
    scene.pod(2, true, None);
    let full = status_of(&scene);
    scene.pod(2, true, Some("s"));
    let claimed = status_of(&scene);
    scene.pod(3, false, None);
    let starting = status_of(&scene);
    scene.pod(3, true, None);
    let full_again = status_of(&scene);
    scene.pod(3, true, Some("t"));
    scene.pod(1, true, Some("u"));
    let empty = status_of(&scene);
    assert_eq!((claimed.phase, empty.phase), (Some(WarmPoolPhase::Scaling), Some(WarmPoolPhase::Pending)));
    for (recorded, now, may) in [
        (&full, &claimed, false),
        (&claimed, &starting, true),
        (&starting, &empty, true),
        (&full, &full_again, true),
        (&starting, &full_again, false),
    ] {
        assert_eq!(status::may_wait(Some(recorded), now), may, "{recorded:?} {now:?}");
    }
    assert!(!status::may_wait(None, &full), "a pool that nothing was said of");
    let asked_otherwise = WarmPoolStatus { observed_generation: Some(2), ..starting.clone() };
    assert!(!status::may_wait(Some(&claimed), &asked_otherwise), "what was asked for last is heard");
    let mut failing = starting;
    failing.conditions[1].status = "True".into();
    assert!(!status::may_wait(Some(&claimed), &failing), "pods that fail");
}
