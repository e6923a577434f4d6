//! Stories that put single sentences of the contract to the test.

use fastrand::Rng;
use serde_json::json;

use crate::{
    deeds::{Deeds, delete, pool, sandbox, task, task_with},
    interruptions::{
        claims_side_by_side, ends_out_of_reach, late_tasks, never_sent, outages, refused_beginnings, refused_ends,
    },
    kind::Kind,
    kubelet::PodEvent,
    pools::{broken_pods, never_ready, rolled, unready_first, waiting_line},
    scenario::Scenario,
    setups::set_ups,
    specs,
    users::{Deed, Fortune, Which},
};

/// They take turns with the others.
pub const CONTRACT: &[Scenario] = scenarios![
    deleted_in_flight,
    keep_alive_and_ttl,
    waiting_line,
    broken_pods,
    unready_first,
    rolled,
    deletions,
    results,
    never_placed,
    idle_clocks,
    live_processes,
    drawn_specs,
    outages,
    after_the_end,
    long_runs,
    held_back,
    late_tasks,
    set_ups,
    refused_ends,
    ends_out_of_reach,
    never_ready,
    refused_beginnings,
    claims_side_by_side,
    never_sent,
];

/// Longer than a history.
const FOR_EVER: u32 = 3_000_000;

/// What such Tasks started would go on long after everybody has gone home.
fn deleted_in_flight(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 3))];
    for n in 0..3 {
        let (name, long, next) = (format!("s{n}"), format!("t{n}"), format!("u{n}"));
        deeds.push((rng.u64(..1_000), sandbox(&name, "p", rng.bool(), None)));
        deeds.push((1_000, task_with(&long, &name, &[(FOR_EVER, 0)], json!({ "timeout": "2h" }))));
        deeds.push((1_500, task(&next, &name, &[(rng.u32(..300), 0)])));
        deeds.push((rng.u64(4_000..30_000), delete(Kind::Task, &long)));
    }
    deeds
}

/// Every row of the table, each with its pod, and nothing else going on.
fn keep_alive_and_ttl(rng: &mut Rng) -> Deeds {
    let ttls = [None, None, Some(0), Some(3), Some(rng.i64(4..20))];
    let mut deeds = vec![(0, pool("p", 10))];
    for (n, (keep_alive, ttl)) in [false, true].into_iter().flat_map(|k| ttls.map(|ttl| (k, ttl))).enumerate() {
        let name = format!("s{n}");
        deeds.push((rng.u64(3_000..5_000), sandbox(&name, "p", keep_alive, ttl)));
        // Every fifth has no Task at all.
        for m in 0..if n % 5 == 1 { 0 } else { rng.u8(1..3) } {
            let at = rng.u64(3_000..7_000);
            deeds.push((at, task(&format!("t{n}-{m}"), &name, &[(rng.u32(..1_500), rng.u8(..2))])));
        }
    }
    deeds
}

/// The idle clock begins again with each Task.
fn idle_clocks(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 4))];
    for n in 0..4 {
        let (name, ttl) = (format!("s{n}"), rng.i64(4..8));
        deeds.push((2_000, sandbox(&name, "p", n % 2 == 0, Some(ttl))));
        let mut at = 2_500;
        for m in 0..rng.u8(1..5) {
            deeds.push((at, task(&format!("t{n}-{m}"), &name, &[(rng.u32(100..900), 0)])));
            at += rng.u64(500..4_500);
        }
    }
    deeds
}

/// Live processes keep their Sandbox from being idle, for longer than its ttl and again and again.
fn live_processes(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 6))];
    let ttls = [Some(3), Some(5), Some(0), None, Some(rng.i64(4..8)), Some(rng.i64(4..8))];
    for (n, ttl) in ttls.into_iter().enumerate() {
        let name = format!("s{n}");
        deeds.push((2_000, sandbox(&name, "p", n % 2 == 0, ttl)));
        let mut at = rng.u64(2_500..4_500);
        for m in 0..rng.u8(1..4) {
            let takes = rng.u64(..12_000);
            deeds.push((at, Deed::Live { sandbox: name.clone(), takes }));
            if rng.u8(..3) == 0 {
                deeds.push((at + rng.u64(..3_000), task(&format!("t{n}-{m}"), &name, &[(rng.u32(100..900), 0)])));
            }
            // Some of them overlap.
            at += rng.u64(takes / 2..=takes + 2_500);
        }
    }
    deeds
}

/// What the end of each kind ends.
fn deletions(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 4)), (0, pool("q", 1))];
    for n in 0..4 {
        let name = format!("s{n}");
        deeds.push((rng.u64(2_000..3_000), sandbox(&name, if n == 3 { "q" } else { "p" }, true, None)));
        deeds.push((3_000, task(&format!("t{n}"), &name, &[(rng.u32(2_000..4_000), 0)])));
        deeds.push((3_100, task(&format!("u{n}"), &name, &[(rng.u32(100..400), 0)])));
    }
    let foreground = rng.bool();
    deeds.push((rng.u64(4_000..7_000), Deed::Delete { kind: Kind::WarmPool, name: "p".into(), foreground }));
    deeds.push((
        rng.u64(4_000..6_000),
        Deed::Delete { kind: Kind::Sandbox, name: "s1".into(), foreground: !foreground },
    ));
    deeds.push((rng.u64(4_000..8_000), delete(Kind::Task, "u2")));
    deeds.push((rng.u64(6_000..12_000), delete(Kind::Sandbox, "s3")));
    if rng.bool() {
        deeds.push((20_000, delete(Kind::Sandbox, "s0")));
    }
    deeds
}

/// Ends of all kinds, in the middle of Tasks with several steps.
fn results(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 2)), (10, sandbox("s", "p", true, None)), (10, sandbox("r", "p", true, None))];
    for n in 0..8 {
        let steps: Vec<_> =
            (0..rng.u8(1..5)).map(|_| (rng.u32(..700), u8::from(rng.u8(..5) == 0) * rng.u8(1..9))).collect();
        let timeout =
            if rng.u8(..3) == 0 { json!({ "timeout": format!("{}ms", rng.u32(200..900)) }) } else { json!({}) };
        deeds
            .push((rng.u64(..9_000), task_with(&format!("t{n}"), if n % 2 == 0 { "s" } else { "r" }, &steps, timeout)));
    }
    let cancel = Deed::Edit { kind: Kind::Task, name: "t0".into(), spec: json!({ "cancel": true }) };
    deeds.push((rng.u64(3_000..9_000), cancel));
    deeds
}

/// What cannot be had says so for as long as it waits.
fn never_placed(rng: &mut Rng) -> Deeds {
    vec![
        (0, pool("none", 0)),
        (10, sandbox("s", "none", rng.bool(), None)),
        (rng.u64(..2_000), sandbox("r", "missing", rng.bool(), Some(3))),
        (rng.u64(..2_000), task("t0", "s", &[(10, 0)])),
        (rng.u64(..2_000), task("t1", "s", &[(10, 0)])),
        (rng.u64(..2_000), task("t2", "nobody", &[(10, 0)])),
        (rng.u64(2_000..4_000), task("t3", "r", &[(10, 0)])),
        (8_000, delete(Kind::Sandbox, "r")),
    ]
}

/// Specs with any of their fields.
fn drawn_specs(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, specs::pool("p0", rng)), (0, specs::pool("p1", rng))];
    for n in 0..5 {
        let name = format!("s{n}");
        deeds.push((rng.u64(..4_000), specs::sandbox(&name, &format!("p{}", n % 2), rng)));
        for m in 0..rng.u8(1..4) {
            deeds.push((rng.u64(1_000..9_000), specs::task(&format!("t{n}-{m}"), &name, rng)));
        }
    }
    deeds
}

/// Specs that are changed once all has been said.
fn after_the_end(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 2)), (10, sandbox("s", "p", true, None)), (10, sandbox("r", "p", false, None))];
    for n in 0..4 {
        let name = format!("t{n}");
        deeds.push((2_500, task(&name, if n < 3 { "s" } else { "r" }, &[(rng.u32(100..700), rng.u8(..2)), (50, 0)])));
        let spec = if n % 2 == 0 { json!({ "cancel": true }) } else { json!({ "ttlSecondsAfterFinished": 100_000 }) };
        deeds.push((rng.u64(12_000..20_000), Deed::Edit { kind: Kind::Task, name, spec }));
    }
    // One that ends before it starts, though its pod is ready.
    deeds.push((2_500, task_with("t4", "s", &[(50, 0)], json!({ "cancel": true }))));
    let spec = json!({ "ttlSecondsAfterFinished": 100_000 });
    deeds.push((rng.u64(12_000..20_000), Deed::Edit { kind: Kind::Task, name: "t4".into(), spec }));
    for name in ["s", "r"] {
        let spec = json!({ "ttlSecondsAfterFinished": 100_000 });
        deeds.push((rng.u64(14_000..20_000), Deed::Edit { kind: Kind::Sandbox, name: name.into(), spec }));
    }
    deeds
}

/// Tasks of many steps and of long ones; some are ended in the middle, and pods are not ready for a while.
fn long_runs(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 5))];
    for n in 0..4 {
        let (name, long) = (format!("s{n}"), format!("t{n}"));
        deeds.push((2_500, sandbox(&name, "p", true, None)));
        let steps: Vec<_> = match n {
            0 => vec![(200, 0), (rng.u32(11_000..16_000), rng.u8(..2)), (100, 0)],
            1 => vec![(rng.u32(11_000..16_000), 0), (300, 0)],
            _ => (0..40).map(|_| (rng.u32(300..900), 0)).collect(),
        };
        deeds.push((3_500, task_with(&long, &name, &steps, json!({ "timeout": "2m" }))));
        deeds.push((4_000, task(&format!("u{n}"), &name, &[(100, 0)])));
    }
    deeds.push((rng.u64(5_000..8_000), delete(Kind::Task, "t2")));
    let cancel = json!({ "cancel": true });
    deeds.push((rng.u64(5_000..8_000), Deed::Edit { kind: Kind::Task, name: "t3".into(), spec: cancel }));
    // A Task comes while its pod is not ready.
    for n in 0..12 {
        let at = 30_000 + n * 3_000;
        let what = Fortune::Kubelet(PodEvent::Unready);
        deeds.push((at, Deed::Pod { which: Which::Allocated, what }));
        deeds.push((at + rng.u64(1_500..2_800), task(&format!("v{n}"), &format!("s{}", n % 4), &[(50, 0)])));
    }
    deeds
}

/// What is deleted and held back by others is going all the same.
fn held_back(rng: &mut Rng) -> Deeds {
    let hold = |kind, name: &str, holds| Deed::Hold { kind, name: name.into(), holds };
    let mut deeds =
        vec![(0, pool("p", 3)), (2_500, sandbox("s", "p", true, None)), (2_500, sandbox("r", "p", true, None))];
    let steps: Vec<_> = (0..40).map(|_| (rng.u32(300..900), 0)).collect();
    deeds.push((3_500, task_with("t", "s", &steps, json!({ "timeout": "2m" }))));
    deeds.push((3_500, task("u", "r", &[(20_000, 0)])));
    let going = [(Kind::WarmPool, "p", 9_000), (Kind::Task, "t", 7_000), (Kind::Sandbox, "r", 8_000)];
    for (kind, name, at) in going {
        deeds.push((5_000, hold(kind, name, true)));
        deeds.push((at, delete(kind, name)));
        deeds.push((rng.u64(42_000..45_000), hold(kind, name, false)));
    }
    for at in [20_000, 25_000, 30_000] {
        deeds.push((at, Deed::Pod { which: Which::Idle, what: Fortune::Delete }));
    }
    deeds
}
