//! Stories of Sandboxes that are set up.

use fastrand::Rng;
use serde_json::json;

use crate::{
    deeds::{Deeds, delete, pool, task},
    kind::Kind,
    kubelet::PodEvent,
    specs,
    users::{Deed, Fortune, Which},
};

/// Setups of any steps, with Tasks that come before, meanwhile and after; somebody deletes the Task of one, or the Sandbox.
pub fn set_ups(rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 3)), (rng.u64(3_000..9_000), pool("q", 2))];
    for n in 0..5 {
        let (name, at) = (format!("s{n}"), rng.u64(..5_000));
        let mut spec = json!({ "keepAlive": rng.bool(), "setup": specs::setup(rng) });
        if rng.bool() {
            spec["ttlSecondsAfterFinished"] = json!(rng.i64(0..9));
        }
        let pool = if n == 4 { "q" } else { "p" };
        if n == 4 {
            // Of one that waits for its pool, and then fails, the ttl is to be counted from that.
            spec["ttlSecondsAfterFinished"] = json!(3);
            spec["setup"] = json!({ "steps": [{ "name": "a", "type": "Command", "command": ["sim", "100", "3"] }] });
        }
        deeds.push((at, Deed::Sandbox { name: name.clone(), pool: pool.into(), spec: spec.clone() }));
        for m in 0..rng.u8(1..4) {
            deeds.push((rng.u64(..12_000), task(&format!("t{n}-{m}"), &name, &[(rng.u32(..600), 0)])));
        }
        match rng.u8(..6) {
            0..3 => deeds.push((at + rng.u64(2_000..8_000), Deed::DeleteSetup { sandbox: name.clone() })),
            3 => {
                let at = at + rng.u64(1_000..8_000);
                deeds.push((at, delete(Kind::Sandbox, &name)));
                deeds.push((at + rng.u64(1..200), Deed::Sandbox { name, pool: pool.into(), spec }));
            }
            _ => {}
        }
    }
    if rng.u8(..3) == 0 {
        let fates = [
            Fortune::Delete,
            Fortune::Kubelet(PodEvent::Evict),
            Fortune::Kubelet(PodEvent::EndContainer { oom: false }),
        ];
        deeds.push((
            rng.u64(2_000..9_000),
            Deed::Pod { which: Which::Allocated, what: fates[rng.usize(..fates.len())] },
        ));
    }
    deeds
}
