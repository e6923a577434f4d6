//! What the specs ask for, once nothing disturbs any more.

use std::collections::BTreeMap;

use arl_crds::{WarmPoolSpec, condition::STALLED, labels};
use serde_json::Value;

use crate::{
    contract::{Rule, condition, elastic, is_alive, is_finished, is_ready, is_running, setups::set_up_by},
    kind::{Id, Kind},
    kubelet::{CRASHES, ENDS, FAILS, NO_SUCH_IMAGE, breaks_by_itself},
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

/// Rules that were looked at, and what is not as they ask.
#[derive(Default)]
pub struct Findings(pub Vec<(Rule, Option<String>)>);

impl Findings {
    fn test(&mut self, rule: Rule, holds: bool, what: impl FnOnce() -> String) {
        self.0.push((rule, (!holds).then(what)));
    }

    /// What is not yet as the specs ask; nothing, when all is.
    pub fn missing(&self) -> Vec<String> {
        self.0.iter().filter_map(|(_, what)| what.clone()).collect()
    }
}

/// Looks at everything.
pub fn check(state: &State) -> Findings {
    let mut findings = Findings::default();
    let related = Related::of(state);
    pools(state, &related, &mut findings);
    sandboxes(state, &related, &mut findings);
    tasks(state, &mut findings);
    pods(state, &mut findings);
    for kind in [Kind::WarmPool, Kind::Sandbox, Kind::Task] {
        for (id, object) in state.store.of(kind).filter(|(_, object)| !is_deleting(object)) {
            let (generation, observed) = (&object["metadata"]["generation"], &object["status"]["observedGeneration"]);
            findings.test(Rule::GenerationAtRest, observed == generation, || format!("{id}'s status is of {observed}"));
            let stalled = condition(object, STALLED);
            findings.test(Rule::StalledOnlyMeanwhile, stalled.is_none(), || format!("{id} says {stalled:?}"));
        }
    }
    // What one of several operators had started, and died, another finds only when it opens its stream.
    let is_alone = state.contract.facts.operators == 1;
    for what in state.contract.runs.left(&state.store, &state.agents).into_iter().filter(|_| is_alone) {
        findings.test(Rule::DeletedTaskEnds, what.is_none(), || what.unwrap_or_default());
    }
    findings
}

/// Whether a pool can have what it asks for.
fn obstruction(state: &State, pool: &Value) -> Option<&'static [&'static str]> {
    let image = pool["spec"]["template"]["spec"]["containers"][0]["image"].as_str();
    match image {
        _ if state.store.quota.is_some() => Some(&["QuotaExceeded"]),
        _ if state.store.admission.is_some() => Some(&["Refused"]),
        Some(NO_SUCH_IMAGE) => Some(&["ImagePullBackOff"]),
        Some(ENDS) => Some(&["PodsDisrupted"]),
        Some(FAILS) => Some(&["PodsEnded"]),
        Some(CRASHES) => Some(&["CrashLoopBackOff", "PodsLate"]),
        _ => None,
    }
}

/// Whether something in the cluster goes on for ever, and the operator with it.
pub fn is_obstructed(state: &State) -> bool {
    state.store.of(Kind::WarmPool).any(|(_, pool)| obstruction(state, pool).is_some())
}

fn pools(state: &State, related: &Related<'_>, findings: &mut Findings) {
    for (id, pool) in state.store.of(Kind::WarmPool) {
        let (uid, replicas) = (uid_of(pool), elastic::at_rest(id, pool, &state.store));
        let mine = related.pods_of("WarmPool", uid);
        let spec: WarmPoolSpec = serde_json::from_value(pool["spec"].clone()).expect("a pool has a spec");
        let hash = spec.fingerprint();
        let current = |p: &&&Value| p["metadata"]["annotations"][labels::TEMPLATE_HASH] == hash.as_str();
        let ready = mine.iter().filter(|p| is_alive(p) && is_ready(p)).count() as u64;
        let idle = mine.iter().filter(|p| is_alive(p)).count() as u64;
        let fresh = mine.iter().filter(current).count();
        let outdated = mine.iter().filter(|p| is_alive(p) && !current(p)).count() as u64;
        let held = |(p, pod): &(&Id, &std::sync::Arc<Value>)| {
            p.namespace == id.namespace
                && label(pod, labels::WARMPOOL) == Some(&id.name)
                && label(pod, labels::POD_STATE) == Some("allocated")
                && is_alive(pod)
        };
        let held = state.store.of(Kind::Pod).filter(held).count() as u64;
        let status = &pool["status"];
        // What cannot be had may be one more, of a template that rolls.
        let most = u64::try_from(elastic::most(&pool["spec"])).unwrap_or(0);
        let has_surplus = idle > most + u64::from(obstruction(state, pool).is_some());
        findings.test(Rule::SurplusGoes, !has_surplus, || format!("{id} has {idle} idle pods, and {most} at most"));
        let asks = pool["spec"]["executor"]["connect"] == "Idle" && !is_deleting(pool);
        for pod in mine.iter().filter(|p| asks && is_alive(p) && is_ready(p) && is_running(p)) {
            let is_connected = state.alive().iter().any(|n| state.processes[*n].connected.contains(uid_of(pod)));
            findings.test(Rule::ConnectedAtRest, is_connected, || {
                format!("{id} has no stream to its idle pod {}", pod["metadata"]["name"])
            });
        }
        match obstruction(state, pool) {
            None => findings.test(
                Rule::PoolFull,
                ready == replicas && mine.len() as u64 == replicas && fresh == mine.len(),
                || {
                    format!(
                        "{id} asks for {replicas} pods: {ready} of {} are ready, {fresh} of the template",
                        mine.len()
                    )
                },
            ),
            Some(reasons) if ready < replicas => {
                let failing = condition(pool, "PodsFailing").cloned().unwrap_or_default();
                let says = failing["status"] == "True" && reasons.iter().any(|reason| failing["reason"] == *reason);
                findings.test(Rule::PoolSaysWhy, says, || {
                    format!("{id} is short of pods for {reasons:?} and says {failing}")
                });
            }
            Some(_) => {}
        }
        // What breaks and is made again is counted a moment later.
        let image = pool["spec"]["template"]["spec"]["containers"][0]["image"].as_str();
        if matches!(image, Some(ENDS | FAILS)) || mine.iter().any(|pod| breaks_by_itself(pod)) {
            continue;
        }
        let counts =
            [("ready", ready), ("allocated", held), ("replicas", idle), ("total", idle + held), ("outdated", outdated)];
        findings.test(Rule::CountsTrueAtRest, counts.iter().all(|(field, count)| status[field] == *count), || {
            format!("{id} has {counts:?} and says {status}")
        });
    }
}

fn sandboxes(state: &State, related: &Related<'_>, findings: &mut Findings) {
    for (id, sandbox) in state.store.of(Kind::Sandbox) {
        let (spec, status) = (&sandbox["spec"], &sandbox["status"]);
        let (owned, tasks) = (related.pods_of("Sandbox", uid_of(sandbox)), related.tasks_of(id));
        let ran = |t: &&&Value| {
            let its = t["status"]["sandboxUID"] == uid_of(sandbox) && set_up_by(t).is_none();
            its && t["status"].get("startedAt").is_some()
        };
        let ended = tasks.iter().filter(ran).any(|t| is_finished(t));
        let unfinished = tasks.iter().any(|t| !is_finished(t));
        let ttl = spec.get("ttlSecondsAfterFinished").and_then(Value::as_i64);
        match status["phase"].as_str() {
            None => findings.test(Rule::SandboxSaysWhy, false, || format!("{id} has no phase")),
            Some("Released") => {
                let expired = is_short(ttl) && !unfinished;
                findings.test(Rule::ExpiredAtRest, !expired, || format!("{id} is Released and should have gone"));
                findings
                    .test(Rule::ReleasedAtRest, owned.is_empty(), || format!("{id} is Released and still owns a pod"));
            }
            Some("Pending") => pending(state, id, spec, sandbox, findings),
            Some(phase) => {
                findings.test(Rule::SandboxServed, true, String::new);
                let [pod] = owned else {
                    let what = || format!("{id} has {} on record and owns {} pods", status["podUID"], owned.len());
                    findings.test(Rule::RecordTrueAtRest, false, what);
                    continue;
                };
                let same = status["podUID"] == uid_of(pod)
                    && is_alive(pod)
                    && status["podName"] == pod["metadata"]["name"]
                    && status.get("podIP") == pod["status"].get("podIP");
                findings.test(Rule::RecordTrueAtRest, same, || format!("{id} says {status} of {pod}"));
                let usable = is_ready(pod) && is_running(pod);
                let ready = condition(sandbox, "Ready").is_some_and(|c| c["status"] == "True");
                findings.test(Rule::ReadyFollowsPod, ready == usable, || {
                    format!("{id} says {status} of {}", pod["status"])
                });
                let ran_out = spec["keepAlive"] != true && ttl.is_none() && ended && !unfinished;
                findings
                    .test(Rule::ReleasedAtRest, !ran_out, || format!("{id} should be Released: its Tasks have ended"));
                let idle = is_short(ttl) && (ttl > Some(0) || ended) && !unfinished;
                findings.test(Rule::ExpiredAtRest, !idle, || format!("{id} should have expired"));
                let runs = tasks.iter().any(|t| t["status"]["state"] == "Running");
                findings.test(Rule::RecordTrueAtRest, runs || phase != "Bound", || {
                    format!("{id} is Bound and nothing runs")
                });
            }
        }
    }
}

fn pending(state: &State, id: &Id, spec: &Value, sandbox: &Value, findings: &mut Findings) {
    let name = spec["poolRef"].as_str().unwrap_or_default();
    let reason = &condition(sandbox, "Ready").map(|c| c["reason"].clone()).unwrap_or_default();
    if sandbox["status"].get("podUID").is_some() {
        let setup = &sandbox["status"]["setup"];
        return findings
            .test(Rule::SandboxServed, false, || format!("{id} is not set up yet, and says {reason}: {setup}"));
    }
    match state.store.get(&Id::new(Kind::WarmPool, &id.namespace, name)) {
        None => {
            findings
                .test(Rule::SandboxSaysWhy, reason == "PoolNotFound", || format!("{id} has no pool and says {reason}"));
        }
        Some(pool) if is_full(state, id, pool) => {
            findings.test(Rule::SandboxSaysWhy, reason == "PoolAtLimit", || {
                format!("{id} waits for a pool at its limit and says {reason}")
            });
        }
        Some(pool) if elastic::most(&pool["spec"]) == 0 || obstruction(state, pool).is_some() => {
            findings.test(Rule::SandboxSaysWhy, reason == "PoolEmpty", || {
                format!("{id} waits for a pod and says {reason}")
            });
        }
        Some(_) => {
            findings.test(Rule::SandboxServed, false, || format!("{id} waits for a pool that is there: {reason}"));
        }
    }
}

/// Whether a pool may have no more pods, and has those it may.
fn is_full(state: &State, beside: &Id, pool: &Value) -> bool {
    let most = pool["spec"]["scaling"]["maxPods"].as_u64().and_then(|most| usize::try_from(most).ok());
    let name = pool["metadata"]["name"].as_str().unwrap_or_default();
    most.is_some_and(|most| elastic::held(beside, name, &state.store) >= most)
}

fn tasks(state: &State, findings: &mut Findings) {
    for (id, task) in state.store.of(Kind::Task) {
        if is_finished(task) {
            let expired = is_short(task["spec"]["ttlSecondsAfterFinished"].as_i64());
            findings.test(Rule::ExpiredAtRest, !expired, || format!("{id} has ended and should have gone"));
            findings.test(Rule::TaskEndsOrSaysWhy, true, String::new);
            continue;
        }
        let sandbox = Id::new(Kind::Sandbox, &id.namespace, task["spec"]["sandboxRef"].as_str().unwrap_or_default());
        let reason = &condition(task, "Finished").map(|c| c["reason"].clone()).unwrap_or_default();
        let found = state.store.get(&sandbox);
        let waits = match found {
            None => reason == "SandboxNotFound",
            Some(sandbox) => {
                sandbox["status"]["phase"] == "Pending" && (reason == "SandboxNotReady" || reason == "Queued")
            }
        };
        findings.test(Rule::TaskEndsOrSaysWhy, waits && task["status"]["state"] == "Pending", || {
            format!("{id} has not ended: {} {reason}", task["status"]["state"])
        });
        let recorded = task["status"]["sandboxUID"].as_str();
        let gone = recorded.is_some() && found.is_none_or(|found| Some(uid_of(found)) != recorded);
        findings.test(Rule::TasksEndWithSandbox, !gone, || format!("{id} is of a Sandbox that was deleted, and waits"));
    }
}

/// A time to live that ends within the simulation.
fn is_short(ttl: Option<i64>) -> bool {
    ttl.is_some_and(|seconds| seconds < 60)
}

fn pods(state: &State, findings: &mut Findings) {
    for (id, pod) in state.store.of(Kind::Pod) {
        let owner = controller(pod).and_then(|(kind, uid)| match kind {
            "WarmPool" => state.store.by_uid(Kind::WarmPool, uid),
            _ => state.store.by_uid(Kind::Sandbox, uid),
        });
        findings.test(Rule::NothingLeftOver, owner.is_some(), || format!("{id} is left over"));
        let breaks = breaks_by_itself(pod);
        findings.test(Rule::NothingLeftOver, breaks || !is_deleting(pod), || format!("{id} has not gone yet"));
    }
}
