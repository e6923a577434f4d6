//! What people do, ready to be put together to a scenario.

use arl_crds::ExecutorMode;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::{kind::Kind, users::Deed};

/// Deeds and their times.
pub type Deeds = Vec<(u64, Deed)>;

pub fn pool(name: &str, replicas: i64) -> Deed {
    Deed::Pool { name: name.into(), replicas, image: "v1".into(), mode: ExecutorMode::Agent }
}

pub fn sandbox(name: &str, pool: &str, keep_alive: bool, ttl: Option<i64>) -> Deed {
    let mut spec = json!({ "keepAlive": keep_alive });
    if let Some(ttl) = ttl {
        spec["ttlSecondsAfterFinished"] = json!(ttl);
    }
    Deed::Sandbox { name: name.into(), pool: pool.into(), spec }
}

/// A Task of steps that take so long and exit with these codes.
pub fn task(name: &str, sandbox: &str, steps: &[(u32, u8)]) -> Deed {
    task_with(name, sandbox, steps, json!({}))
}

pub fn task_with(name: &str, sandbox: &str, steps: &[(u32, u8)], mut spec: Value) -> Deed {
    let step = |(n, (takes, exit)): (usize, &(u32, u8))| json!({ "name": format!("step-{n}"), "type": "Command", "command": ["sim", takes.to_string(), exit.to_string()] });
    spec["steps"] = steps.iter().enumerate().map(step).collect();
    Deed::Task { name: name.into(), sandbox: sandbox.into(), spec }
}

pub fn delete(kind: Kind, name: &str) -> Deed {
    Deed::Delete { kind, name: name.into(), foreground: false }
}

pub fn image(name: &str, image: &str) -> Deed {
    Deed::Image { name: name.into(), image: image.into() }
}

pub fn scale(name: &str, replicas: i64) -> Deed {
    Deed::Scale { name: name.into(), replicas }
}

/// So many Sandboxes on a few pods, each with a Task.
pub fn crowd(sandboxes: u32, rng: &mut Rng) -> Deeds {
    let mut deeds = vec![(0, pool("p", 20)), (10, pool("q", 5))];
    for n in 0..sandboxes {
        let name = format!("s{n}");
        deeds.push((rng.u64(..20_000), sandbox(&name, if n % 4 == 0 { "q" } else { "p" }, n % 3 == 0, None)));
        deeds.push((rng.u64(..20_000), task(&format!("t{n}"), &name, &[(rng.u32(..50), 0)])));
    }
    deeds
}
