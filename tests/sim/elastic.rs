//! Stories of pools that follow what is asked for.

use fastrand::Rng;
use serde_json::{Value, json};

use crate::{
    deeds::{Deeds, delete, sandbox, task},
    kind::Kind,
    kubelet::{NO_SUCH_IMAGE, PodEvent},
    scenario::Scenario,
    users::{Deed, Fortune, Which},
};

/// They take turns with the others.
pub const ELASTIC: &[Scenario] =
    scenarios![elastic_bursts, elastic_limits, elastic_troubles, elastic_rolls, elastic_falls, elastic_full];

/// The quiet time of these pools is short, so that they are at rest when the history is.
fn scaling(max_replicas: i64, max_pods: Option<i64>, rng: &mut Rng) -> Value {
    let mut scaling = json!({ "maxReplicas": max_replicas, "scaleDownAfterSeconds": rng.i64(1..20) });
    if let Some(max_pods) = max_pods {
        scaling["maxPods"] = json!(max_pods);
    }
    scaling
}

fn template(image: &str) -> Value {
    json!({ "spec": { "containers": [{ "name": "executor", "image": image }] } })
}

fn pool(name: &str, replicas: i64, scaling: &Value) -> Deed {
    let spec = json!({ "replicas": replicas, "scaling": scaling, "template": template("v1") });
    Deed::Any { kind: Kind::WarmPool, name: name.into(), spec }
}

fn edit(name: &str, spec: Value) -> Deed {
    Deed::Edit { kind: Kind::WarmPool, name: name.into(), spec }
}

/// So many Sandboxes within half a second, some of which run a Task, and most of which are deleted again.
fn burst(deeds: &mut Deeds, from: u64, names: std::ops::Range<u32>, rng: &mut Rng) {
    for n in names {
        let (name, at) = (format!("s{n}"), from + rng.u64(..500));
        deeds.push((at, sandbox(&name, "p", rng.bool(), None)));
        if rng.bool() {
            deeds.push((at + rng.u64(..2_000), task(&format!("t{n}"), &name, &[(rng.u32(..900), 0)])));
        }
        if rng.u8(..4) > 0 {
            deeds.push((at + rng.u64(..15_000), delete(Kind::Sandbox, &name)));
        }
    }
}

/// A pool that sleeps, and bursts with quiet times between them.
fn elastic_bursts(rng: &mut Rng) -> Deeds {
    let scaling = scaling(rng.i64(2..9), None, rng);
    let mut deeds = vec![(0, pool("p", rng.i64(0..3), &scaling))];
    burst(&mut deeds, 3_000, 0..rng.u32(1..7), rng);
    burst(&mut deeds, rng.u64(5_000..12_000), 10..10 + rng.u32(1..7), rng);
    burst(&mut deeds, rng.u64(20_000..50_000), 20..20 + rng.u32(1..7), rng);
    deeds
}

/// More Sandboxes than there may be pods; those that have one give it up, one after the other.
fn elastic_limits(rng: &mut Rng) -> Deeds {
    let most = rng.i64(2..5);
    let scaling = scaling(most, Some(most + rng.i64(0..2)), rng);
    let mut deeds = vec![(0, pool("p", rng.i64(0..2), &scaling))];
    for n in 0..rng.u64(6..10) {
        let name = format!("s{n}");
        deeds.push((2_000 + n * rng.u64(1..400), sandbox(&name, "p", true, None)));
        if rng.u8(..3) > 0 {
            deeds.push((rng.u64(10_000..40_000), delete(Kind::Sandbox, &name)));
        }
    }
    // An image that rolls where there is no room for one more.
    deeds.push((rng.u64(6_000..30_000), edit("p", json!({ "template": template("v2") }))));
    deeds
}

/// What else may happen to them: limits that change, pods that are lost, a template that does not work for a while.
fn elastic_troubles(rng: &mut Rng) -> Deeds {
    let scaling = scaling(6, Some(8), rng);
    let mut deeds = vec![(0, pool("p", 1, &scaling))];
    burst(&mut deeds, 3_000, 0..rng.u32(3..9), rng);
    burst(&mut deeds, 24_000, 10..10 + rng.u32(3..9), rng);
    let strikes =
        [Fortune::Delete, Fortune::ForceDelete, Fortune::Kubelet(PodEvent::Evict), Fortune::Kubelet(PodEvent::Unready)];
    for _ in 0..rng.u8(..5) {
        let which = if rng.bool() { Which::Idle } else { Which::Any };
        deeds.push((rng.u64(3_000..35_000), Deed::Pod { which, what: strikes[rng.usize(..strikes.len())] }));
    }
    match rng.u8(..5) {
        0 => deeds.push((rng.u64(4_000..20_000), edit("p", json!({ "scaling": { "maxPods": rng.i64(6..12) } })))),
        1 => deeds.push((rng.u64(4_000..20_000), edit("p", json!({ "replicas": rng.i64(0..5) })))),
        2 => deeds.push((rng.u64(4_000..20_000), edit("p", json!({ "scaling": null })))),
        3 => deeds.extend([(22_000, Deed::Quota(Some(rng.usize(1..5)))), (45_000, Deed::Quota(None))]),
        _ => deeds.extend([
            (22_000, edit("p", json!({ "template": template(NO_SUCH_IMAGE) }))),
            (45_000, edit("p", json!({ "template": template("v2") }))),
        ]),
    }
    deeds
}

/// A template that changes where the pods that Sandboxes hold and the idle ones are as many as there may be.
fn elastic_rolls(rng: &mut Rng) -> Deeds {
    let (held, idle) = (rng.u32(1..4), rng.i64(1..3));
    let scaling = scaling(idle, Some(idle + i64::from(held)), rng);
    let mut deeds = vec![(0, pool("p", idle, &scaling))];
    for n in 0..held {
        deeds.push((2_000 + rng.u64(..8_000), sandbox(&format!("s{n}"), "p", true, None)));
    }
    deeds.push((rng.u64(35_000..40_000), edit("p", json!({ "template": template("v2") }))));
    deeds
}

/// A burst, after which the pool goes down in steps that its replicas are no multiple of.
fn elastic_falls(rng: &mut Rng) -> Deeds {
    let scaling = scaling(8, None, rng);
    let mut deeds = vec![(0, pool("p", 1, &scaling))];
    for n in 0..rng.u32(7..10) {
        let name = format!("s{n}");
        deeds.push((3_000 + rng.u64(..500), sandbox(&name, "p", true, None)));
        deeds.push((rng.u64(8_000..12_000), delete(Kind::Sandbox, &name)));
    }
    deeds
}

/// More Sandboxes than there may ever be pods: some wait until the end.
fn elastic_full(rng: &mut Rng) -> Deeds {
    let most = rng.i64(2..5);
    let scaling = scaling(most, Some(most), rng);
    let mut deeds = vec![(0, pool("p", rng.i64(0..2), &scaling))];
    for n in 0..rng.u64(7..10) {
        deeds.push((2_000 + rng.u64(..3_000), sandbox(&format!("s{n}"), "p", true, None)));
    }
    deeds.push((rng.u64(25_000..30_000), delete(Kind::Sandbox, "s0")));
    deeds
}
