//! Stories of pools whose pods break, change or are too few.

use arl_crds::ExecutorMode;
use fastrand::Rng;

use crate::{
    deeds::{Deeds, image, pool, sandbox, scale, task},
    kubelet::{CRASHES, ENDS, FAILS, NO_SUCH_IMAGE, PodEvent},
    users::{Deed, Fortune, Which},
};

/// More wait than there are pods, several of them since the same second, and names are no help.
pub fn waiting_line(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(rng.u64(..3_000), pool("p", rng.i64(1..3)))];
    let mut names: Vec<u32> = (0..14).collect();
    rng.shuffle(&mut names);
    for (n, name) in (0_u64..).zip(names) {
        // Some come before the pool, most within two seconds of each other.
        let at = if n < 4 { n * 7 } else { 20_000 + n * rng.u64(1..150) };
        deeds.push((at, sandbox(&format!("s{name}"), "p", true, None)));
    }
    deeds
}

/// Pods break as soon as they are made, or cannot be made; for a while, or for good.
pub fn broken_pods(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", rng.i64(1..4)))];
    if rng.bool() {
        deeds.push((500, sandbox("s", "p", true, None)));
    }
    match rng.u8(..8) {
        0 => deeds.extend([(1, Deed::Quota(Some(0))), (70_000, Deed::Quota(None))]),
        1 => deeds.extend([(1, Deed::Admission(Some("a webhook says no".into()))), (70_000, Deed::Admission(None))]),
        n => {
            let broken = [FAILS, ENDS, CRASHES, NO_SUCH_IMAGE, FAILS, ENDS][usize::from(n) - 2];
            deeds.push((rng.u64(1..3_000), image("p", broken)));
            deeds.push((75_000, if rng.bool() { image("p", "v2") } else { scale("p", 2) }));
        }
    }
    deeds
}

/// A template that never gets ready, and then fewer pods.
pub fn unready_first(rng: &mut Rng) -> Deeds {
    vec![
        (0, pool("p", 3)),
        (rng.u64(4_000..6_000), image("p", NO_SUCH_IMAGE)),
        (rng.u64(35_000..40_000), scale("p", rng.i64(1..3))),
        (60_000, image("p", "v2")),
    ]
}

/// Template after template, with nobody in the way.
pub fn rolled(rng: &mut Rng) -> Deeds {
    let at = rng.u64(20_000..22_000);
    vec![(0, pool("p", rng.i64(1..5))), (at, image("p", "v2")), (at + rng.u64(1_000..9_000), image("p", "v3"))]
}

/// Pods that will never be ready, idle ones and those that Sandboxes hold, and one that is so again late.
pub fn never_ready(rng: &mut Rng) -> Deeds {
    let crashing = Deed::Pool { name: "q".into(), replicas: 2, image: CRASHES.into(), mode: ExecutorMode::Agent };
    let mut deeds = vec![(0, pool("p", rng.i64(1..4))), (0, crashing)];
    deeds.push((rng.u64(3_000..6_000), image("p", NO_SUCH_IMAGE)));
    for (n, pool) in ["p", "q", "q"].into_iter().enumerate() {
        deeds.push((rng.u64(..2_000), sandbox(&format!("s{n}"), pool, true, None)));
    }
    // Of the three, the one whose container runs is not ready for long enough that this is known everywhere.
    for at in 9_000..9_004 {
        let what = Fortune::Kubelet(PodEvent::UnreadyFor(25_000));
        deeds.push((at, Deed::Pod { which: Which::Allocated, what }));
    }
    deeds.push((22_000, task("t", "s0", &[(100, 0)])));
    deeds
}
