//! What becomes of a Sandbox after its Tasks, and of a Task after its end: the table of keepAlive and ttl, both ways.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Facts, Ledger, Rule, is_alive, is_finished, setups::set_up_by, time};
use crate::{
    agent::Agents,
    kind::{Id, Kind},
    live::Live,
    store::{Entry, Store, controller, is_deleting, uid_of},
};

/// No call takes longer, and so what it was decided on is not older.
const CALL: Duration = Duration::from_secs(25);
/// In a history where nothing goes wrong, what is due happens within this time, and a tenth of the ttl for a restart.
const PROMPT: i64 = 15;

/// What there is besides the contract's own memory.
type Cluster<'a> = (&'a Store, &'a Agents, &'a Live);

#[derive(Debug, Default)]
pub struct Lifetimes {
    /// The Tasks of a Sandbox that have ended, by the Sandbox's uid: since when each was there, and its end as the operators' clock had it.
    ended: BTreeMap<String, Vec<(Option<tokio::time::Instant>, Timestamp)>>,
    /// Since when each Task has been there, unfinished and naming its Sandbox, by the Task's uid.
    named: BTreeMap<String, tokio::time::Instant>,
    /// When somebody last changed a spec or deleted a Task of it, by the Sandbox's name.
    changed: BTreeMap<String, tokio::time::Instant>,
}

impl Lifetimes {
    pub fn check(&mut self, entry: &Entry, cluster: Cluster<'_>, facts: &Facts, ledger: &mut Ledger) {
        match (entry.id.kind, entry.before.as_deref(), entry.after.as_deref()) {
            (Kind::Task, None, Some(task)) => drop(self.named.insert(uid_of(task).to_owned(), entry.at)),
            (Kind::Task, Some(_), Some(task)) if set_up_by(task).is_none() => {
                if let Some((sandbox, at)) =
                    task["status"]["sandboxUID"].as_str().zip(time(&task["status"]["completedAt"]))
                {
                    let created = self.named.get(uid_of(task)).copied();
                    self.ended.entry(sandbox.to_owned()).or_default().push((created, at));
                }
            }
            (Kind::Task, Some(task), None) => {
                let sandbox = task["spec"]["sandboxRef"].as_str().unwrap_or_default().to_owned();
                self.changed.insert(sandbox, entry.at);
            }
            (Kind::Sandbox, Some(was), Some(now)) if was["spec"] != now["spec"] => {
                self.changed.insert(entry.id.name.clone(), entry.at);
            }
            _ => {}
        }
        if !entry.by.is_operator() {
            return;
        }
        if entry.id.kind == Kind::Sandbox {
            self.release(entry, cluster, facts, ledger);
        }
        if matches!(entry.id.kind, Kind::Sandbox | Kind::Task) {
            self.expiry(entry, cluster, facts, ledger);
        }
    }

    /// The pod is given up.
    fn release(&self, entry: &Entry, (store, agents, live): Cluster<'_>, facts: &Facts, ledger: &mut Ledger) {
        let (Some(was), Some(now)) = (entry.before.as_deref(), entry.after.as_deref()) else { return };
        if was["status"]["phase"] == "Released" || now["status"]["phase"] != "Released" {
            return;
        }
        let spec = &was["spec"];
        let reason = &super::condition(now, "Ready").map(|c| c["reason"].clone()).unwrap_or_default();
        if reason == "SetupFailed" {
            let task = now["status"]["setup"]["taskUID"].as_str().unwrap_or_default();
            let failed = store.by_uid(Kind::Task, task).is_none_or(|(_, task)| task["status"]["state"] == "Failed");
            return ledger.test(Rule::SetUpFailed, failed, || format!("{} gives up its pod for its setup", entry.id));
        }
        if reason != "TasksFinished" {
            let uid = was["status"]["podUID"].as_str().unwrap_or_default();
            let lives = store
                .by_uid(Kind::Pod, uid)
                .is_some_and(|(_, pod)| is_alive(pod) && controller(pod) == Some(("Sandbox", uid_of(was))));
            return ledger
                .test(Rule::LostIsLost, !lives, || format!("{} gives up a pod that is there: {reason}", entry.id));
        }
        live_is_not_idle(entry, was, live, facts, ledger);
        let keeps = spec["keepAlive"] == true || spec.get("ttlSecondsAfterFinished").is_some();
        ledger.test(Rule::KeptAlive, !keeps, || format!("{} is Released though its spec is {spec}", entry.id));
        // One that was deleted in flight has ended too.
        let ended = self.ended.contains_key(uid_of(was)) || agents.has_run_for(uid_of(was));
        let ended = ended || was["status"]["phase"] == "Bound";
        let within = on_its_way(facts);
        let named = |(id, task): &(&Id, &std::sync::Arc<Value>)| {
            id.namespace == entry.id.namespace
                && task["spec"]["sandboxRef"] == entry.id.name.as_str()
                && !is_finished(task)
                && self.named.get(uid_of(task)).is_some_and(|at| at.elapsed() > within)
        };
        let unfinished = store.of(Kind::Task).find(named).map(|(id, _)| id.clone());
        ledger.test(Rule::ReleasedAfterTasks, ended && unfinished.is_none(), || {
            format!("{} is Released; a Task ended: {ended}, one waits: {unfinished:?}", entry.id)
        });
    }

    /// When the last Task of it ended. A Task that names a Released Sandbox ends at once, which the deletion on its way cannot know of.
    fn last_end(&self, object: &Value, facts: &Facts) -> Option<Timestamp> {
        let is_released = object["status"]["phase"] == "Released";
        let within = on_its_way(facts);
        let counts = |created: &Option<tokio::time::Instant>| created.is_none_or(|at| at.elapsed() > within);
        let ends = self.ended.get(uid_of(object))?.iter();
        ends.filter(|(created, _)| !is_released || counts(created)).map(|(_, at)| *at).max()
    }

    /// The operator deletes nothing before its ttl is over, which begins when the last Task has ended, and nothing without one.
    fn expiry(&self, entry: &Entry, (store, agents, live): Cluster<'_>, facts: &Facts, ledger: &mut Ledger) {
        let Some(object) = entry.before.as_deref().filter(|b| !is_deleting(b)) else { return };
        let (id, uid) = (&entry.id, uid_of(object));
        let ttl = object["spec"]["ttlSecondsAfterFinished"].as_i64();
        if !entry.after.as_deref().is_none_or(is_deleting) {
            return;
        }
        ledger.test(Rule::DeletedOnlyByTtl, ttl.is_some(), || format!("{} deletes {id}", entry.by));
        let Some(ttl) = ttl else { return };
        let ended = self.last_end(object, facts);
        let pod = object["status"]["podUID"].as_str().unwrap_or_default();
        let live_ended = live.ended(pod).filter(|_| id.kind == Kind::Sandbox);
        if id.kind == Kind::Sandbox {
            live_is_not_idle(entry, object, live, facts, ledger);
        }
        if id.kind == Kind::Sandbox && ttl == 0 {
            let ran = ended.is_some()
                || live_ended.is_some()
                || object["status"]["phase"] == "Bound"
                || object["status"]["phase"] == "Released";
            ledger.test(Rule::ZeroTtlWaits, ran || agents.has_run_for(uid), || {
                format!("{id} expires before its first Task")
            });
        }
        // Each of its readings is a bit later than the last one.
        let latest = store.time() + SignedDuration::from_millis(facts.most_ahead) + Duration::from_secs(1);
        let due_after = |since: Timestamp| since + SignedDuration::from_secs(ttl);
        if let Some(ended) = live_ended {
            // Unlike the end of a Task, it is known to whoever asks.
            ledger.test(Rule::NotEarlyAfterLive, due_after(ended) <= latest, || {
                format!("{id} is deleted by {latest}, {ttl} s after its last live process at {ended}")
            });
        }
        let since = match id.kind {
            Kind::Task => time(&object["status"]["completedAt"]),
            // What another operator saw end, this one may not have heard of yet.
            _ if facts.operators > 1 => return,
            _ => ended
                .max(live_ended)
                .max(time(&object["status"]["allocatedAt"]))
                .max(time(&object["status"]["setup"]["completedAt"])),
        };
        let due = since.map(due_after);
        ledger.test(Rule::NotEarly, due.is_some_and(|due| due <= latest), || {
            format!("{id} is deleted by {latest}, {ttl} s after {since:?}")
        });
        let quiet = self.changed.get(&id.name).is_none_or(|at| at.elapsed() > Duration::from_secs(60));
        let is_plain = id.kind == Kind::Task || (quiet && object["status"]["phase"] != "Released");
        if facts.is_orderly && facts.is_alone() && is_plain && !facts.touched.contains(uid) && ttl > 0 {
            let late = due.map_or(0, |due| store.time().duration_since(due).as_secs());
            ledger.test(Rule::NotLate, late <= PROMPT + ttl / 10, || format!("{id} expires {late} s late"));
        }
    }
}

/// How long a write may be on its way: it was decided on what was there before.
fn on_its_way(facts: &Facts) -> Duration {
    if facts.only_outages && facts.is_alone() { facts.trip } else { CALL }
}

/// Who ends it asked the agent before, and no call takes longer.
fn live_is_not_idle(entry: &Entry, sandbox: &Value, live: &Live, facts: &Facts, ledger: &mut Ledger) {
    let within = on_its_way(facts);
    let pod = sandbox["status"]["podUID"].as_str().unwrap_or_default();
    let since = live.since(pod).map(|since| since.elapsed());
    ledger.test(Rule::LiveIsNotIdle, since.is_none_or(|since| since <= within), || {
        format!("{} ends while a live process has been running in {pod} for {since:?}", entry.id)
    });
}
