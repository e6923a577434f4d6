//! Pools that follow what is asked for: never above their limits, no Sandbox that waits beside a ready pod, and no going up and
//! down by itself.

use std::collections::BTreeMap;

use arl_crds::labels;
use serde_json::Value;
use tokio::time::Instant;

use super::{Facts, Ledger, Rule, STALE, idle_of, is_alive, is_ready};
use crate::{
    kind::{Id, Kind},
    store::{Entry, Store, controller, is_deleting, label, uid_of},
};

#[derive(Debug, Default)]
pub struct Elastic {
    /// What is remembered of each pool, by uid.
    pools: BTreeMap<String, Pool>,
}

#[derive(Debug, Default)]
struct Pool {
    /// Each `maxPods` it has had, and when another took its place; nothing stands for none.
    limits: Vec<(Option<u64>, Option<Instant>)>,
    /// When pods of it were last lost without the operator's doing.
    lost: Vec<Instant>,
    /// When something last happened that may ask for more pods.
    asked: Option<Instant>,
    /// Since when a Sandbox waits although a pod is ready.
    passed_over: Option<Instant>,
}

impl Elastic {
    pub fn check(&mut self, entry: &Entry, store: &Store, facts: &Facts, ledger: &mut Ledger) {
        let (before, after) = (entry.before.as_deref(), entry.after.as_deref());
        let Some(object) = after.or(before) else { return };
        let uid = match entry.id.kind {
            Kind::WarmPool => {
                self.pool(entry, before, after, store, facts, ledger);
                uid_of(object).to_owned()
            }
            Kind::Pod => {
                let pool = label(object, labels::WARMPOOL).and_then(|name| by_name(&entry.id, name, store));
                let Some(uid) = pool.map(|pool| uid_of(pool).to_owned()) else { return };
                self.pod(entry, (before, after), &uid, store, facts, ledger);
                uid
            }
            Kind::Sandbox => {
                let name = object["spec"]["poolRef"].as_str().unwrap_or_default();
                let Some(uid) = by_name(&entry.id, name, store).map(|pool| uid_of(pool).to_owned()) else { return };
                self.pools.entry(uid.clone()).or_default().asked = Some(entry.at);
                uid
            }
            _ => return,
        };
        if facts.is_orderly && facts.is_alone() {
            self.passed_over(&uid, store, ledger);
        }
    }

    fn pool(
        &mut self,
        entry: &Entry,
        before: Option<&Value>,
        after: Option<&Value>,
        store: &Store,
        facts: &Facts,
        ledger: &mut Ledger,
    ) {
        let Some(now) = after else { return };
        let pool = self.pools.entry(uid_of(now).to_owned()).or_default();
        if before.is_none_or(|before| before["spec"] != now["spec"]) {
            pool.asked = Some(entry.at);
            let limit = now["spec"]["scaling"]["maxPods"].as_u64();
            if pool.limits.last().is_none_or(|(last, _)| *last != limit) {
                if let Some((_, until)) = pool.limits.last_mut() {
                    *until = Some(entry.at);
                }
                pool.limits.push((limit, None));
            }
        }
        let wanted = |pool: &Value| pool["status"]["wanted"].as_i64();
        if let Some((was, is)) = before.and_then(wanted).zip(wanted(now)).filter(|_| facts.operators == 1) {
            let is_asked = pool.asked.is_some_and(|at| entry.at - at <= facts.oldest);
            let name = &entry.id.name;
            ledger.test(Rule::GrowsForDemand, is <= was || is_asked || waiting(&entry.id, name, store) > 0, || {
                format!("{} wanted {was} and wants {is}, and nobody asked", entry.id)
            });
        }
        let scaling = &now["spec"]["scaling"];
        if scaling.is_object() && now["status"]["observedGeneration"] == now["metadata"]["generation"] {
            let (most, least) = (scaling["maxReplicas"].as_i64(), now["spec"]["replicas"].as_i64());
            let in_bounds =
                |wanted: i64| Some(wanted) <= most && (Some(wanted) >= least || scaling.get("maxPods").is_some());
            ledger.test(Rule::WantedInBounds, wanted(now).is_none_or(in_bounds), || {
                format!("{} wants {:?} of {}", entry.id, wanted(now), now["spec"])
            });
        }
    }

    fn pod(
        &mut self,
        entry: &Entry,
        (before, after): (Option<&Value>, Option<&Value>),
        uid: &str,
        store: &Store,
        facts: &Facts,
        ledger: &mut Ledger,
    ) {
        let pool = self.pools.entry(uid.to_owned()).or_default();
        let ends = before.is_some_and(is_alive) && !after.is_some_and(is_alive);
        let was_idle = before.is_some_and(|pod| matches!(controller(pod), Some(("WarmPool", _))));
        match before {
            None if entry.by.is_operator() && facts.operators == 1 => {
                // A view may be from before the limit was lowered, or before a pod was lost.
                let recent = |(_, until): &&(_, Option<Instant>)| until.is_none_or(|at| at.elapsed() < STALE);
                let limits = pool.limits.iter().filter(recent).map(|(limit, _)| *limit);
                let most = limits.reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b))).flatten();
                let Some(most) = most else { return };
                let name = label_of(after);
                let (idle, held) = (idle_of(uid, store).count(), held(&entry.id, name, store));
                let lost = pool.lost.iter().filter(|at| at.elapsed() < STALE).count();
                let allowed = usize::try_from(most).unwrap_or(0) + lost;
                ledger.test(Rule::WithinMaxPods, idle + held <= allowed, || {
                    format!("{} is one of {idle} idle and {held} held pods, and there may be {most}", entry.id)
                });
            }
            // Giving up idle pods asks for none, nor does what becomes of them then.
            Some(pod) if is_alive(pod) && !(entry.by.is_operator() && ends && was_idle) => {
                pool.asked = Some(entry.at);
                if ends && !entry.by.is_operator() {
                    pool.lost.push(entry.at);
                }
            }
            _ => {}
        }
    }

    /// Where nothing goes wrong, nobody waits for long beside a pod that is ready.
    fn passed_over(&mut self, uid: &str, store: &Store, ledger: &mut Ledger) {
        let Some((id, object)) = store.by_uid(Kind::WarmPool, uid) else { return };
        let Some(pool) = self.pools.get_mut(uid).filter(|_| object["spec"]["scaling"].is_object()) else { return };
        let free = idle_of(uid, store).any(|(_, pod)| is_ready(pod));
        if !free || is_deleting(object) || waiting(id, &id.name, store) == 0 {
            pool.passed_over = None;
            return;
        }
        let since = *pool.passed_over.get_or_insert_with(Instant::now);
        ledger.test(Rule::NobodyPassedOver, since.elapsed() < STALE, || {
            format!("a Sandbox has waited for {:?} beside a ready pod of {id}", since.elapsed())
        });
    }
}

fn label_of(pod: Option<&Value>) -> &str {
    pod.and_then(|pod| label(pod, labels::WARMPOOL)).unwrap_or_default()
}

fn by_name<'a>(beside: &Id, name: &str, store: &'a Store) -> Option<&'a Value> {
    store.get(&Id::new(Kind::WarmPool, &beside.namespace, name)).map(|pool| &**pool)
}

/// The living pods of a pool that Sandboxes hold.
pub fn held(beside: &Id, pool: &str, store: &Store) -> usize {
    let is_held = |(id, pod): &(&Id, &std::sync::Arc<Value>)| {
        id.namespace == beside.namespace
            && label(pod, labels::WARMPOOL) == Some(pool)
            && label(pod, labels::POD_STATE) == Some("allocated")
            && is_alive(pod)
    };
    store.of(Kind::Pod).filter(is_held).count()
}

/// The Sandboxes that have no pod, on record or claimed.
pub fn waiting(beside: &Id, pool: &str, store: &Store) -> usize {
    let has_pod = |uid: &str| store.of(Kind::Pod).any(|(_, pod)| controller(pod) == Some(("Sandbox", uid)));
    let waits = |(id, sandbox): &(&Id, &std::sync::Arc<Value>)| {
        id.namespace == beside.namespace
            && sandbox["spec"]["poolRef"] == pool
            && sandbox["status"].get("podUID").is_none()
            && !is_deleting(sandbox)
            && !has_pod(uid_of(sandbox))
    };
    store.of(Kind::Sandbox).filter(waits).count()
}

/// The idle pods that a pool should have once nothing happens any more.
pub fn at_rest(id: &Id, pool: &Value, store: &Store) -> u64 {
    let (spec, scaling) = (&pool["spec"], &pool["spec"]["scaling"]);
    let replicas = spec["replicas"].as_u64().unwrap_or(0);
    let Some(most) = scaling["maxReplicas"].as_u64() else { return replicas };
    let count = |n: usize| u64::try_from(n).unwrap_or(0);
    let wanted = count(waiting(id, &id.name, store)).clamp(replicas, most);
    match scaling["maxPods"].as_u64() {
        Some(max_pods) => wanted.min(max_pods.saturating_sub(count(held(id, &id.name, store)))),
        None => wanted,
    }
}

/// The most idle pods that a pool may have at any time.
pub fn most(spec: &Value) -> i64 {
    spec["scaling"]["maxReplicas"].as_i64().or(spec["replicas"].as_i64()).unwrap_or(0)
}
