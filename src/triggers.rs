//! Which change wakes whom. All wiring between the kinds is here, in pure functions from a change to whom it concerns.

use std::{collections::BTreeSet, time::Duration};

use arl_crds::{
    Sandbox, Task, WarmPool,
    condition::{self, SCALING_LIMITED},
    reason::WarmPoolReason::AtMaxPods,
};
use jiff::Timestamp;

use crate::{
    cache::{self, Change, PodIndex, Row, SandboxId, SandboxRow, Source, Table, Tables, TaskRow, Wake},
    clock::Clock,
    metrics::{self, Metrics},
    object::{Key, Uid},
    pod::Pod,
};

/// Forgets what was counted in a namespace whose last object goes.
fn forget_empty_namespace<S: Source>(change: &Change<S>, tables: &Tables, metrics: &Metrics) {
    if let (None, Some(Key { namespace, .. })) = (&change.after, change.key())
        && !tables.has_any_in(&namespace)
    {
        metrics.forget_namespace(&namespace);
    }
}

/// How long a pod took to be ready, as the API server's whole seconds have it.
fn start_of(pod: &Pod) -> Option<Duration> {
    let created = pod.metadata.creation_timestamp.as_ref()?.0;
    Some(Duration::try_from(pod.ready_since()?.duration_since(created)).unwrap_or_default())
}

fn is_going(pool: &WarmPool) -> bool {
    pool.metadata.deletion_timestamp.is_some()
}

fn head_of_queue(sandbox: &Key, tables: &Tables) -> Option<Wake> {
    tables.head(sandbox).map(|row| Wake::Task(row.key()))
}

impl Source for WarmPool {
    type Object = Self;

    fn row(mut object: Self, _: Timestamp) -> Self {
        cache::abridge_pool(&mut object);
        object
    }

    fn table(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.pools
    }

    fn measure(change: &Change<Self>, tables: &Tables, metrics: &Metrics) {
        if let (None, Some(pool)) = (&change.after, change.key()) {
            metrics.forget_pool(&pool);
        }
        forget_empty_namespace(change, tables, metrics);
    }

    fn remember(change: &Change<Self>, tables: &mut Tables, _: &Clock) {
        if let (None, Some(pool)) = (&change.after, change.key()) {
            tables.demand.remove(&pool);
        }
    }

    fn pair(change: &Change<Self>, tables: &mut Tables) -> Vec<Key> {
        let Some(key) = change.key() else { return Vec::new() };
        // Somebody's finalizer may keep one that is deleted for long: its pods are nobody's to claim.
        let present = change.after.as_deref().filter(|pool| !is_going(pool));
        if !tables.set_template(&key, present) {
            return Vec::new();
        }
        let pods: Vec<Key> = tables.pods.under(&PodIndex::Idle(key)).map(|pod| pod.key()).collect();
        tables.pair([], pods)
    }

    fn wakes(change: &Change<Self>, tables: &Tables) -> Vec<Wake> {
        let Some(key) = change.key() else { return Vec::new() };
        let mut wakes = vec![Wake::Pool(key.clone())];
        // Whether it is at its limit is part of why they wait.
        let is_at_limit = |pool: &WarmPool| {
            let status = pool.status.as_ref();
            status.and_then(|s| condition::find(&s.conditions, SCALING_LIMITED)).map(|c| c.reason == AtMaxPods.as_str())
        };
        if change.differs(|pool| {
            (Uid::of(pool), is_going(pool), pool.spec.scaling.clone(), is_at_limit(pool).unwrap_or(false))
        }) {
            wakes.extend(tables.waiting(&key).map(|row| Wake::Sandbox(row.key())));
        }
        wakes
    }
}

impl Source for Pod {
    type Object = Self;

    fn row(object: Self, now: Timestamp) -> Self {
        object.slim().seen_at(now)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.pods
    }

    fn measure(change: &Change<Self>, tables: &Tables, metrics: &Metrics) {
        let (Some(before), Some(after)) = (&change.before, &change.after) else { return };
        let times = after.metadata.creation_timestamp.as_ref().zip(after.ready_since());
        if let (false, Some((created, ready)), Some(pool)) = (before.is_ready(), times, after.pool())
            && after.is_idle()
            && tables.pools.get(&pool).is_some()
        {
            let seconds = metrics::seconds(created.0, ready);
            metrics.pod_ready_seconds.with([&pool.namespace, &pool.name]).observe(seconds);
        }
    }

    fn remember(change: &Change<Self>, tables: &mut Tables, clock: &Clock) {
        let (Some(before), Some(after)) = (&change.before, &change.after) else { return };
        let Some(pool) = after.pool().filter(|pool| before.is_idle() && tables.pools.get(pool).is_some()) else {
            return;
        };
        if !after.is_idle() {
            tables.demand.entry(pool).or_default().claimed(clock.now());
        } else if let (false, Some(took)) = (before.is_ready(), start_of(after)) {
            tables.demand.entry(pool).or_default().started(took);
        }
    }

    fn pair(change: &Change<Self>, tables: &mut Tables) -> Vec<Key> {
        let sandboxes: BTreeSet<Key> = change.either(Pod::sandbox).chain(change.either(Pod::owning_sandbox)).collect();
        tables.pair(sandboxes, change.key())
    }

    fn wakes(change: &Change<Self>, tables: &Tables) -> Vec<Wake> {
        let mut wakes = Vec::new();
        // Anybody may take the label away; the pod is its owner's all the same.
        let sandboxes: BTreeSet<Key> = change.either(Pod::sandbox).chain(change.either(Pod::owning_sandbox)).collect();
        for sandbox in sandboxes {
            wakes.extend(head_of_queue(&sandbox, tables));
            wakes.push(Wake::Sandbox(sandbox));
        }
        // Its claim may just have failed because the pod changed.
        wakes.extend(change.key().and_then(|pod| tables.claimer(&pod).cloned()).map(Wake::Sandbox));
        wakes.extend(change.either(Pod::pool).map(Wake::Pool));
        wakes
    }

    fn unseen(tables: &Tables) -> Vec<Wake> {
        let is_unseen = |pod: &Key| tables.pods.get(pod).is_none();
        let holders =
            tables.sandboxes.rows().filter(|row| !row.is_released() && row.pod().is_some_and(|pod| is_unseen(&pod)));
        // A pool's pod may have been made, and have gone, since the list before.
        let pools = tables.pools.rows().map(|pool| Wake::Pool(Key::of(pool)));
        holders.map(|row| Wake::Sandbox(row.key())).chain(pools).collect()
    }
}

impl Source for SandboxRow {
    type Object = Sandbox;

    fn row(mut object: Sandbox, now: Timestamp) -> Self {
        cache::slim(&mut object.metadata);
        Self::new(object).heard_of(now)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.sandboxes
    }

    fn measure(change: &Change<Self>, tables: &Tables, metrics: &Metrics) {
        forget_empty_namespace(change, tables, metrics);
    }

    fn pair(change: &Change<Self>, tables: &mut Tables) -> Vec<Key> {
        let pods: Vec<Key> = change.either(SandboxRow::pod).collect();
        tables.pair(change.key(), pods)
    }

    fn wakes(change: &Change<Self>, tables: &Tables) -> Vec<Wake> {
        let Some(key) = change.key() else { return Vec::new() };
        let mut wakes: Vec<Wake> = vec![Wake::Sandbox(key.clone())];
        let setup = |row: &SandboxRow| (row.setup().map(|setup| setup.task_uid.clone()), row.is_set_up());
        if change.differs(|row| (Uid::of(&*row.sandbox), row.pod_uid(), row.is_released(), setup(row))) {
            wakes.extend(tables.queued(&key).map(|row| Wake::Task(row.key())));
        } else {
            wakes.extend(head_of_queue(&key, tables));
        }
        // A pool that follows what is asked for looks at who waits.
        if change.differs(SandboxRow::is_waiting) {
            let pools = change.either(|row| Some(row.pool()));
            let follows = |key: &Key| tables.pools.get(key).is_some_and(|pool| pool.spec.scaling.is_some());
            wakes.extend(pools.filter(follows).map(Wake::Pool));
        }
        wakes
    }

    fn named_by(key: &Key, tables: &Tables) -> Vec<Wake> {
        tables.queued(key).map(|row| Wake::Task(row.key())).collect()
    }

    fn remember(change: &Change<Self>, tables: &mut Tables, _: &Clock) {
        if let (Some(before), Some(after)) = (&change.before, &change.after)
            && before.is_waiting()
            && after.pod_uid().is_some()
            && let Some(pool) = Some(after.pool()).filter(|pool| tables.pools.get(pool).is_some())
        {
            // One that found a pod at once had nothing written to its status before.
            tables.demand.entry(pool).or_default().served(before.sandbox.status.is_none());
        }
        let after = change.after.as_ref().map(|row| row.id());
        if let Some(before) = change.before.as_ref().map(|row| row.id()).filter(|b| Some(b) != after.as_ref()) {
            tables.last_finished.remove(&before);
        }
        outlive(change, tables);
    }
}

/// Notes of the Tasks that wait for a Sandbox, with nothing of it on record yet, that it has been deleted: another of its name is not theirs.
/// One that was created after that waits for the other.
fn outlive(change: &Change<SandboxRow>, tables: &mut Tables) {
    let is_there = |row: &SandboxRow| row.sandbox.metadata.deletion_timestamp.is_none();
    let (Some(before), Some(version)) = (change.before.as_ref().filter(|before| is_there(before)), change.version)
    else {
        return;
    };
    if change.after.as_ref().is_some_and(|after| is_there(after) || after.id() != before.id()) {
        return;
    }
    let waits = |task: &&TaskRow| task.sandbox_uid().is_none() && task.arrival.number < version;
    let waiting: Vec<_> = tables.queued(&before.key()).filter(waits).cloned().collect();
    for task in waiting {
        tables.tasks.apply(task.outliving(Uid::of(&*before.sandbox)));
    }
}

impl Source for TaskRow {
    type Object = Task;

    fn row(object: Task, now: Timestamp) -> Self {
        Self::new(object).heard_of(now)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.tasks
    }

    fn measure(change: &Change<Self>, tables: &Tables, metrics: &Metrics) {
        forget_empty_namespace(change, tables, metrics);
    }

    fn wakes(change: &Change<Self>, tables: &Tables) -> Vec<Wake> {
        let Some(key) = change.key() else { return Vec::new() };
        let mut wakes = vec![Wake::Task(key)];
        if change.differs(|row| (row.state(), row.sandbox())) {
            for sandbox in change.either(|row| Some(row.sandbox())) {
                wakes.extend(head_of_queue(&sandbox, tables));
                wakes.push(Wake::Sandbox(sandbox));
            }
        }
        wakes
    }

    fn unseen(tables: &Tables) -> Vec<Wake> {
        let is_unseen = |row: &&SandboxRow| row.setup_task().is_some() && tables.setup_task(row).is_none();
        let waiting = tables.sandboxes.rows().filter(|row| !row.is_set_up() && !row.is_released()).filter(is_unseen);
        waiting.map(|row| Wake::Sandbox(row.key())).collect()
    }

    /// A Task that is deleted in flight counts as ended when its deletion is seen. Not recorded are a Task whose Sandbox is gone, and one that
    /// sets its Sandbox up, which does not count against idleness. Which Sandbox it ran for is a record that can be forged.
    fn remember(change: &Change<Self>, tables: &mut Tables, clock: &Clock) {
        let id = |row: &TaskRow| row.sandbox_uid().map(|uid| (row.key().namespace, uid));
        if let Some(row) = change.before.as_deref()
            && let Some(sandbox) = id(row)
            && change.after.as_deref().and_then(id).as_ref() != Some(&sandbox)
            && tables.sandboxes.get(&row.sandbox()).is_none_or(|present| present.id() != sandbox)
        {
            tables.last_finished.remove(&sandbox);
            if change.after.is_none() {
                return;
            }
        }
        let ended: Option<(SandboxId, Timestamp)> = match (&change.before, &change.after) {
            (Some(row), _) | (None, Some(row)) if row.setup_of.is_some() => None,
            (_, Some(row)) if row.state().is_finished() => id(row).zip(row.ended_on_record()),
            (Some(row), None) if row.started_at().is_some() && !row.state().is_finished() => {
                id(row).map(|id| (id, clock.now()))
            }
            _ => None,
        };
        if let Some((sandbox, at)) = ended {
            let last = tables.last_finished.entry(sandbox).or_insert(at);
            *last = (*last).max(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::metrics::Catalogue;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn object(kind: &str, name: &str, uid: &str, spec: &Value, status: &Value) -> Value {
        json!({
            "apiVersion": "arl.infra.io/v1alpha1", "kind": kind, "spec": spec, "status": status,
            "metadata": { "name": name, "namespace": "ns", "uid": uid },
        })
    }

    fn sandbox() -> SandboxRow {
        let object = object("Sandbox", "s", "sandbox", &json!({ "poolRef": "p" }), &Value::Null);
        SandboxRow::new(serde_json::from_value(object).unwrap())
    }

    fn task(name: &str, state: &str, completed_at: Option<Timestamp>) -> TaskRow {
        let status = json!({
            "state": state, "sandboxUID": "sandbox", "startedAt": at(1).to_string(),
            "completedAt": completed_at.map(|at| at.to_string()), "steps": [], "conditions": [],
        });
        let object = object("Task", name, name, &json!({ "sandboxRef": "s", "steps": [] }), &status);
        TaskRow::new(serde_json::from_value(object).unwrap())
    }

    fn apply<S: Source>(tables: &mut Tables, row: S) {
        let change = S::table(tables).apply(row);
        S::remember(&change, tables, &Clock::new(|| at(99)));
    }

    fn delete<S: Source>(tables: &mut Tables, name: &str) {
        let change = S::table(tables).delete(&Key::new("ns", name));
        S::remember(&change, tables, &Clock::new(|| at(99)));
    }

    fn last(tables: &Tables) -> Option<Timestamp> {
        tables.last_finished.get(&("ns".into(), Uid("sandbox".into()))).copied()
    }

    /// Kept by a watch, and by what is learned of the answer to a write.
    fn kept<S: Source>(kind: &str, spec: &Value, status: &Value) -> S {
        let large = "x".repeat(200_000);
        let mut laden = object(kind, "laden", "uid", spec, status);
        laden["metadata"]["annotations"] = json!({ "kubectl.kubernetes.io/last-applied-configuration": large });
        laden["metadata"]["labels"] = json!({ "large": "x".repeat(63), "arl.infra.io/warmpool": "p" });
        laden["metadata"]["managedFields"] = json!([{ "manager": large }]);
        laden["metadata"]["finalizers"] = json!([large]);
        let row = S::row(serde_json::from_value(laden).unwrap(), at(0));
        let metadata = serde_json::to_string(row.metadata()).unwrap();
        assert!(metadata.len() < 300, "{kind}: {} bytes", metadata.len());
        row
    }

    #[test]
    fn what_nobody_reads_is_kept_of_no_kind_and_of_an_ended_task_no_command() {
        let step = json!({ "name": "a", "type": "Command", "command": ["echo", "x".repeat(3_000)], "env": { "A": "x".repeat(500) } });
        let spec = json!({ "sandboxRef": "s", "steps": [step] });
        let pool: WarmPool = kept("WarmPool", &json!({ "replicas": 1, "template": { "spec": {} } }), &Value::Null);
        assert_eq!(pool.spec.replicas, 1);
        let setup = json!({ "poolRef": "p", "setup": { "steps": [step] } });
        let sandbox: SandboxRow = kept("Sandbox", &setup, &Value::Null);
        assert_eq!(sandbox.sandbox.spec.setup.as_ref().map(|setup| setup.steps.len()), Some(0));
        let _: Pod = kept("Pod", &json!({}), &json!({}));
        for (state, is_kept) in [("Running", true), ("Succeeded", false), ("Failed", false)] {
            let row: TaskRow =
                kept("Task", &spec, &json!({ "state": state, "stdout": "o", "steps": [], "conditions": [] }));
            let size: usize = row.task.spec.steps.iter().map(arl_crds::Step::size).sum();
            assert_eq!(size > 0, is_kept, "{state}: {size} bytes of steps");
            assert_eq!(row.status().unwrap().stdout, None, "{state}");
        }
    }

    #[test]
    fn the_latest_end_of_a_sandboxs_tasks_outlives_them_and_ends_with_the_sandbox() {
        let mut tables = Tables::default();
        apply(&mut tables, task("listed-before-its-sandbox", "Succeeded", Some(at(7))));
        apply(&mut tables, sandbox());
        apply(&mut tables, task("earlier", "Failed", Some(at(5))));
        apply(&mut tables, task("in-flight", "Running", None));
        assert_eq!(last(&tables), Some(at(7)));
        delete::<TaskRow>(&mut tables, "listed-before-its-sandbox");
        assert_eq!(last(&tables), Some(at(7)));
        delete::<TaskRow>(&mut tables, "in-flight");
        assert_eq!(last(&tables), Some(at(99)), "deleted in flight, it ended when that was seen");
        delete::<SandboxRow>(&mut tables, "s");
        assert_eq!(last(&tables), None);
    }

    #[test]
    fn the_setup_is_at_the_head_until_it_has_succeeded_and_is_no_task_that_a_sandbox_is_released_after() {
        let name = arl_crds::setup_task("s", "sandbox");
        let with = |state: &str| {
            let mut object = serde_json::to_value(&*sandbox().sandbox).unwrap();
            object["spec"]["setup"] = json!({ "steps": [] });
            object["status"] = json!({ "podUID": "pod", "setup": { "task": name, "taskUID": name, "state": state } });
            Arc::new(SandboxRow::new(serde_json::from_value(object).unwrap()))
        };
        let mut tables = Tables::default();
        apply(&mut tables, task("a", "Pending", None));
        apply(&mut tables, task(&name, "Pending", None));
        let head = |tables: &Tables| tables.head(&Key::new("ns", "s")).map(|row| row.key().name);
        tables.sandboxes.apply(SandboxRow::new((*with("Pending").sandbox).clone()));
        assert_eq!(head(&tables).as_deref(), Some(name.as_str()));
        apply(&mut tables, task(&name, "Succeeded", Some(at(7))));
        assert_eq!(last(&tables), None);
        tables.sandboxes.apply(SandboxRow::new((*with("Succeeded").sandbox).clone()));
        assert_eq!(head(&tables).as_deref(), Some("a"));
        let change = Change { before: Some(with("Pending")), after: Some(with("Succeeded")), version: None };
        assert!(SandboxRow::wakes(&change, &tables).contains(&Wake::Task(Key::new("ns", "a"))));
    }

    #[test]
    fn tasks_of_another_namespace_change_nothing_that_is_known_of_a_sandbox() {
        let mut tables = Tables::default();
        apply(&mut tables, sandbox());
        apply(&mut tables, task("t", "Succeeded", Some(at(7))));
        let elsewhere = |ended| {
            let mut object = (*task("evil", "Succeeded", Some(at(ended))).task).clone();
            object.metadata.namespace = Some("evil".into());
            TaskRow::new(object)
        };
        apply(&mut tables, elsewhere(90));
        assert_eq!(last(&tables), Some(at(7)));
        let change = tables.tasks.delete(&Key::new("evil", "evil"));
        TaskRow::remember(&change, &mut tables, &Clock::new(|| at(99)));
        assert_eq!(last(&tables), Some(at(7)));
    }

    #[test]
    fn tasks_that_end_after_their_sandbox_leave_nothing_behind() {
        let mut tables = Tables::default();
        apply(&mut tables, sandbox());
        apply(&mut tables, task("t", "Running", None));
        delete::<SandboxRow>(&mut tables, "s");
        apply(&mut tables, task("t", "Failed", Some(at(8))));
        delete::<TaskRow>(&mut tables, "t");
        assert!(tables.last_finished.is_empty());
    }

    #[test]
    fn a_task_whose_record_of_its_sandbox_is_changed_leaves_nothing_behind() {
        let ran_for = |uid: &str| {
            let mut object = (*task("t", "Succeeded", Some(at(7))).task).clone();
            object.status.as_mut().unwrap().sandbox_uid = Some(uid.into());
            TaskRow::new(object)
        };
        let mut tables = Tables::default();
        apply(&mut tables, sandbox());
        for uid in ["sandbox", "forged", "forged-again", "sandbox"] {
            apply(&mut tables, ran_for(uid));
        }
        assert_eq!((last(&tables), tables.last_finished.len()), (Some(at(7)), 1));
        apply(&mut tables, ran_for("forged"));
        delete::<TaskRow>(&mut tables, "t");
        assert_eq!((last(&tables), tables.last_finished.len()), (Some(at(7)), 1), "the Sandbox is still there");
    }

    #[test]
    fn series_go_with_their_pool_and_with_the_last_object_of_their_namespace() {
        let (mut tables, mut catalogue) = (Tables::default(), Catalogue::default());
        let metrics = Metrics::new(&mut catalogue);
        let pool = object("WarmPool", "p", "p", &json!({ "replicas": 1, "template": { "spec": {} } }), &Value::Null);
        tables.pools.apply(serde_json::from_value(pool).unwrap());
        apply(&mut tables, sandbox());
        apply(&mut tables, task("t", "Succeeded", Some(at(7))));
        for namespace in ["ns", "other", "ns2"] {
            metrics.claims.with([namespace, "p", "warm"]).inc();
            metrics.claims.with([namespace, "p2", "warm"]).inc();
            metrics.claim_seconds.with([namespace, "p", "warm"]).observe(1.0, None, None);
            metrics.tasks_finished.with([namespace, "Succeeded"]).inc();
            metrics.step_seconds.with([namespace, "Command"]).observe(1.0);
        }
        let counted = |namespace: &str| {
            let text = catalogue.text().unwrap();
            let label = format!("namespace=\"{namespace}\"");
            let lines = text.lines().filter(|line| line.contains(&label) && !line.contains("_bucket"));
            lines.filter_map(|line| line.split('{').next()).map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let all = counted("other");
        assert_eq!(counted("ns"), all);
        Source::measure(&tables.pools.delete(&Key::new("ns", "p")), &tables, &metrics);
        let left = BTreeSet::from(["arl_sandbox_claims_total", "arl_tasks_finished_total"].map(str::to_owned));
        assert_eq!(counted("ns").intersection(&left).count(), 2, "another pool's, and the namespace's");
        assert!(!counted("ns").contains("arl_sandbox_claim_seconds_sum"));
        Source::measure(&tables.sandboxes.delete(&Key::new("ns", "s")), &tables, &metrics);
        assert!(counted("ns").contains("arl_tasks_finished_total"), "there is a Task left");
        Source::measure(&tables.tasks.delete(&Key::new("ns", "t")), &tables, &metrics);
        assert_eq!(counted("ns"), BTreeSet::from(["arl_sandbox_claims_total".to_owned()]), "of a pool that is there");
        assert_eq!((counted("other"), counted("ns2")), (all.clone(), all));
    }

    #[test]
    fn the_end_of_a_pod_wakes_the_sandbox_that_owns_it_whatever_its_labels_say() {
        let pod = |phase: &str| {
            let owner = json!([{ "apiVersion": "arl.infra.io/v1alpha1", "kind": "Sandbox", "name": "s", "uid": "sandbox", "controller": true }]);
            let metadata = json!({ "name": "a", "namespace": "ns", "ownerReferences": owner });
            let pod = json!({ "metadata": metadata, "status": { "phase": phase } });
            Some(Arc::new(serde_json::from_value::<Pod>(pod).unwrap()))
        };
        let mut tables = Tables::default();
        apply(&mut tables, sandbox());
        apply(&mut tables, task("t", "Running", None));
        let change = Change { before: pod("Running"), after: pod("Failed"), version: None };
        let key = |name: &str| Key::new("ns", name);
        assert_eq!(Pod::wakes(&change, &tables), [Wake::Task(key("t")), Wake::Sandbox(key("s"))]);
    }

    #[test]
    fn only_a_pool_that_exists_has_a_time_to_ready() {
        let pod = |ready: &str| {
            let labels = json!({ "arl.infra.io/warmpool": "p", "arl.infra.io/pod-state": "ready" });
            let condition = json!({ "type": "Ready", "status": ready, "lastTransitionTime": at(3).to_string() });
            let metadata =
                json!({ "name": "a", "namespace": "ns", "labels": labels, "creationTimestamp": at(1).to_string() });
            let pod = json!({ "metadata": metadata, "status": { "phase": "Running", "conditions": [condition] } });
            Some(Arc::new(serde_json::from_value::<Pod>(pod).unwrap()))
        };
        let change = Change { before: pod("False"), after: pod("True"), version: None };
        let (mut tables, mut catalogue) = (Tables::default(), Catalogue::default());
        let metrics = Metrics::new(&mut catalogue);
        Pod::measure(&change, &tables, &metrics);
        assert!(!catalogue.text().unwrap().contains("arl_warmpool_pod_ready_seconds_sum"));
        let pool = object("WarmPool", "p", "p", &json!({ "replicas": 1, "template": { "spec": {} } }), &Value::Null);
        tables.pools.apply(serde_json::from_value(pool).unwrap());
        Pod::measure(&change, &tables, &metrics);
        let sum = "arl_warmpool_pod_ready_seconds_sum{namespace=\"ns\",warmpool=\"p\"} 2.0";
        assert!(catalogue.text().unwrap().lines().any(|line| line == sum));
    }
}
