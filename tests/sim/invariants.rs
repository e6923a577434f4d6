//! What must hold after every write, whatever went wrong before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use arl_crds::{condition::STALLED, labels};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    drawn,
    kind::{Id, Kind},
    store::{Entry, Store, controller, is_deleting, label, set, uid_of},
};

/// No view in a simulation is older.
const STALE: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
pub struct Invariants {
    /// What was found wrong.
    pub violations: Vec<String>,
    /// The Sandbox each pod has served, by uid.
    serves: BTreeMap<String, String>,
    /// The pod each Sandbox has used, by uid.
    uses: BTreeMap<String, String>,
    /// The most replicas a pool has ever asked for, and whether its template ever changed, by uid.
    asked: BTreeMap<String, (i64, bool)>,
    /// When idle pods of a pool were lost by others' doing, by the pool's uid: an old view of one that is gone may ask for its
    /// name again, so each may cost a surplus pod until the view is new.
    lost: BTreeMap<String, Vec<Instant>>,
    /// The most operator processes that there ever were at once.
    pub operators: usize,
    /// How many surplus pods were ever made for a pool, by its uid.
    surplus_made: BTreeMap<String, usize>,
    /// Since when a pool has more idle pods than it asks for, by its uid.
    surplus: BTreeMap<String, Instant>,
    /// The longest that surplus may last.
    pub patience: Duration,
    /// When the last Task of a Sandbox ended, by the Sandbox's uid, as the operators' clock had it.
    ended: BTreeMap<String, Timestamp>,
    /// The most that the operators' clock was ever ahead of the API server's, in milliseconds.
    pub most_ahead: i64,
    reported: BTreeSet<String>,
}

impl Invariants {
    pub fn violated(&mut self, what: String) {
        if self.reported.insert(what.clone()) {
            self.violations.push(what);
        }
    }

    /// Looks at one change.
    pub fn check(&mut self, entry: &Entry, store: &Store) {
        if let Some(what) = drawn::surprise(entry) {
            self.violated(what);
        }
        match (entry.id.kind, &entry.after) {
            (Kind::Pod, Some(pod)) => self.pod(entry, pod, store),
            (Kind::Sandbox, Some(sandbox)) => self.sandbox(entry, sandbox),
            (Kind::Task, Some(task)) => self.task(entry, task, store),
            (Kind::WarmPool, Some(pool)) => {
                let replicas = pool["spec"]["replicas"].as_i64().unwrap_or(0);
                let changed = entry.before.as_ref().is_some_and(|b| b["spec"]["template"] != pool["spec"]["template"]);
                let asked = self.asked.entry(uid_of(pool).to_owned()).or_default();
                *asked = (asked.0.max(replicas), asked.1 || changed);
            }
            (Kind::Pod, None) | (Kind::WarmPool | Kind::Sandbox | Kind::Task | Kind::Namespace, _) => {}
        }
        match (entry.id.kind, entry.after.as_ref().or(entry.before.as_ref())) {
            (Kind::WarmPool, Some(pool)) => self.surplus(uid_of(pool), store),
            (Kind::Pod, Some(pod)) => {
                if let Some(("WarmPool", pool)) = controller(pod) {
                    self.surplus(pool, store);
                }
            }
            _ => {}
        }
        if entry.by.is_operator() && matches!(entry.id.kind, Kind::Sandbox | Kind::Task) {
            self.expiry(entry, store);
        }
        if entry.id.kind == Kind::Pod && entry.by.is_operator() {
            self.deletion(entry, store);
        } else if let Some(pod) = &entry.before
            && let Some(("WarmPool", pool)) = controller(pod)
            && is_alive(pod)
            && !entry.after.as_deref().is_some_and(is_alive)
        {
            self.lost.entry(pool.to_owned()).or_default().push(entry.at);
        }
    }

    /// A pod serves one Sandbox at most, ever.
    fn served(&mut self, pod: &str, sandbox: &str, how: &str) {
        let served = self.serves.entry(pod.to_owned()).or_insert_with(|| sandbox.to_owned());
        if *served != sandbox {
            let what = format!("pod {pod} served Sandbox {served} and now {sandbox} ({how})");
            self.violated(what);
        }
    }

    fn pod(&mut self, entry: &Entry, pod: &Value, store: &Store) {
        if let Some(("Sandbox", owner)) = controller(pod) {
            self.served(uid_of(pod), owner, "its owner");
            if label(pod, labels::POD_STATE) != Some("allocated") {
                self.violated(format!("{} is owned by a Sandbox and not labelled as allocated", entry.id));
            }
        }
        if entry.before.is_none() && entry.by.is_operator() {
            self.number_of_pods(&entry.id, pod, store);
        }
    }

    /// Idle pods above what is asked for, and the one more while a template rolls, go soon.
    fn surplus(&mut self, uid: &str, store: &Store) {
        let asked = store.by_uid(Kind::WarmPool, uid).map(|(_, pool)| pool["spec"]["replicas"].as_u64().unwrap_or(0));
        let rolled = self.asked.get(uid).is_some_and(|(_, rolled)| *rolled);
        let most = asked.and_then(|asked| usize::try_from(asked).ok()).map(|asked| asked + usize::from(rolled));
        if most.is_none_or(|most| idle(uid, store) <= most) {
            self.surplus.remove(uid);
            return;
        }
        let since = *self.surplus.entry(uid.to_owned()).or_insert_with(Instant::now);
        if since.elapsed() > self.patience {
            self.violated(format!("WarmPool {uid} has had surplus pods for {:?}", since.elapsed()));
        }
    }

    /// A pool never has more idle pods than were ever asked for, and one more while a template rolls. Each operator beside another
    /// may fill it by a view from before the other's pods, and make up for claims by it, so far as that goes within one view.
    fn number_of_pods(&mut self, id: &Id, pod: &Value, store: &Store) {
        let Some(("WarmPool", pool)) = controller(pod) else {
            return self.violated(format!("{id} was created without a pool that owns it"));
        };
        // What is made for a pool that has just gone is the garbage collector's.
        let Some((replicas, rolled)) =
            self.asked.get(pool).copied().filter(|_| store.by_uid(Kind::WarmPool, pool).is_some())
        else {
            return;
        };
        let idle = idle(pool, store);
        let recent = |at: &&Instant| at.elapsed() < STALE;
        let lost = self.lost.get(pool).map_or(0, |lost| lost.iter().filter(recent).count());
        let most = usize::try_from(replicas).unwrap_or(0) + usize::from(rolled) + lost;
        if idle <= most {
            return;
        }
        let made = self.surplus_made.entry(pool.to_owned()).or_default();
        *made += 1;
        if *made > 2 * most * self.operators.saturating_sub(1) {
            let what = format!(
                "{id} is idle pod {idle} of its pool, which never asked for more than {most}: surplus pod {made}, with {} operators",
                self.operators
            );
            self.violated(what);
        }
    }

    /// A Sandbox uses one pod at most, ever, and what it has on record stays.
    fn sandbox(&mut self, entry: &Entry, sandbox: &Value) {
        let uid = uid_of(sandbox);
        let pod = sandbox["status"]["podUID"].as_str();
        if let Some(pod) = pod {
            let used = self.uses.entry(uid.to_owned()).or_insert_with(|| pod.to_owned()).clone();
            if used != pod {
                self.violated(format!("{} used pod {used} and now {pod}", entry.id));
            }
            self.served(pod, uid, "a Sandbox's status");
        }
        let Some(before) = &entry.before else { return };
        if before["status"]["podUID"].as_str().is_some() && pod != before["status"]["podUID"].as_str() {
            self.violated(format!("{} lost its record of a pod", entry.id));
        }
        if before["status"]["phase"] == "Released" && sandbox["status"]["phase"] != "Released" {
            self.violated(format!("{} was Released and is {}", entry.id, sandbox["status"]["phase"]));
        }
    }

    /// A Task that has ended stays as it is, and Tasks of a Sandbox run one at a time, in order.
    fn task(&mut self, entry: &Entry, task: &Value, store: &Store) {
        let Some(before) = &entry.before else { return };
        if let Some((sandbox, at)) = task["status"]["sandboxUID"].as_str().zip(time(&task["status"]["completedAt"])) {
            let ended = self.ended.entry(sandbox.to_owned()).or_insert(at);
            *ended = at.max(*ended);
        }
        if is_finished(before) && report(before) != report(task) {
            self.violated(format!(
                "{} had ended and was changed: {} -> {}",
                entry.id, before["status"], task["status"]
            ));
        }
        let starts = before["status"]["state"] != "Running" && task["status"]["state"] == "Running";
        if !starts {
            return;
        }
        let mine = arrival(task);
        let first = store.of(Kind::Task).find(|(id, other)| {
            **id != entry.id
                && id.namespace == entry.id.namespace
                && other["spec"]["sandboxRef"] == task["spec"]["sandboxRef"]
                && !is_finished(other)
                && (other["status"]["state"] == "Running" || arrival(other) < mine)
        });
        if let Some((other, _)) = first {
            let what = format!("{} starts although {other} comes first and has not ended", entry.id);
            self.violated(what);
        }
    }

    /// The operator deletes nothing before its ttl is over, which begins when the last Task has ended.
    fn expiry(&mut self, entry: &Entry, store: &Store) {
        let Some(object) = entry.before.as_deref().filter(|b| !is_deleting(b)) else { return };
        if !entry.after.as_deref().is_none_or(is_deleting) {
            return;
        }
        let Some(ttl) = object["spec"]["ttlSecondsAfterFinished"].as_i64() else { return };
        let since = match entry.id.kind {
            Kind::Task => time(&object["status"]["completedAt"]),
            // What another operator saw end, this one may not have heard of yet.
            _ if self.operators > 1 => return,
            _ => self.ended.get(uid_of(object)).copied().max(time(&object["status"]["allocatedAt"])),
        };
        // Each of its readings is a bit later than the last one.
        let latest = store.time() + SignedDuration::from_millis(self.most_ahead) + Duration::from_secs(1);
        if since.is_none_or(|since| since + SignedDuration::from_secs(ttl) > latest) {
            self.violated(format!("{} is deleted by {latest}, {ttl} s after {since:?}", entry.id));
        }
    }

    /// The operator never deletes a pod that a Sandbox holds.
    fn deletion(&mut self, entry: &Entry, store: &Store) {
        let Some(pod) = &entry.before else { return };
        let begins = !is_deleting(pod) && entry.after.as_deref().is_none_or(is_deleting);
        if !begins || !is_alive(pod) {
            return;
        }
        let uid = uid_of(pod);
        let living = || store.of(Kind::Sandbox).filter(|(_, s)| !is_deleting(s) && s["status"]["phase"] != "Released");
        if let Some((id, _)) = living().find(|(_, s)| s["status"]["podUID"] == uid) {
            self.violated(format!("{} deletes {}, which {id} holds", entry.by, entry.id));
        }
        let Some(("Sandbox", owner)) = controller(pod) else { return };
        let claimed_only = living().find(|(_, s)| uid_of(s) == owner && s["status"].get("podUID").is_none());
        let others = store
            .of(Kind::Pod)
            .filter(|(_, p)| controller(p) == Some(("Sandbox", owner)) && uid_of(p) != uid && is_alive(p));
        if let (Some((id, _)), 0) = (claimed_only, others.count()) {
            self.violated(format!("{} deletes {}, which {id} has just claimed", entry.by, entry.id));
        }
    }
}

/// How many living pods the pool with this uid has that no Sandbox holds.
fn idle(pool: &str, store: &Store) -> usize {
    store.of(Kind::Pod).filter(|(_, pod)| controller(pod) == Some(("WarmPool", pool)) && is_alive(pod)).count()
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

pub fn is_alive(pod: &Value) -> bool {
    !is_deleting(pod) && !matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"))
}

pub fn is_finished(task: &Value) -> bool {
    matches!(task["status"]["state"].as_str(), Some("Succeeded" | "Failed"))
}

/// What a Task says came of it. That it cannot be deleted for its ttl may be said later, and which spec it has seen.
fn report(task: &Value) -> Value {
    let mut status = task["status"].clone();
    set(&mut status, "observedGeneration", None);
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.retain(|c| c["type"] != STALLED);
        for condition in conditions {
            set(condition, "observedGeneration", None);
        }
    }
    status
}

/// A Task's place in the queue: of those of one second, that comes first which the operator saw first, at whatever version.
fn arrival(task: &Value) -> (String, i64) {
    let created = task["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
    let version = || crate::store::version_of(task).parse().unwrap_or(i64::MAX);
    (created, task["status"]["arrival"].as_i64().unwrap_or_else(version))
}
