//! The times that a Task tells, held against each other and against the pod's.

use std::time::Duration;

use serde_json::Value;

use super::{Facts, Ledger, Rule, reason_of, time};
use crate::{agent::AgentRun, kind::Id};

/// What is said to be at the same time differs by less.
const SAME: Duration = Duration::from_secs(1);

pub fn check(id: &Id, task: &Value, run: Option<&AgentRun>, facts: &Facts, ledger: &mut Ledger) {
    let status = &task["status"];
    let (started, completed) = (time(&status["startedAt"]), time(&status["completedAt"]));
    let mut all: Vec<_> = started.into_iter().collect();
    for step in status["steps"].as_array().into_iter().flatten() {
        all.extend(time(&step["startedAt"]));
        all.extend(time(&step["completedAt"]));
    }
    all.extend(completed);
    let spans = match (started, completed, status["duration"].as_str()) {
        (Some(from), Some(to), Some(text)) => {
            let said = arl_crds::duration::parse(text).unwrap_or_default().as_secs_f64();
            let took = to.duration_since(from).as_secs_f64();
            // People are told the two largest units.
            let unit = [(1.0, 0.002), (60.0, 0.11), (3600.0, 1.01)].iter().find(|(below, _)| took < *below);
            (said - took).abs() <= unit.map_or(61.0, |(_, unit)| *unit)
        }
        (None, Some(_), None) => true,
        _ => false,
    };
    ledger.test(Rule::TimesInOrder, all.is_sorted() && spans, || format!("{id}: {status}"));
    // Plain exec has no record in the pod.
    let known = status.get("containerID").is_some() && reason_of(task) != "Interrupted";
    let Some(run) = run.filter(|_| known) else { return };
    let within = |longest: Duration, said: &Value, at: jiff::Timestamp| {
        time(said).is_none_or(|said| said.duration_since(at).unsigned_abs() < longest)
    };
    let same = |said: &Value, at| within(SAME, said, at);
    // By plain exec it is on record before it is so, and the call that puts it there may have to be made again.
    let begins = if run.is_exec() { facts.oldest } else { SAME };
    let steps = status["steps"].as_array().into_iter().flatten().zip(&run.done);
    let true_steps =
        steps.filter(|(said, did)| did.ended_at.is_some() && said.get("exitCode").is_some()).all(|(said, did)| {
            same(&said["startedAt"], did.started_at) && did.ended_at.is_none_or(|at| same(&said["completedAt"], at))
        });
    let begun = status["startedAt"].is_string() && within(begins, &status["startedAt"], run.started_at);
    ledger.test(Rule::TimesAreThePods, true_steps && begun, || format!("{id}: {status}; {run:?}"));
}
