//! Events: how many, and whether they are true.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Facts, Ledger, Rule};
use crate::{
    kind::Kind,
    store::{Entry, Store},
};

/// Those that come once in the life of an object.
const ONCE: [&str; 5] = ["TaskSucceeded", "TaskFailed", "Claimed", "Released", "Expired"];
/// Those of a Task's end.
const ENDS: [&str; 2] = ["TaskSucceeded", "TaskFailed"];
/// Below this number no namespace has too many for its rate.
const FEW: usize = 30;

#[derive(Debug, Default)]
pub struct Events {
    names: BTreeSet<String>,
    /// How many Events an object had for a reason, by uid and reason.
    counts: BTreeMap<(String, String), usize>,
    /// How often a pool's trouble began, or became another, by its name.
    troubles: BTreeMap<String, usize>,
    failing: BTreeMap<String, usize>,
}

impl Events {
    /// A pool's trouble begins where its status says so.
    pub fn check(&mut self, entry: &Entry) {
        let (Kind::WarmPool, Some(after)) = (entry.id.kind, entry.after.as_deref()) else { return };
        let trouble = |pool: &Value| {
            let condition = super::condition(pool, "PodsFailing")?;
            (condition["status"] == "True").then(|| condition["reason"].clone())
        };
        let (was, now) = (entry.before.as_deref().and_then(trouble), trouble(after));
        if now.is_some() && was != now {
            *self.troubles.entry(entry.id.name.clone()).or_default() += 1;
        }
    }

    /// An Event reaches the API server.
    pub fn received(&mut self, event: &Value, store: &Store, facts: &Facts, ledger: &mut Ledger) {
        let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (reason, uid, name) = (text("/reason"), text("/regarding/uid"), text("/regarding/name"));
        // Sent again after an answer that got lost.
        if !self.names.insert(text("/metadata/name")) {
            return;
        }
        let count = self.counts.entry((uid.clone(), reason.clone())).or_default();
        *count += 1;
        let count = *count;
        if reason == "PodsFailing" {
            let failing = self.failing.entry(name.clone()).or_default();
            *failing += 1;
            let (events, begun) = (*failing, self.troubles.get(&name).copied().unwrap_or(0));
            ledger.test(Rule::OneEventPerTrouble, events <= begun * facts.operators, || {
                format!("{name}: {events} Events, {begun} troubles")
            });
        }
        if !ONCE.contains(&reason.as_str()) {
            return;
        }
        let ends = ENDS.map(|end| self.counts.get(&(uid.clone(), end.to_owned())).copied());
        let both = ends.iter().flatten().sum::<usize>();
        let task = store.by_uid(Kind::Task, &uid).map(|(_, task)| &task["status"]["state"]);
        let is_true = match (reason.as_str(), task) {
            ("TaskSucceeded", Some(state)) => state == "Succeeded",
            ("TaskFailed", Some(state)) => state == "Failed",
            ("Released", _) => {
                let sandbox = store.by_uid(Kind::Sandbox, &uid);
                sandbox.is_none_or(|(_, sandbox)| sandbox["status"]["phase"] == "Released")
            }
            ("Expired", _) => store.by_uid(Kind::Sandbox, &uid).is_none_or(|(_, s)| crate::store::is_deleting(s)),
            _ => true,
        };
        ledger.test(Rule::OneEventPerEnd, count <= facts.operators && both <= facts.operators && is_true, || {
            format!("{reason} of {name} ({uid}), number {count}, ends {ends:?}")
        });
    }

    /// Whether an object had an Event for a reason.
    pub fn has(&self, uid: &str, reason: &str) -> bool {
        self.counts.contains_key(&(uid.to_owned(), reason.to_owned()))
    }

    /// At rest every end has its Event, where none can have been lost.
    pub fn at_rest(&self, store: &Store, facts: &Facts, ledger: &mut Ledger) {
        if !facts.is_orderly || !facts.is_alone() || self.counts.values().sum::<usize>() > FEW {
            return;
        }
        for (id, task) in store.of(Kind::Task).filter(|(_, task)| super::is_finished(task)) {
            let uid = crate::store::uid_of(task).to_owned();
            let is_said = ENDS.iter().any(|end| self.has(&uid, end));
            ledger.test(Rule::EndHasEvent, is_said, || format!("{id} has ended, and no Event says so"));
        }
    }
}
