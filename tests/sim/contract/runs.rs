//! Runs in pods: what may start, and what must end.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use super::{Facts, Ledger, Rule, is_alive, is_finished, is_running, setups::set_up_by};
use crate::{
    agent::Agents,
    kind::{Id, Kind},
    store::{Entry, Store, is_deleting, uid_of},
};

#[derive(Debug, Default)]
pub struct InFlight {
    /// Tasks that were deleted while something of them ran, and when, by uid.
    deleted: BTreeMap<String, Instant>,
    /// When each Task was first to end before its time, by uid.
    unwanted: BTreeMap<String, Instant>,
}

/// What a run started gets this long to end.
const DYING: Duration = Duration::from_secs(3);

impl InFlight {
    pub fn check(&mut self, entry: &Entry, agents: &Agents) {
        if let (Kind::Task, Some(task)) = (entry.id.kind, entry.before.as_ref().or(entry.after.as_ref())) {
            let is_wanted = |task: &Value| task["spec"]["cancel"] != true && !is_deleting(task);
            if !entry.after.as_deref().is_some_and(is_wanted) {
                self.unwanted.entry(uid_of(task).to_owned()).or_insert(entry.at);
            }
        }
        if let (Kind::Task, Some(task), None) = (entry.id.kind, &entry.before, &entry.after)
            && agents.runs_of(uid_of(task)).any(|(_, run)| run.goes_on())
        {
            self.deleted.insert(uid_of(task).to_owned(), entry.at);
        }
    }

    /// What goes on of Tasks that are gone, in pods with an agent.
    pub fn left(&self, store: &Store, agents: &Agents) -> Vec<Option<String>> {
        let goes_on = |task: &String| {
            let in_a_pod =
                |pod: &str| store.by_uid(Kind::Pod, pod).is_some_and(|(_, p)| is_alive(p) && super::has_agent(p));
            agents.runs_of(task).find(|((pod, _), run)| run.goes_on() && in_a_pod(pod)).map(|(id, _)| id.clone())
        };
        let left = |(task, at): (&String, &Instant)| {
            let (pod, _) = goes_on(task)?;
            Some(format!("Task {task} was deleted {:?} ago and runs in {pod}", at.elapsed()))
        };
        self.deleted.iter().map(left).collect()
    }

    /// A step starts.
    pub fn goes_on(&self, task: &str, facts: &Facts, ledger: &mut Ledger) {
        if facts.is_plain() {
            let since = self.unwanted.get(task).map(Instant::elapsed);
            ledger.test(Rule::NoStepAfterCancel, since.is_none_or(|since| since < facts.stale + DYING), || {
                format!("a step of {task} starts {since:?} after it was cancelled or deleted")
            });
        }
    }

    /// A step starts, in whichever mode. In a pod that goes, nobody can keep it from that.
    pub fn starts(task: &str, pod: &str, store: &Store, facts: &Facts, ledger: &mut Ledger) {
        let is_reached = facts.is_alone() && store.by_uid(Kind::Pod, pod).is_some_and(|(_, pod)| is_alive(pod));
        if let Some((id, object)) = store.by_uid(Kind::Task, task).filter(|_| is_reached) {
            ledger.test(Rule::NoStepAfterEnd, !is_finished(object), || {
                format!("{id} has ended, and a step of it starts")
            });
        }
    }

    /// The first step of a run starts.
    pub fn begins(task: &str, store: &Store, facts: &Facts, ledger: &mut Ledger) {
        if !facts.is_alone() {
            return;
        }
        let Some((id, object)) = store.by_uid(Kind::Task, task) else { return };
        if set_up_by(object).is_some() {
            return;
        }
        let place = |task: &Value| facts.created.get(uid_of(task)).copied();
        let first = |(other, found): &(&Id, &std::sync::Arc<Value>)| {
            *other != id
                && other.namespace == id.namespace
                && found["spec"]["sandboxRef"] == object["spec"]["sandboxRef"]
                && place(found) < place(object)
                && !facts.touched.contains(uid_of(found))
                && !is_finished(found)
                && !is_deleting(found)
        };
        let earlier = store.of(Kind::Task).find(first).map(|(other, _)| other.clone());
        ledger.test(Rule::TasksInOrder, earlier.is_none(), || format!("{id} runs although {earlier:?} comes first"));
    }
}

/// Whether something of a Task runs where an agent could have ended it.
pub fn goes_on(task: &str, store: &Store, agents: &Agents) -> Option<String> {
    let reached = |pod: &str| {
        store.by_uid(Kind::Pod, pod).is_some_and(|(_, p)| is_alive(p) && is_running(p) && super::has_agent(p))
    };
    agents.runs_of(task).find(|((pod, _), run)| run.goes_on() && reached(pod)).map(|((pod, _), _)| pod.clone())
}
