//! How many pods a pool has, and how fast it makes them.

use std::{collections::BTreeMap, time::Duration};

use arl_crds::labels;
use serde_json::Value;
use tokio::time::Instant;

use super::{Facts, Ledger, Rule, STALE, elastic::most, idle_of, is_alive, is_ready};
use crate::{
    kind::{Id, Kind},
    kubelet::breaks_by_itself,
    store::{Entry, Store, controller, is_deleting, label, uid_of},
};

/// In this time a back-off that grows to 60 s allows a handful of attempts, and none allows dozens.
const WINDOW: Duration = Duration::from_secs(60);
/// Attempts with growing pauses, which begin anew where the pool was full for a moment.
const ATTEMPTS: usize = 24;

#[derive(Debug, Default)]
pub struct Numbers {
    /// The most replicas a pool has ever asked for, and whether its template ever changed, by uid.
    asked: BTreeMap<String, (i64, bool)>,
    /// When idle pods of a pool were lost by others' doing, by the pool's uid: an old view of one that is gone may ask for its
    /// name again, so each may cost a surplus pod until the view is new.
    lost: BTreeMap<String, Vec<Instant>>,
    /// When pods of a pool were claimed, by its uid.
    claimed: BTreeMap<String, Vec<Instant>>,
    /// How many surplus pods were ever made for a pool, by its uid.
    surplus_made: BTreeMap<String, usize>,
    /// Since when a pool has more idle pods than it asks for, by its uid.
    surplus: BTreeMap<String, Instant>,
    /// When a pod of a pool broke by its template's fault, or was refused, by the pool's uid.
    broke: BTreeMap<String, Vec<Instant>>,
    /// When a pool's replicas were last changed, by uid.
    changed: BTreeMap<String, Instant>,
    /// When a pool's spec or one of its pods last changed, by the pool's name.
    moved: BTreeMap<String, Instant>,
}

impl Numbers {
    pub fn check(&mut self, entry: &Entry, store: &Store, facts: &Facts, ledger: &mut Ledger) {
        let (before, after) = (entry.before.as_deref(), entry.after.as_deref());
        self.counts(entry, store, facts, ledger);
        if let (Kind::WarmPool, Some(pool)) = (entry.id.kind, after) {
            self.asked(entry, pool);
        }
        match (entry.id.kind, after.or(before)) {
            (Kind::WarmPool, Some(pool)) => self.surplus(uid_of(pool), store, facts, ledger),
            (Kind::Pod, Some(pod)) => {
                if let Some(("WarmPool", pool)) = controller(pod) {
                    self.surplus(pool, store, facts, ledger);
                }
            }
            _ => {}
        }
        if entry.id.kind != Kind::Pod {
            return;
        }
        let Some(was) = before else {
            if let Some(pod) = after.filter(|_| entry.by.is_operator()) {
                self.number_of_pods(&entry.id, pod, store, facts, ledger);
            }
            return;
        };
        let Some(("WarmPool", pool)) = controller(was) else { return };
        let ends = is_alive(was) && !after.is_some_and(is_alive);
        if after.is_some_and(|pod| matches!(controller(pod), Some(("Sandbox", _)))) {
            self.claimed.entry(pool.to_owned()).or_default().push(entry.at);
        } else if ends && entry.by.is_operator() {
            self.operator_deletes(entry, was, pool, store, facts, ledger);
        } else if ends {
            self.lost.entry(pool.to_owned()).or_default().push(entry.at);
            if breaks_by_itself(was) {
                self.breaks(pool, facts, ledger);
            }
        }
    }

    /// What a pool said just before it, or one of its pods, changed, after a while in which none did.
    fn counts(&mut self, entry: &Entry, store: &Store, facts: &Facts, ledger: &mut Ledger) {
        let Some(object) = entry.before.as_deref().or(entry.after.as_deref()) else { return };
        let name = match entry.id.kind {
            Kind::WarmPool => entry.id.name.clone(),
            Kind::Pod => label(object, labels::WARMPOOL).unwrap_or_default().to_owned(),
            _ => return,
        };
        let is_quiet = self.moved.get(&name).is_some_and(|at| at.elapsed() > facts.stale + Duration::from_secs(1));
        let present = store.get(&Id::new(Kind::WarmPool, &entry.id.namespace, &name)).map(AsRef::as_ref);
        let pool = if entry.id.kind == Kind::WarmPool { entry.before.as_deref() } else { present };
        // Of several changes at once the others are in the store already.
        let is_only = store.version() == entry.version;
        if let Some(pool) = pool.filter(|pool| facts.is_plain() && is_quiet && is_only && !is_deleting(pool)) {
            let others = store.of(Kind::Pod).filter(|(id, _)| **id != entry.id).map(|(_, pod)| &**pod);
            let this = entry.before.as_deref().filter(|_| entry.id.kind == Kind::Pod);
            let here = |pod: &&Value| label(pod, labels::WARMPOOL) == Some(&name) && is_alive(pod);
            let pods: Vec<&Value> = others.chain(this).filter(here).collect();
            let idle = pods.iter().filter(|pod| controller(pod) == Some(("WarmPool", uid_of(pool))));
            let allocated = pods.iter().filter(|pod| label(pod, labels::POD_STATE) == Some("allocated")).count();
            let ready = idle.clone().filter(|pod| is_ready(pod)).count();
            let counts = [("ready", ready), ("replicas", idle.count()), ("allocated", allocated)];
            let same = counts.iter().all(|(field, count)| pool["status"][field] == *count as u64);
            ledger.test(Rule::CountsTrue, same, || format!("{name} has {counts:?} and says {}", pool["status"]));
        }
        if entry.id.kind == Kind::Pod || !entry.by.is_operator() {
            self.moved.insert(name, entry.at);
        }
    }

    fn asked(&mut self, entry: &Entry, pool: &Value) {
        let replicas = most(&pool["spec"]);
        let before = entry.before.as_deref();
        let changed = before.is_some_and(|b| b["spec"]["template"] != pool["spec"]["template"]);
        let asked = self.asked.entry(uid_of(pool).to_owned()).or_default();
        *asked = (asked.0.max(replicas), asked.1 || changed);
        if before.is_none_or(|b| b["spec"]["replicas"] != pool["spec"]["replicas"]) {
            self.changed.insert(uid_of(pool).to_owned(), entry.at);
        }
    }

    /// A pod of this pool broke, or could not be made.
    pub fn breaks(&mut self, pool: &str, facts: &Facts, ledger: &mut Ledger) {
        let broke = self.broke.entry(pool.to_owned()).or_default();
        broke.push(Instant::now());
        broke.retain(|at| at.elapsed() < WINDOW);
        let most = usize::try_from(self.asked.get(pool).map_or(0, |asked| asked.0)).unwrap_or(0);
        // What ends from outside is replaced at once a few times; a new process knows of no back-off.
        let allowed = (4 * most + ATTEMPTS) * facts.processes;
        ledger.test(Rule::BackOff, broke.len() <= allowed, || {
            format!("pods of pool {pool} broke or were refused {} times within {WINDOW:?}", broke.len())
        });
    }

    /// Idle pods above what is asked for, and the one more while a template rolls, go soon.
    fn surplus(&mut self, uid: &str, store: &Store, facts: &Facts, ledger: &mut Ledger) {
        let asked = store.by_uid(Kind::WarmPool, uid).map(|(_, pool)| most(&pool["spec"]));
        let rolled = self.asked.get(uid).is_some_and(|(_, rolled)| *rolled);
        let most = asked.and_then(|asked| usize::try_from(asked).ok()).map(|asked| asked + usize::from(rolled));
        if most.is_none_or(|most| idle_of(uid, store).count() <= most) {
            self.surplus.remove(uid);
            return;
        }
        let since = *self.surplus.entry(uid.to_owned()).or_insert_with(Instant::now);
        ledger.test(Rule::SurplusGoes, since.elapsed() <= facts.patience, || {
            format!("WarmPool {uid} has had surplus pods for {:?}", since.elapsed())
        });
    }

    /// A pool never has more idle pods than were ever asked for, and one more while a template rolls. Each operator beside another
    /// may fill it by a view from before the other's pods, and make up for claims by it, so far as that goes within one view.
    fn number_of_pods(&mut self, id: &Id, pod: &Value, store: &Store, facts: &Facts, ledger: &mut Ledger) {
        let Some(("WarmPool", pool)) = controller(pod) else { return };
        // What is made for a pool that has just gone is the garbage collector's.
        let Some((replicas, rolled)) =
            self.asked.get(pool).copied().filter(|_| store.by_uid(Kind::WarmPool, pool).is_some())
        else {
            return;
        };
        let idle = idle_of(pool, store).count();
        let most = usize::try_from(replicas).unwrap_or(0) + usize::from(rolled) + recent(&self.lost, pool);
        let made = self.surplus_made.entry(pool.to_owned()).or_default();
        *made += usize::from(idle > most);
        let allowed = 2 * most * facts.operators.saturating_sub(1);
        ledger.test(Rule::NumberOfPods, idle <= most || *made <= allowed, || {
            format!(
                "{id} is idle pod {idle} of its pool, which never asked for more than {most}: surplus pod {made}, with {} operators",
                facts.operators
            )
        });
    }

    /// What the operator gives up of a pool's idle pods, and what is left then.
    fn operator_deletes(
        &mut self,
        entry: &Entry,
        pod: &Value,
        pool: &str,
        store: &Store,
        facts: &Facts,
        ledger: &mut Ledger,
    ) {
        let Some((_, object)) = store.by_uid(Kind::WarmPool, pool).filter(|(_, pool)| !is_deleting(pool)) else {
            return;
        };
        if !facts.is_orderly || !is_ready(pod) {
            return;
        }
        // Of a second change the operator may not have heard yet.
        let is_first = object["metadata"]["generation"].as_i64() <= Some(2);
        let settled = self.changed.get(pool).is_some_and(|at| at.elapsed() > STALE);
        let image = |pod: &Value| pod["spec"]["containers"][0]["image"].clone();
        let present = object["spec"]["template"]["spec"]["containers"][0]["image"].clone();
        // Where there is no room for one more, an old one goes first.
        let may_surge = object["spec"]["scaling"].get("maxPods").is_none();
        let replicas = usize::try_from(object["spec"]["replicas"].as_i64().unwrap_or(0)).unwrap_or(0);
        let others = || idle_of(pool, store).filter(|(_, other)| uid_of(other) != uid_of(pod));
        let ready = others().filter(|(_, other)| is_ready(other)).count();
        let away = recent(&self.claimed, pool) + recent(&self.lost, pool);
        if settled && is_first && may_surge && image(pod) != present {
            ledger.test(Rule::ReadyBeforeOld, ready + away >= replicas, || {
                format!("{} goes, of an old template, and {ready} of {replicas} are ready", entry.id)
            });
        }
        let now = store.time();
        // One that was ready until a moment ago may still look so.
        let is_known = |other: &Value| {
            let ceased = super::time(&other["status"]["conditions"][0]["lastTransitionTime"]);
            let since = super::time(&other["metadata"]["creationTimestamp"]).max(ceased);
            !is_ready(other) && since.is_some_and(|at| now.duration_since(at).as_secs() > 15)
        };
        let unready = others().find(|(_, other)| is_known(other)).map(|(id, _)| id.clone());
        ledger.test(Rule::ScaleDownUnreadyFirst, unready.is_none(), || {
            format!("{} is ready and goes, and {unready:?} stays", entry.id)
        });
    }
}

fn recent(times: &BTreeMap<String, Vec<Instant>>, pool: &str) -> usize {
    times.get(pool).map_or(0, |times| times.iter().filter(|at| at.elapsed() < STALE).count())
}
