//! What the page is told of the objects, as one line of JSON for each change.

use arl_crds::{Sandbox, SandboxPhase, Task, TaskState, text::printable};
use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use serde::Serialize;

use crate::{
    live_objects::Stale,
    screen::{Objects, of_pool, of_sandbox, of_task, recent},
};

/// Sandboxes and Tasks that are shown. What there is no room for is counted.
const ROWS_MAX: usize = 200;
/// Of a message.
const MESSAGE_MAX: usize = 1024;

#[derive(Debug, Serialize)]
pub struct View {
    namespace: String,
    at: i64,
    stale: Option<StaleView>,
    counts: Counts,
    more: More,
    pools: Vec<PoolRow>,
    sandboxes: Vec<SandboxRow>,
    tasks: Vec<TaskRow>,
}

/// Since when what is shown may be old, and why.
#[derive(Debug, Serialize)]
struct StaleView {
    since: i64,
    why: String,
}

#[derive(Debug, Serialize)]
struct Counts {
    pools: usize,
    sandboxes: usize,
    waiting: usize,
    running: usize,
    pending: usize,
}

#[derive(Debug, Serialize)]
struct More {
    sandboxes: usize,
    tasks: usize,
}

#[derive(Debug, Serialize)]
struct PoolRow {
    name: String,
    ready: u32,
    wanted: u32,
    waiting: u32,
    allocated: u32,
    state: String,
    message: String,
}

#[derive(Debug, Serialize)]
struct SandboxRow {
    name: String,
    pool: String,
    phase: String,
    reason: String,
    pod: String,
    message: String,
    created: i64,
    usable: bool,
}

#[derive(Debug, Serialize)]
struct TaskRow {
    name: String,
    sandbox: String,
    state: String,
    reason: String,
    step: String,
    exit: String,
    duration: String,
    message: String,
    created: i64,
}

impl View {
    /// Of these objects.
    pub fn of(namespace: &str, objects: &Objects, outdated: Option<Stale>, now: Timestamp) -> Self {
        let Objects { pools, sandboxes, tasks, waiting } = objects;
        let (pools, sandboxes) = (pools.as_deref().unwrap_or_default(), sandboxes.as_deref().unwrap_or_default());
        let tasks = tasks.as_deref().unwrap_or_default();
        let state = |task: &Task| task.status.as_ref().and_then(|status| status.state);
        let in_state = |wanted| tasks.iter().filter(|task| state(task) == Some(wanted)).count();
        let mut shown = recent(tasks);
        // Those that have not finished come first, then the newest.
        shown.sort_by_key(|task| (state(task).is_some_and(TaskState::is_finished), std::cmp::Reverse(created(*task))));
        let (sandboxes_more, tasks_more) =
            (sandboxes.len().saturating_sub(ROWS_MAX), tasks.len().saturating_sub(shown.len().min(ROWS_MAX)));
        Self {
            namespace: namespace.to_owned(),
            at: now.as_millisecond(),
            stale: outdated.map(|Stale { since, why }| StaleView { since: since.as_millisecond(), why: said(&why) }),
            counts: Counts {
                pools: pools.len(),
                sandboxes: sandboxes.len(),
                waiting: waiting.len(),
                running: in_state(TaskState::Running),
                pending: in_state(TaskState::Pending),
            },
            more: More { sandboxes: sandboxes_more, tasks: tasks_more },
            pools: pools.iter().map(|pool| PoolRow::of(of_pool(pool, waiting, now))).collect(),
            sandboxes: sandboxes.iter().take(ROWS_MAX).map(|sandbox| SandboxRow::of(sandbox, now)).collect(),
            tasks: shown.into_iter().take(ROWS_MAX).map(|task| TaskRow::of(task, now)).collect(),
        }
    }

    /// Of each pool what its fill is made of.
    pub fn fill(&self) -> Vec<(String, [u32; 3])> {
        self.pools.iter().map(|pool| (pool.name.clone(), [pool.ready, pool.wanted, pool.waiting])).collect()
    }
}

impl PoolRow {
    fn of([name, ready, wanted, waiting, allocated, state, _, message]: [String; 8]) -> Self {
        let [ready, wanted, waiting, allocated] =
            [ready, wanted, waiting, allocated].map(|cell| cell.parse().unwrap_or_default());
        Self { name, ready, wanted, waiting, allocated, state, message: said(&message) }
    }
}

impl SandboxRow {
    fn of(sandbox: &Sandbox, now: Timestamp) -> Self {
        let [name, pool, phase, reason, pod, _, _, message] = of_sandbox(sandbox, now);
        let is_served = sandbox.status.as_ref().and_then(|status| status.phase);
        let usable = matches!(is_served, Some(SandboxPhase::Ready | SandboxPhase::Bound));
        Self { name, pool, phase, reason, pod, message: said(&message), created: millis(sandbox), usable }
    }
}

impl TaskRow {
    fn of(task: &Task, now: Timestamp) -> Self {
        let [name, sandbox, state, reason, step, exit, duration, _, message] = of_task(task, now);
        Self { name, sandbox, state, reason, step, exit, duration, message: said(&message), created: millis(task) }
    }
}

fn said(message: &str) -> String {
    printable(message, MESSAGE_MAX)
}

fn millis(object: &impl ResourceExt) -> i64 {
    created(object).map_or(0, Timestamp::as_millisecond)
}

fn created(object: &impl Resource) -> Option<Timestamp> {
    object.meta().creation_timestamp.as_ref().map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn task(number: usize, state: &str) -> Task {
        serde_json::from_value(json!({
            "apiVersion": "arl.infra.io/v1alpha1", "kind": "Task",
            "metadata": { "name": format!("t{number}"), "creationTimestamp": "1970-01-01T00:00:30Z" },
            "spec": { "sandboxRef": "s", "steps": [] }, "status": { "state": state },
        }))
        .unwrap()
    }

    #[test]
    fn a_namespace_that_is_full_makes_no_long_line() {
        let tasks = (0..10_000).map(|number| task(number, if number < 9_000 { "Pending" } else { "Succeeded" }));
        let objects = Objects { tasks: Some(tasks.collect()), ..Objects::default() };
        let view = View::of("n", &objects, None, Timestamp::from_second(60).unwrap());
        let line: Value = serde_json::to_value(&view).unwrap();
        assert_eq!(line["tasks"].as_array().unwrap().len(), ROWS_MAX);
        assert_eq!((&line["more"]["tasks"], &line["counts"]["pending"]), (&json!(9_800), &json!(9_000)));
        assert_eq!(line["tasks"][0]["created"], 30_000);
    }
}
