//! What `get` shows: a table of each kind.

use std::cmp::Reverse;

use arl_crds::{
    Sandbox, Task, TaskState, WarmPool,
    condition::{self, PODS_FAILING},
    labels,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, ResourceExt};

use crate::table::{Table, age};

/// Finished Tasks that fit on a screen beside all else.
const FINISHED_MAX: usize = 20;

/// What is shown. A kind that was not asked for is none.
#[derive(Debug, Default)]
pub struct Objects {
    /// The pools.
    pub pools: Option<Vec<WarmPool>>,
    /// The Sandboxes.
    pub sandboxes: Option<Vec<Sandbox>>,
    /// The Tasks.
    pub tasks: Option<Vec<Task>>,
    /// Sandboxes that wait for a pod.
    pub waiting: Vec<Sandbox>,
}

impl Objects {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        let Self { pools, sandboxes, tasks, .. } = self;
        pools.as_ref().is_none_or(Vec::is_empty)
            && sandboxes.as_ref().is_none_or(Vec::is_empty)
            && tasks.as_ref().is_none_or(Vec::is_empty)
    }
}

/// How it is shown.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// With more columns.
    pub is_wide: bool,
    /// With the names of the columns.
    pub has_header: bool,
    /// With the namespace of each object.
    pub has_namespace: bool,
    /// The time.
    pub now: Timestamp,
}

/// As text; empty where there is nothing.
pub fn render(view: View, objects: &Objects) -> String {
    let is_overview = objects.pools.is_some() && objects.tasks.is_some();
    let mut parts = Vec::new();
    if let Some(pools) = &objects.pools {
        parts.push(table(view, pools, &POOL, |pool| of_pool(pool, &objects.waiting, view.now)));
    }
    if let Some(sandboxes) = &objects.sandboxes {
        parts.push(table(view, sandboxes, &SANDBOX, |sandbox| of_sandbox(sandbox, view.now)));
    }
    let mut older = 0;
    if let Some(tasks) = &objects.tasks {
        let shown = if is_overview { recent(tasks) } else { tasks.iter().collect() };
        older = tasks.len() - shown.len();
        parts.push(table(view, shown, &TASK, |task| of_task(task, view.now)));
    }
    let mut text = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n");
    if older > 0 && view.has_header {
        text.extend(["and ", &older.to_string(), " Tasks that finished earlier: `kubectl arl get tasks`\n"]);
    }
    text
}

/// The columns of pools.
pub const POOL: [&str; 8] = ["POOL", "READY", "WANTED", "WAITING", "ALLOCATED", "STATE", "AGE", "MESSAGE"];
/// The columns of Sandboxes.
pub const SANDBOX: [&str; 8] = ["SANDBOX", "POOL", "PHASE", "REASON", "POD", "AGE", "RUN", "MESSAGE"];
/// The columns of Tasks.
pub const TASK: [&str; 9] = ["TASK", "SANDBOX", "STATE", "REASON", "STEP", "EXIT", "DURATION", "AGE", "MESSAGE"];

/// The columns that are for those who want more.
const WIDE: [&str; 2] = ["RUN", "MESSAGE"];

fn table<'a, K: Resource + 'a, const N: usize>(
    view: View,
    objects: impl IntoIterator<Item = &'a K>,
    header: &[&'static str; N],
    cells: impl Fn(&K) -> [String; N],
) -> String {
    let columns = columns(header, view.is_wide);
    let namespace = view.has_namespace.then_some("NAMESPACE");
    let mut table = Table::new(&namespace.into_iter().chain(header[..columns].iter().copied()).collect::<Vec<_>>());
    for object in objects {
        let namespace = view.has_namespace.then(|| object.meta().namespace.clone().unwrap_or_default());
        table.row(namespace.into_iter().chain(cells(object).into_iter().take(columns)));
    }
    if table.is_empty() { String::new() } else { table.lines(view.has_header) }
}

/// How many of these columns are shown.
pub fn columns(header: &[&str], is_wide: bool) -> usize {
    header.iter().filter(|name| is_wide || !WIDE.contains(name)).count()
}

/// Those that have not finished, and of the others the last.
pub fn recent(tasks: &[Task]) -> Vec<&Task> {
    let is_finished =
        |task: &&Task| task.status.as_ref().and_then(|status| status.state).is_some_and(TaskState::is_finished);
    let (mut finished, mut shown): (Vec<&Task>, Vec<&Task>) = tasks.iter().partition(is_finished);
    finished.sort_by_key(|task| Reverse(created(*task)));
    finished.truncate(FINISHED_MAX);
    shown.extend(finished);
    shown.sort_by_key(|task| (created(*task), task.name_any()));
    shown
}

/// The cells of its row.
pub fn of_pool(pool: &WarmPool, waiting: &[Sandbox], now: Timestamp) -> [String; 8] {
    let status = pool.status.clone().unwrap_or_default();
    let of_it = |sandbox: &&Sandbox| {
        sandbox.spec.pool_ref == pool.name_any() && sandbox.metadata.namespace == pool.metadata.namespace
    };
    let failing = condition::find_true(&status.conditions, PODS_FAILING);
    let ready = condition::find(&status.conditions, "Ready");
    let state = match (failing, status.phase) {
        (Some(failing), _) => failing.reason.clone(),
        (None, Some(phase)) => format!("{phase:?}"),
        (None, None) => "Unserved".to_owned(),
    };
    [
        pool.name_any(),
        status.ready.to_string(),
        status.wanted.unwrap_or(pool.spec.replicas).to_string(),
        waiting.iter().filter(of_it).count().to_string(),
        status.allocated.to_string(),
        state,
        age(created(pool), now),
        message(failing.or(ready)),
    ]
}

/// The cells of its row.
pub fn of_sandbox(sandbox: &Sandbox, now: Timestamp) -> [String; 8] {
    let status = sandbox.status.clone().unwrap_or_default();
    let ready = condition::find(&status.conditions, "Ready");
    [
        sandbox.name_any(),
        sandbox.spec.pool_ref.clone(),
        status.phase.map_or_else(|| "Unserved".to_owned(), |phase| format!("{phase:?}")),
        ready.map(|ready| ready.reason.clone()).unwrap_or_default(),
        status.pod_name.clone().unwrap_or_default(),
        age(created(sandbox), now),
        sandbox.labels().get(labels::RUN_ID).cloned().unwrap_or_default(),
        message(ready),
    ]
}

/// The cells of its row.
pub fn of_task(task: &Task, now: Timestamp) -> [String; 9] {
    let status = task.status.clone().unwrap_or_default();
    let succeeded = condition::find(&status.conditions, "Succeeded");
    [
        task.name_any(),
        task.spec.sandbox_ref.clone(),
        status.state.map_or_else(|| "Unserved".to_owned(), |state| format!("{state:?}")),
        succeeded.map(|succeeded| succeeded.reason.clone()).unwrap_or_default(),
        status.step.clone().unwrap_or_default(),
        status.exit_code.map(|code| code.to_string()).unwrap_or_default(),
        status.duration.clone().unwrap_or_default(),
        age(created(task), now),
        message(succeeded),
    ]
}

fn message(condition: Option<&Condition>) -> String {
    condition.map(|condition| condition.message.clone()).unwrap_or_default()
}

fn created(object: &impl Resource) -> Option<Timestamp> {
    object.meta().creation_timestamp.as_ref().map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn made<K: serde::de::DeserializeOwned>(kind: &str, name: &str, second: i64, spec: &Value, status: &Value) -> K {
        let created = Timestamp::from_second(1000 + second).unwrap().to_string();
        serde_json::from_value(json!({
            "apiVersion": "arl.infra.io/v1alpha1", "kind": kind, "spec": spec, "status": status,
            "metadata": { "name": name, "namespace": "n", "creationTimestamp": created },
        }))
        .unwrap()
    }

    fn why(type_: &str, status: &str, reason: &str) -> Value {
        json!({ "type": type_, "status": status, "reason": reason, "message": format!("about {reason}"),
            "lastTransitionTime": "2026-01-01T00:00:00Z" })
    }

    fn view() -> View {
        View { is_wide: false, has_header: true, has_namespace: false, now: Timestamp::from_second(1060).unwrap() }
    }

    fn pool(name: &str, conditions: &Value) -> WarmPool {
        let spec = json!({ "replicas": 3, "template": { "spec": { "containers": [] } } });
        made(
            "WarmPool",
            name,
            0,
            &spec,
            &json!({ "ready": 1, "allocated": 2, "phase": "Scaling", "conditions": conditions }),
        )
    }

    fn sandbox(name: &str, pool: &str) -> Sandbox {
        let status = json!({ "phase": "Pending", "conditions": [why("Ready", "False", "PoolEmpty")] });
        made("Sandbox", name, 30, &json!({ "poolRef": pool }), &status)
    }

    fn task(name: &str, second: i64, state: &str) -> Task {
        let spec = json!({ "sandboxRef": "s", "timeout": "30s", "steps": [] });
        let status = json!({ "state": state, "step": "run", "exitCode": 4, "duration": "12ms",
            "conditions": [why("Succeeded", "False", "StepFailed")] });
        made("Task", name, second, &spec, &status)
    }

    #[test]
    fn one_screen_has_all_three_kinds() {
        let objects = Objects {
            pools: Some(vec![
                pool("a", &json!([why("PodsFailing", "True", "ImagePullBackOff")])),
                pool("b", &json!([])),
            ]),
            sandboxes: Some(vec![sandbox("s", "b")]),
            tasks: Some(vec![task("t", 50, "Failed")]),
            waiting: vec![sandbox("s", "b")],
        };
        let expected = "\
POOL   READY   WANTED   WAITING   ALLOCATED   STATE              AGE
a      1       3        0         2           ImagePullBackOff   60s
b      1       3        1         2           Scaling            60s

SANDBOX   POOL   PHASE     REASON      POD   AGE
s         b      Pending   PoolEmpty         30s

TASK   SANDBOX   STATE    REASON       STEP   EXIT   DURATION   AGE
t      s         Failed   StepFailed   run    4      12ms       10s
";
        assert_eq!(render(view(), &objects), expected);
        let wide = render(View { is_wide: true, has_namespace: true, has_header: false, ..view() }, &objects);
        assert!(wide.starts_with("n   a   1") && wide.contains("about ImagePullBackOff") && !wide.contains("POOL "));
    }

    #[test]
    fn a_screen_has_the_tasks_that_run_and_the_last_of_the_others() {
        let mut tasks: Vec<_> = (0..30).map(|n| task(&format!("t{n:02}"), n, "Succeeded")).collect();
        tasks.push(task("old-and-running", -10, "Running"));
        let objects = Objects { pools: Some(Vec::new()), tasks: Some(tasks), ..Objects::default() };
        let text = render(view(), &objects);
        assert!(text.contains("old-and-running") && text.contains("t29") && text.contains("t10"), "{text}");
        assert!(
            !text.contains("t09") && text.ends_with("and 10 Tasks that finished earlier: `kubectl arl get tasks`\n")
        );
        let all = Objects { pools: None, ..objects };
        assert!(render(view(), &all).contains("t09"), "who asks for Tasks gets all");
    }

    #[test]
    fn who_wants_more_sees_the_run() {
        let mut made = sandbox("s", "b");
        made.labels_mut().insert(labels::RUN_ID.to_owned(), "evaluation-7".to_owned());
        let objects = Objects { sandboxes: Some(vec![made, sandbox("t", "b")]), ..Objects::default() };
        let expected = "\
SANDBOX   POOL   PHASE     REASON      POD   AGE   RUN            MESSAGE
s         b      Pending   PoolEmpty         30s   evaluation-7   about PoolEmpty
t         b      Pending   PoolEmpty         30s                  about PoolEmpty
";
        assert_eq!(render(View { is_wide: true, ..view() }, &objects), expected);
    }

    #[test]
    fn nothing_is_nothing() {
        let empty = Objects { pools: Some(Vec::new()), sandboxes: Some(Vec::new()), ..Objects::default() };
        assert_eq!(render(view(), &empty), "");
    }
}
