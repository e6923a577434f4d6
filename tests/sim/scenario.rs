//! What people do in a history, and when: the milliseconds of each deed.

use arl_crds::ExecutorMode;
use fastrand::Rng;
use serde_json::json;

use crate::{
    deeds::{Deeds, crowd, delete, pool, sandbox, task, task_with},
    kind::Kind,
    kubelet::{ENDS, NO_SUCH_IMAGE, PodEvent},
    users::{Deed, Fortune, Which},
};

/// A named story.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub deeds: fn(&mut Rng) -> Deeds,
}

macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        &[$(Scenario { name: stringify!($name), deeds: $name }),+]
    };
}

/// Those that seeds take turns with; `chaos` comes up most.
pub const ALL: &[Scenario] = scenarios![
    chaos,
    pool_life,
    chaos,
    claim_bursts,
    chaos,
    endings,
    chaos,
    queues,
    chaos,
    in_flight,
    chaos,
    template_change,
    chaos,
    pool_deleted,
    chaos,
    namespace_deleted,
    chaos,
    troubles,
    chaos,
    names_again,
];

/// Short ones, for a crash at each of their writes.
pub const SHORT: &[Scenario] = scenarios![
    smoke,
    smoke_with_plain_exec,
    claim_bursts,
    endings,
    queues,
    in_flight,
    template_change,
    pool_deleted,
    names_again
];

/// All that may happen, where steps are run by plain exec.
pub const PLAIN_EXEC: Scenario = Scenario { name: "plain_exec", deeds: plain_exec };

/// A thousand Sandboxes on a few pods.
pub const THOUSAND: Scenario = Scenario { name: "thousand", deeds: thousand };

/// A hundred of them.
pub const HUNDRED: Scenario = Scenario { name: "hundred", deeds: hundred };

fn smoke(_: &mut Rng) -> Deeds {
    vec![(0, pool("p", 1)), (10, sandbox("s", "p", false, None)), (20, task("t", "s", &[(100, 0), (50, 0)]))]
}

fn by_plain_exec(mut deeds: Deeds) -> Deeds {
    for (_, deed) in &mut deeds {
        if let Deed::Pool { mode, .. } = deed {
            *mode = ExecutorMode::Exec;
        }
    }
    deeds
}

fn smoke_with_plain_exec(rng: &mut Rng) -> Deeds {
    by_plain_exec(smoke(rng))
}

fn plain_exec(rng: &mut Rng) -> Deeds {
    by_plain_exec(chaos(rng))
}

fn pool_life(rng: &mut Rng) -> Deeds {
    let scale = |replicas| Deed::Scale { name: "p".into(), replicas };
    let strike = |what| Deed::Pod { which: Which::Idle, what };
    let mut deeds =
        vec![(0, pool("p", 3)), (4_000, scale(5)), (8_000, scale(1)), (11_000, scale(0)), (13_000, scale(4))];
    for _ in 0..rng.u8(1..6) {
        let fates = [
            Fortune::Delete,
            Fortune::ForceDelete,
            Fortune::Kubelet(PodEvent::Evict),
            Fortune::Kubelet(PodEvent::Unready),
            Fortune::Annotate,
        ];
        deeds.push((rng.u64(500..16_000), strike(fates[rng.usize(..fates.len())])));
    }
    if rng.bool() {
        deeds.push((17_000, delete(Kind::WarmPool, "p")));
    }
    deeds
}

fn claim_bursts(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 2))];
    for n in 0..6 {
        let name = format!("s{n}");
        deeds.push((2_000 + rng.u64(..200), sandbox(&name, "p", true, None)));
        if rng.bool() {
            deeds.push((rng.u64(2_000..4_000), task(&format!("t{n}"), &name, &[(rng.u32(..300), 0)])));
        }
    }
    deeds.push((rng.u64(2_050..2_400), delete(Kind::Sandbox, "s1")));
    deeds
}

/// Every row of the table of what becomes of a Sandbox after its last Task.
fn endings(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 2))];
    let rows = [(false, None), (false, Some(4)), (true, None), (true, Some(4)), (false, Some(0)), (true, Some(0))];
    for (n, (keep_alive, ttl)) in rows.into_iter().enumerate() {
        let name = format!("s{n}");
        deeds.push((rng.u64(..3_000), sandbox(&name, "p", keep_alive, ttl)));
        deeds.push((rng.u64(1_000..5_000), task(&format!("t{n}"), &name, &[(rng.u32(..1_500), 0)])));
        if rng.bool() {
            deeds.push((rng.u64(2_000..6_000), task(&format!("u{n}"), &name, &[(100, rng.u8(..2))])));
        }
    }
    deeds
}

fn queues(rng: &mut Rng) -> Deeds {
    let mut deeds =
        vec![(0, pool("p", 1)), (100, sandbox("s", "p", rng.bool(), None)), (100, sandbox("r", "p", true, None))];
    for n in 0..5 {
        let steps = [(rng.u32(..400), 0), (rng.u32(..400), rng.u8(..2))];
        let ttl = if rng.bool() { json!({ "ttlSecondsAfterFinished": rng.u32(..6) }) } else { json!({}) };
        deeds.push((rng.u64(..3_000), task_with(&format!("t{n}"), if n < 4 { "s" } else { "r" }, &steps, ttl)));
    }
    deeds
}

/// Cancelled, deleted and timed out, waiting and running.
fn in_flight(rng: &mut Rng) -> Deeds {
    let cancel = |name: &str| Deed::Edit { kind: Kind::Task, name: name.into(), spec: json!({ "cancel": true }) };
    let at = |rng: &mut Rng| rng.u64(2_000..6_000);
    vec![
        (0, pool("p", 3)),
        (10, sandbox("s", "p", true, None)),
        (10, sandbox("r", "p", false, None)),
        (10, sandbox("q", "p", true, None)),
        (1_900, task("t0", "s", &[(1_000, 0), (2_000, 0)])),
        (1_910, task("t1", "s", &[(500, 0)])),
        (1_920, task("t2", "r", &[(3_000, 0)])),
        (1_930, task_with("t3", "q", &[(5_000, 0)], json!({ "timeout": "1500ms" }))),
        (1_940, task("t4", "q", &[(3_000, 0)])),
        (at(rng), cancel("t0")),
        (at(rng), cancel("t1")),
        (at(rng), delete(Kind::Task, "t2")),
        (at(rng), delete(Kind::Sandbox, "q")),
    ]
}

fn template_change(rng: &mut Rng) -> Deeds {
    let image = |image: &str| Deed::Image { name: "p".into(), image: image.into() };
    let mut deeds = vec![(0, pool("p", 3)), (2_500, image("v2"))];
    for n in 0..4 {
        deeds.push((rng.u64(2_000..6_000), sandbox(&format!("s{n}"), "p", true, None)));
    }
    if rng.bool() {
        deeds.push((rng.u64(3_000..7_000), image("v3")));
    }
    deeds
}

fn pool_deleted(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 2))];
    for n in 0..4 {
        deeds.push((rng.u64(1_500..4_000), sandbox(&format!("s{n}"), "p", true, None)));
    }
    let foreground = rng.bool();
    deeds.push((rng.u64(1_800..3_500), Deed::Delete { kind: Kind::WarmPool, name: "p".into(), foreground }));
    deeds.push((rng.u64(3_600..6_000), pool("p", 2)));
    deeds
}

fn namespace_deleted(rng: &mut Rng) -> Deeds {
    let mut deeds = chaos(rng);
    deeds.push((rng.u64(3_000..25_000), Deed::DeleteNamespace));
    if rng.bool() {
        deeds.extend([(32_000, Deed::Namespace), (32_100, pool("p0", 1)), (32_200, sandbox("s0", "p0", true, None))]);
    }
    deeds
}

/// Refusals, quotas and templates that do not work, each of which ends.
fn troubles(rng: &mut Rng) -> Deeds {
    let image = |image: &str| Deed::Image { name: "p".into(), image: image.into() };
    let mut deeds = vec![(0, pool("p", 3)), (500, sandbox("s", "p", true, None)), (30_000, image("v2"))];
    match rng.u8(..4) {
        0 => deeds.extend([(100, Deed::Quota(Some(2))), (20_000, Deed::Quota(None))]),
        1 => deeds.extend([(0, Deed::Admission(Some("a webhook says no".into()))), (20_000, Deed::Admission(None))]),
        2 => deeds.push((5_000, image(NO_SUCH_IMAGE))),
        _ => deeds.push((5_000, image(ENDS))),
    }
    deeds
}

/// Names that are used again at once.
fn names_again(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 2)), (10, sandbox("s", "p", true, None)), (20, task("t", "s", &[(400, 0)]))];
    for at in [2_500, 4_500] {
        let at = at + rng.u64(..300);
        deeds.extend([(at, delete(Kind::Sandbox, "s")), (at + rng.u64(1..40), sandbox("s", "p", rng.bool(), None))]);
        let at = at + rng.u64(..500);
        deeds.extend([(at, delete(Kind::Task, "t")), (at + rng.u64(1..40), task("t", "s", &[(400, 0)]))]);
    }
    deeds
}

fn thousand(rng: &mut Rng) -> Deeds {
    crowd(1_000, rng)
}

fn hundred(rng: &mut Rng) -> Deeds {
    crowd(100, rng)
}

fn chaos(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p0", rng.i64(0..4))), (rng.u64(..5_000), pool("p1", rng.i64(0..3)))];
    for _ in 0..rng.u32(10..60) {
        deeds.push((rng.u64(..30_000), any(rng)));
    }
    // In the end nothing stands in the way of what the specs ask for.
    deeds.extend([(30_001, Deed::Quota(None)), (30_002, Deed::Admission(None))]);
    deeds
}

fn any(rng: &mut Rng) -> Deed {
    let pool_name = format!("p{}", rng.u8(..2));
    let sandbox_name = format!("s{}", rng.u8(..6));
    let task_name = format!("t{}", rng.u8(..12));
    let foreground = rng.u8(..3) == 0;
    match rng.u8(..100) {
        0..25 => sandbox(&sandbox_name, &pool_name, rng.bool(), rng.bool().then(|| rng.i64(0..9))),
        25..50 => {
            let steps: Vec<_> = (0..rng.u8(1..4)).map(|_| (rng.u32(..1_500), u8::from(rng.u8(..6) == 0) * 3)).collect();
            let timeout = if rng.u8(..5) == 0 { json!({ "timeout": "900ms" }) } else { json!({}) };
            task_with(&task_name, &sandbox_name, &steps, timeout)
        }
        50..56 => Deed::Delete { kind: Kind::Sandbox, name: sandbox_name, foreground },
        56..62 => delete(Kind::Task, &task_name),
        62..66 => Deed::Edit { kind: Kind::Task, name: task_name, spec: json!({ "cancel": true }) },
        66..72 => Deed::Scale { name: pool_name, replicas: rng.i64(0..5) },
        72..75 => Deed::Image { name: pool_name, image: format!("v{}", rng.u8(1..4)) },
        75..77 => Deed::Delete { kind: Kind::WarmPool, name: pool_name, foreground },
        77..80 => pool(&pool_name, rng.i64(0..4)),
        80..82 => Deed::Edit { kind: Kind::Sandbox, name: sandbox_name, spec: json!({ "keepAlive": rng.bool() }) },
        82..84 => Deed::Quota(rng.bool().then(|| rng.usize(1..6))),
        84..86 => {
            let kinds = [Kind::Sandbox, Kind::Task, Kind::WarmPool];
            let names = [sandbox_name, task_name, pool_name];
            let n = rng.usize(..3);
            Deed::Annotate { kind: kinds[n], name: names[n].clone() }
        }
        _ => {
            let which = [Which::Idle, Which::Allocated, Which::Any][rng.usize(..3)];
            let fates = [
                Fortune::Delete,
                Fortune::ForceDelete,
                Fortune::Annotate,
                Fortune::Kubelet(PodEvent::Evict),
                Fortune::Kubelet(PodEvent::Unready),
                Fortune::Kubelet(PodEvent::EndContainer { oom: false }),
                Fortune::Kubelet(PodEvent::EndContainer { oom: true }),
            ];
            Deed::Pod { which, what: fates[rng.usize(..fates.len())] }
        }
    }
}
