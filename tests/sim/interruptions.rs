//! Stories of calls that are refused for a while, and of nodes that do not answer.

use arl_crds::ExecutorMode;
use fastrand::Rng;
use serde_json::json;

use crate::{
    deeds::{Deeds, delete, image, pool, sandbox, scale, task, task_with},
    kind::Kind,
    kubelet::PodEvent,
    outages::Outage,
    users::{Deed, Fortune, Which},
};

/// The next Task comes while the one before it ends, and nobody may list them.
pub fn late_tasks(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 8)), (2_000, Deed::Refuse(Outage::of_task_lists(), 30_000))];
    for n in 0..8 {
        let name = format!("s{n}");
        deeds.push((2_500, sandbox(&name, "p", false, None)));
        deeds.push((3_500, task(&format!("t{n}"), &name, &[(2_500, 0)])));
        deeds.push((rng.u64(5_000..13_000), task(&format!("u{n}"), &name, &[(8_000, 0)])));
    }
    deeds
}

/// Enough going on, for long enough, that an outage is in somebody's way.
pub fn outages(rng: &mut Rng) -> Deeds {
    let mut deeds =
        vec![(0, Deed::Pool { name: "p".into(), replicas: 4, image: "v1".into(), mode: ExecutorMode::Agent })];
    for n in 0..6 {
        let (name, at) = (format!("s{n}"), rng.u64(2_000..20_000));
        deeds.push((at, sandbox(&name, "p", rng.bool(), rng.bool().then(|| rng.i64(3..9)))));
        deeds.push((at + rng.u64(..2_000), task(&format!("t{n}"), &name, &[(rng.u32(..9_000), 0)])));
        deeds.push((at + rng.u64(..9_000), task(&format!("u{n}"), &name, &[(rng.u32(..2_000), 0)])));
    }
    deeds.push((rng.u64(1_000..8_000), Deed::Refuse(Outage::drawn(rng), rng.u64(15_000..35_000))));
    deeds.push((rng.u64(5_000..25_000), scale("p", 2)));
    deeds.push((rng.u64(5_000..25_000), image("p", "v2")));
    deeds.push((45_000, scale("p", 3)));
    deeds
}

/// What has come to its end stays, since nobody may look at it or delete it.
pub fn refused_ends(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 6)), (6_000, Deed::Refuse(Outage::of_ends(rng), 35_000))];
    for n in 0..4 {
        let name = format!("s{n}");
        deeds.push((2_500, sandbox(&name, "p", false, (n > 1).then(|| rng.i64(3..6)))));
        let ends = json!({ "ttlSecondsAfterFinished": rng.u32(3..6) });
        deeds.push((3_500, task_with(&format!("t{n}"), &name, &[(rng.u32(2_500..4_000), 0)], ends)));
    }
    deeds.push((8_000, scale("p", 1)));
    // Nothing is refused any more once people are done.
    deeds.push((45_000, scale("p", 2)));
    deeds
}

/// Live processes that end while nobody reaches their pods, so that it is not known since when their Sandboxes are idle.
pub fn ends_out_of_reach(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 4)), (9_000, Deed::NodesAway(30_000))];
    for n in 0..4 {
        let name = format!("s{n}");
        deeds.push((3_000, sandbox(&name, "p", n % 2 == 0, Some(8))));
        deeds.push((7_500, Deed::Live { sandbox: name.clone(), takes: rng.u64(6_500..9_000) }));
    }
    deeds.push((45_000, scale("p", 2)));
    deeds
}

/// Tasks that no agent could be asked to start before its container was started again.
pub fn never_sent(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 6)), (9_000, Deed::NodesAway(rng.u64(2_000..9_000)))];
    for n in 0..6 {
        let name = format!("s{n}");
        deeds.push((3_000, sandbox(&name, "p", true, None)));
        deeds.push((rng.u64(9_001..9_300), task(&format!("t{n}"), &name, &[(500, 0)])));
    }
    let restart = Fortune::Kubelet(PodEvent::EndContainer { oom: false });
    deeds.extend((9_300..9_310).map(|at| (at, Deed::Pod { which: Which::Allocated, what: restart })));
    deeds
}

/// Sandboxes that cannot be served, or not be told so, until that works again; meanwhile some of their Tasks are cancelled.
pub fn refused_beginnings(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 3)), (6_000, Deed::Refuse(Outage::of_beginnings(rng), 30_000))];
    for (n, pool) in ["p", "p", "missing"].into_iter().enumerate() {
        let (name, waits) = (format!("s{n}"), format!("t{n}"));
        deeds.push((rng.u64(8_000..16_000), sandbox(&name, pool, true, None)));
        // One whose pool is missing is looked at by nobody else.
        if pool == "missing" {
            continue;
        }
        deeds.push((17_000, task(&waits, &name, &[(500, 0)])));
        if n == 0 || rng.bool() {
            deeds.push((22_000, Deed::Edit { kind: Kind::Task, name: waits, spec: json!({ "cancel": true }) }));
        }
    }
    // What has ended is looked at again.
    let look = |n| Deed::Annotate { kind: Kind::Task, name: format!("t{n}") };
    deeds.extend((0..2).map(|n| (46_000, look(n))));
    deeds
}

/// Claims all the time, while one operator after the other begins beside the first.
pub fn claims_side_by_side(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 5))];
    for n in 0..60 {
        let (name, at) = (format!("s{n}"), 1_500 + rng.u64(..30_000));
        deeds.push((at, sandbox(&name, "p", true, None)));
        deeds.push((at + rng.u64(1_000..9_000), delete(Kind::Sandbox, &name)));
    }
    deeds
}
