//! What `top` draws.

use std::collections::BTreeMap;

use arl_crds::{Sandbox, Task, TaskState, WarmPool};
use jiff::{Timestamp, tz::TimeZone};
use kube::{Resource, ResourceExt};

use crate::{
    live_objects::Stale,
    print,
    screen::{Objects, of_pool, of_task, recent},
    table::{Table, age},
    usage::Usage,
};

/// Cells of the bar that shows how full a pool is.
const BAR: usize = 10;
/// Lines that each kind has at least.
const LEAST: usize = 4;

/// What is drawn, and on what.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The objects.
    pub objects: &'a Objects,
    /// What their pods use.
    pub usage: &'a BTreeMap<String, Usage>,
    /// Why they may be old.
    pub stale: Option<&'a Stale>,
    /// The time.
    pub now: Timestamp,
    /// Columns; none: as wide as it gets.
    pub columns: Option<u16>,
    /// Lines; none: all.
    pub rows: Option<u16>,
}

/// As text.
pub fn draw(frame: Frame<'_>) -> String {
    let Objects { pools, sandboxes, tasks, waiting } = frame.objects;
    let (pools, sandboxes) = (pools.as_deref().unwrap_or_default(), sandboxes.as_deref().unwrap_or_default());
    let tasks = tasks.as_deref().unwrap_or_default();
    let count = |state| tasks.iter().filter(|task| state_of(task) == Some(state)).count();
    let headline = format!(
        "{}   {}, {} ({} waiting), {} Tasks running, {} pending",
        frame.namespace,
        print::counted(pools.len(), "pool", "pools"),
        print::counted(sandboxes.len(), "Sandbox", "Sandboxes"),
        waiting.len(),
        count(TaskState::Running),
        count(TaskState::Pending),
    );
    let mut of_pools = Table::new(&["POOL", "FILL", "READY", "WANTED", "WAITING", "ALLOCATED", "STATE"]);
    // More than there are lines is not even drawn.
    let most = frame.rows.map_or(usize::MAX, usize::from);
    for pool in pools.iter().take(most) {
        let [name, ready, wanted, waiting, allocated, state, ..] = of_pool(pool, waiting, frame.now);
        of_pools.row([name, bar(pool), ready, wanted, waiting, allocated, state]);
    }
    let is_measured = !frame.usage.is_empty();
    let measured: &[_] = if is_measured { &["CPU", "MEMORY"] } else { &[] };
    let mut of_sandboxes = Table::new(&[&["SANDBOX", "POOL", "PHASE", "TASK", "AGE"], measured].concat());
    for sandbox in sandboxes.iter().take(most) {
        let mut cells = row(sandbox, tasks, frame).to_vec();
        if is_measured {
            cells.extend(used(sandbox, frame));
        }
        of_sandboxes.row(cells);
    }
    let mut of_tasks = Table::new(&["TASK", "SANDBOX", "STATE", "REASON", "STEP", "EXIT", "DURATION", "AGE"]);
    let mut shown = recent(tasks);
    // Those that have not finished come first, then the newest.
    shown.sort_by_key(|task| (state_of(task).is_some_and(TaskState::is_finished), std::cmp::Reverse(created(*task))));
    let unfinished_and_recent = shown.len();
    for task in shown.into_iter().take(most) {
        let [cells @ .., _] = of_task(task, frame.now);
        of_tasks.row(cells);
    }
    let parts = [(of_pools, pools.len()), (of_sandboxes, sandboxes.len()), (of_tasks, unfinished_and_recent)];
    let parts = parts.iter().filter(|(table, _)| !table.is_empty());
    let parts = parts.map(|(table, all)| (table.fitted(true, frame.columns), all.saturating_sub(most)));
    fit(&head(headline, frame), &parts.collect::<Vec<_>>(), frame.rows)
}

/// The first lines, broken where they must be.
fn head(headline: String, frame: Frame<'_>) -> String {
    let mut lines = Table::new(&[""]);
    lines.row([headline]);
    if let Some(Stale { since, why }) = frame.stale {
        let since = since.to_zoned(TimeZone::system()).strftime("%H:%M:%S");
        lines.row([format!("not updated since {since}: {why}")]);
    }
    lines.fitted(false, frame.columns)
}

/// The lines of the tables that there is room for, and how many there is none for: those, and rows that were not drawn.
fn fit(head: &str, tables: &[(String, usize)], rows: Option<u16>) -> String {
    let mut text = head.to_owned();
    let mut room = rows.map_or(usize::MAX, |rows| usize::from(rows).saturating_sub(head.lines().count() + 1));
    for (index, (table, undrawn)) in tables.iter().enumerate() {
        let behind = (tables.len() - index - 1) * (LEAST + 1);
        let lines: Vec<_> = table.lines().collect();
        let most = room.saturating_sub(behind + 1);
        text.push('\n');
        let is_all = lines.len() <= most && *undrawn == 0;
        let shown = if is_all { lines.len() } else { lines.len().min(most.saturating_sub(1)) };
        for line in &lines[..shown] {
            text.extend([line, "\n"]);
        }
        if !is_all {
            text.extend(["... ", &(lines.len() - shown + undrawn).to_string(), " more\n"]);
        }
        room = room.saturating_sub(lines.len().min(most) + 1);
    }
    text
}

fn bar(pool: &WarmPool) -> String {
    let status = pool.status.as_ref();
    let wanted = status.and_then(|status| status.wanted).unwrap_or(pool.spec.replicas);
    let [wanted, ready] = [wanted, status.map_or(0, |status| status.ready)].map(|n| usize::try_from(n).unwrap_or(0));
    let full = (ready * BAR).checked_div(wanted).unwrap_or(BAR).min(BAR);
    format!("{}{}", "#".repeat(full), ".".repeat(BAR - full))
}

fn row(sandbox: &Sandbox, tasks: &[Task], frame: Frame<'_>) -> [String; 5] {
    let name = sandbox.name_any();
    let phase = sandbox.status.as_ref().and_then(|status| status.phase);
    let runs = |task: &&Task| task.spec.sandbox_ref == name && state_of(task) == Some(TaskState::Running);
    [
        name.clone(),
        sandbox.spec.pool_ref.clone(),
        phase.map_or_else(|| "Unserved".to_owned(), |phase| format!("{phase:?}")),
        tasks.iter().find(runs).map(ResourceExt::name_any).unwrap_or_default(),
        age(created(sandbox), frame.now),
    ]
}

fn used(sandbox: &Sandbox, frame: Frame<'_>) -> [String; 2] {
    let pod = sandbox.status.as_ref().and_then(|status| status.pod_name.as_ref());
    pod.and_then(|pod| frame.usage.get(pod)).map(Usage::cells).unwrap_or_default()
}

fn state_of(task: &Task) -> Option<TaskState> {
    task.status.as_ref().and_then(|status| status.state)
}

fn created(object: &impl Resource) -> Option<Timestamp> {
    object.meta().creation_timestamp.as_ref().map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects(tasks: i64) -> Objects {
        let meta = |name: &str| json!({ "name": name, "namespace": "n", "creationTimestamp": "1970-01-01T00:00:30Z" });
        let made = |kind: &str, name: &str, spec, status| {
            json!({ "apiVersion": "arl.infra.io/v1alpha1", "kind": kind,
            "metadata": meta(name), "spec": spec, "status": status })
        };
        let pool = made(
            "WarmPool",
            "p",
            json!({ "replicas": 4, "template": { "spec": { "containers": [] } } }),
            json!({ "ready": 3, "allocated": 1, "phase": "Scaling" }),
        );
        let sandbox = made("Sandbox", "s", json!({ "poolRef": "p" }), json!({ "phase": "Bound", "podName": "p-1" }));
        let task = |n: i64| {
            made(
                "Task",
                &format!("t{n}"),
                json!({ "sandboxRef": "s", "steps": [] }),
                json!({ "state": if n == 0 { "Running" } else { "Succeeded" } }),
            )
        };
        Objects {
            pools: Some(vec![serde_json::from_value(pool).unwrap()]),
            sandboxes: Some(vec![serde_json::from_value(sandbox).unwrap()]),
            tasks: Some((0..tasks).map(|n| serde_json::from_value(task(n)).unwrap()).collect()),
            waiting: Vec::new(),
        }
    }

    fn frame<'a>(objects: &'a Objects, usage: &'a BTreeMap<String, Usage>, rows: Option<u16>) -> Frame<'a> {
        let now = Timestamp::from_second(60).unwrap();
        Frame { namespace: "n", objects, usage, stale: None, now, columns: None, rows }
    }

    #[test]
    fn one_look_shows_how_full_pools_are_and_who_uses_what() {
        let usage = BTreeMap::from([("p-1".to_owned(), Usage { millicores: 12.0, bytes: 3_145_728.0 })]);
        let expected = "\
n   1 pool, 1 Sandbox (0 waiting), 1 Tasks running, 0 pending

POOL   FILL         READY   WANTED   WAITING   ALLOCATED   STATE
p      #######...   3       4        0         1           Scaling

SANDBOX   POOL   PHASE   TASK   AGE   CPU   MEMORY
s         p      Bound   t0     30s   12m   3Mi

TASK   SANDBOX   STATE     REASON   STEP   EXIT   DURATION   AGE
t0     s         Running                                     30s
";
        assert_eq!(draw(frame(&objects(1), &usage, None)), expected);
    }

    #[test]
    fn what_may_be_old_is_said_to_be() {
        let (objects, usage) = (objects(1), BTreeMap::new());
        let why = "cannot watch tasks: connection refused".to_owned();
        let stale = Stale { since: Timestamp::from_second(30).unwrap(), why };
        let text = draw(Frame { stale: Some(&stale), columns: Some(40), ..frame(&objects, &usage, Some(20)) });
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let since = stale.since.to_zoned(TimeZone::system()).strftime("%H:%M:%S");
        let expected = format!("not updated since {since}: cannot watch tasks: connection refused POOL");
        assert!(words.contains(&expected), "{text}");
        assert!(text.lines().count() <= 20 && text.lines().all(|line| line.chars().count() <= 40), "{text}");
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let text = draw(frame(&objects(30), &BTreeMap::new(), Some(20)));
        assert!(text.lines().count() <= 20 && text.ends_with(" more\n"), "{text}");
        assert!(text.contains("\nt0 "), "what runs comes first: {text}");
        let least = draw(frame(&objects(30), &BTreeMap::new(), Some(1)));
        assert!(least.starts_with("n   1 pool,"), "{least}");
        assert!(!text.contains("MEMORY"), "where nothing is measured: {text}");
    }
}
