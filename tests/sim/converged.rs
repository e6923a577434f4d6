//! What the specs ask for, once nothing disturbs any more.

use std::collections::BTreeMap;

use arl_crds::{WarmPoolSpec, labels};
use serde_json::Value;

use crate::{
    invariants::{is_alive, is_finished},
    kind::{Id, Kind},
    kubelet::{ENDS, NO_SUCH_IMAGE},
    store::{controller, is_deleting, label, uid_of},
    world::State,
};

/// Pods by their controller and Tasks by their Sandbox, collected once: a look must not cost Sandboxes times pods.
struct Related<'a> {
    pods: BTreeMap<(&'a str, &'a str), Vec<&'a Value>>,
    tasks: BTreeMap<(&'a str, &'a str), Vec<&'a Value>>,
}

impl<'a> Related<'a> {
    fn of(state: &'a State) -> Self {
        let mut related = Self { pods: BTreeMap::new(), tasks: BTreeMap::new() };
        for (_, pod) in state.store.of(Kind::Pod) {
            if let Some(controller) = controller(pod) {
                related.pods.entry(controller).or_default().push(pod);
            }
        }
        for (id, task) in state.store.of(Kind::Task) {
            let sandbox = task["spec"]["sandboxRef"].as_str().unwrap_or_default();
            related.tasks.entry((&id.namespace, sandbox)).or_default().push(task);
        }
        related
    }

    fn pods_of(&self, kind: &'a str, uid: &'a str) -> &[&'a Value] {
        self.pods.get(&(kind, uid)).map(Vec::as_slice).unwrap_or_default()
    }

    fn tasks_of(&self, sandbox: &'a Id) -> &[&'a Value] {
        self.tasks.get(&(&*sandbox.namespace, &*sandbox.name)).map(Vec::as_slice).unwrap_or_default()
    }
}

/// What is not yet as the specs ask; nothing, when all is.
pub fn missing(state: &State) -> Vec<String> {
    let mut missing = Vec::new();
    let related = Related::of(state);
    pools(state, &related, &mut missing);
    sandboxes(state, &related, &mut missing);
    tasks(state, &mut missing);
    pods(state, &mut missing);
    missing
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"][0]["status"] == "True"
}

/// Whether a pool can have what it asks for.
fn is_obstructed(state: &State, pool: &Value) -> bool {
    let image = pool["spec"]["template"]["spec"]["containers"][0]["image"].as_str();
    state.store.quota.is_some() || state.store.admission.is_some() || matches!(image, Some(NO_SUCH_IMAGE | ENDS))
}

fn pools(state: &State, related: &Related<'_>, missing: &mut Vec<String>) {
    for (id, pool) in state.store.of(Kind::WarmPool) {
        let (uid, replicas) = (uid_of(pool), pool["spec"]["replicas"].as_u64().unwrap_or(0));
        let mine = related.pods_of("WarmPool", uid);
        let spec: WarmPoolSpec = serde_json::from_value(pool["spec"].clone()).expect("a pool has a spec");
        let hash = spec.fingerprint();
        let current = |p: &&&Value| p["metadata"]["annotations"][labels::TEMPLATE_HASH] == hash.as_str();
        let ready = mine.iter().filter(|p| is_alive(p) && is_ready(p)).count() as u64;
        let fresh = mine.iter().filter(current).count();
        let held = state
            .store
            .of(Kind::Pod)
            .filter(|(p, pod)| {
                p.namespace == id.namespace
                    && label(pod, labels::WARMPOOL) == Some(&id.name)
                    && label(pod, labels::POD_STATE) == Some("allocated")
                    && is_alive(pod)
            })
            .count();
        let status = &pool["status"];
        if !is_obstructed(state, pool) && (ready != replicas || mine.len() as u64 != replicas || fresh != mine.len()) {
            missing.push(format!(
                "{id} asks for {replicas} pods: {ready} of {} are ready, {fresh} of the template",
                mine.len()
            ));
        }
        if status["ready"] != ready || status["allocated"] != held {
            missing.push(format!(
                "{id} has {ready} ready and {held} held pods and says {} and {}",
                status["ready"], status["allocated"]
            ));
        }
        if status["observedGeneration"] != pool["metadata"]["generation"] {
            missing.push(format!("{id}'s status is of another generation"));
        }
    }
}

fn sandboxes(state: &State, related: &Related<'_>, missing: &mut Vec<String>) {
    for (id, sandbox) in state.store.of(Kind::Sandbox) {
        let (spec, status) = (&sandbox["spec"], &sandbox["status"]);
        let (owned, tasks) = (related.pods_of("Sandbox", uid_of(sandbox)), related.tasks_of(id));
        let ended = tasks.iter().any(|t| {
            is_finished(t) && t["status"]["sandboxUID"] == uid_of(sandbox) && t["status"].get("startedAt").is_some()
        });
        let unfinished = tasks.iter().any(|t| !is_finished(t));
        let complaint = match status["phase"].as_str() {
            None => Some("has no phase".to_owned()),
            Some("Released") if is_short(&spec["ttlSecondsAfterFinished"]) && !unfinished => {
                Some("is Released and should have gone".to_owned())
            }
            Some("Released") => (!owned.is_empty()).then(|| "is Released and still owns a pod".to_owned()),
            Some("Pending") => pending(state, id, spec, &status["conditions"][0]["reason"]),
            Some(_) => match owned {
                [pod] if status["podUID"] == uid_of(pod) && is_alive(pod) => {
                    let ran_out = spec["keepAlive"] != true
                        && spec.get("ttlSecondsAfterFinished").is_none()
                        && ended
                        && !unfinished;
                    let idle = spec
                        .get("ttlSecondsAfterFinished")
                        .and_then(Value::as_i64)
                        .is_some_and(|ttl| ttl < 60 && (ttl > 0 || ended))
                        && !unfinished;
                    if ran_out {
                        Some("should be Released: its Tasks have ended".to_owned())
                    } else if idle {
                        Some("should have expired".to_owned())
                    } else {
                        (status["phase"] == "Bound").then(|| "is Bound and nothing runs".to_owned())
                    }
                }
                pods => Some(format!("has {} on record and owns {} pods", status["podUID"], pods.len())),
            },
        };
        missing.extend(complaint.map(|c| format!("{id} {c}")));
    }
}

fn pending(state: &State, id: &Id, spec: &Value, reason: &Value) -> Option<String> {
    let name = spec["poolRef"].as_str().unwrap_or_default();
    match state.store.get(&Id::new(Kind::WarmPool, &id.namespace, name)) {
        None => (reason != "PoolNotFound").then(|| format!("has no pool and says {reason}")),
        Some(pool) if pool["spec"]["replicas"] == 0 || is_obstructed(state, pool) => None,
        Some(_) => Some(format!("waits for a pool that is there: {reason}")),
    }
}

fn tasks(state: &State, missing: &mut Vec<String>) {
    let expired = |t: &Value| is_finished(t) && is_short(&t["spec"]["ttlSecondsAfterFinished"]);
    let left = state.store.of(Kind::Task).filter(|(_, t)| expired(t));
    missing.extend(left.map(|(id, _)| format!("{id} has ended and should have gone")));
    for (id, task) in state.store.of(Kind::Task).filter(|(_, t)| !is_finished(t)) {
        let sandbox = Id::new(Kind::Sandbox, &id.namespace, task["spec"]["sandboxRef"].as_str().unwrap_or_default());
        let reason = &task["status"]["conditions"][0]["reason"];
        let waits = match state.store.get(&sandbox) {
            None => reason == "SandboxNotFound",
            Some(sandbox) => {
                sandbox["status"]["phase"] == "Pending" && (reason == "SandboxNotReady" || reason == "Queued")
            }
        };
        if !waits || task["status"]["state"] != "Pending" {
            missing.push(format!("{id} has not ended: {} {reason}", task["status"]["state"]));
        }
    }
}

/// A time to live that ends within the simulation.
fn is_short(ttl: &Value) -> bool {
    ttl.as_i64().is_some_and(|seconds| seconds < 60)
}

fn pods(state: &State, missing: &mut Vec<String>) {
    for (id, pod) in state.store.of(Kind::Pod) {
        let owner = controller(pod).and_then(|(kind, uid)| match kind {
            "WarmPool" => state.store.by_uid(Kind::WarmPool, uid),
            _ => state.store.by_uid(Kind::Sandbox, uid),
        });
        if owner.is_none() {
            missing.push(format!("{id} is left over"));
        } else if is_deleting(pod) {
            missing.push(format!("{id} has not gone yet"));
        }
    }
}
