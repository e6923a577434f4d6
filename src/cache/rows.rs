//! What the cache keeps of each of our kinds.

use std::{sync::Arc, time::Duration};

use arl_crds::{
    InvalidSpec, Sandbox, SandboxPhase, SandboxStatus, Task, TaskState, TaskStatus, WarmPool, condition, name::is_name,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{
    abridge::{abridge, abridge_setup, setup_of},
    table::Row,
};
use crate::{
    arrival::Arrival,
    clock::after,
    object::{Key, Uid},
};

/// For so long a Task is new.
const NEW: Duration = Duration::from_secs(1);

impl Row for WarmPool {
    type Index = ();
    type Place = ();

    fn key(&self) -> Key {
        Key::of(self)
    }

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn indexes(&self) -> Vec<()> {
        Vec::new()
    }

    fn place(&self) {}
}

/// The namespace and the uid of a Sandbox: a uid alone may be written into an object of another namespace.
pub type SandboxId = (String, Uid);

/// A Sandbox without the steps of its setup, and its place in the queue.
#[derive(Debug)]
pub struct SandboxRow {
    /// The object; the steps of its setup are left out.
    pub sandbox: Arc<Sandbox>,
    /// How many bytes of its setup are left out here.
    pub left_out: usize,
    /// Its place among the Sandboxes that wait for a pod.
    pub arrival: Arrival,
    heard_of: Timestamp,
}

/// What Sandboxes are found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SandboxIndex {
    /// Sandboxes of this pool that have never had a pod.
    Waiting(Key),
    /// The Sandbox of this namespace whose status names the pod with this uid.
    Holder(String, Uid),
}

impl SandboxRow {
    /// A row for an object just read.
    pub fn new(mut sandbox: Sandbox) -> Self {
        let arrival = Arrival::of(&sandbox, sandbox.status.as_ref().and_then(|s| s.arrival), None);
        let left_out = abridge_setup(&mut sandbox);
        Self { sandbox: Arc::new(sandbox), left_out, arrival, heard_of: Timestamp::MAX }
    }

    /// The same, first seen at this time.
    #[must_use]
    pub fn heard_of(self, now: Timestamp) -> Self {
        Self { heard_of: now, ..self }
    }

    /// When it was created, to less than a second if this operator saw it.
    pub fn created_at(&self) -> Timestamp {
        created_at(&self.sandbox.metadata, self.heard_of)
    }

    /// What it is known by where the Sandbox of a Task is looked for.
    pub fn id(&self) -> SandboxId {
        (self.key().namespace, Uid::of(&*self.sandbox))
    }

    /// The pool it wants a pod of.
    pub fn pool(&self) -> Key {
        Key::of(&*self.sandbox).sibling(&self.sandbox.spec.pool_ref)
    }

    pub(super) fn status(&self) -> Option<&SandboxStatus> {
        self.sandbox.status.as_ref()
    }

    /// The uid of its pod, once it is on record.
    pub fn pod_uid(&self) -> Option<Uid> {
        self.status()?.pod_uid.clone().map(Uid)
    }

    /// The key of its pod, once it is on record.
    pub fn pod(&self) -> Option<Key> {
        self.status()?.pod_name.as_deref().filter(|name| is_name(name)).map(|name| self.key().sibling(name))
    }

    /// Whether it has given up its pod.
    pub fn is_released(&self) -> bool {
        self.status().is_some_and(|s| s.phase == Some(SandboxPhase::Released))
    }

    /// Whether it may still claim a pod.
    pub fn is_waiting(&self) -> bool {
        self.pod_uid().is_none() && !self.is_released() && self.sandbox.metadata.deletion_timestamp.is_none()
    }
}

impl Row for SandboxRow {
    type Index = SandboxIndex;
    type Place = Arrival;

    fn key(&self) -> Key {
        Key::of(&*self.sandbox)
    }

    fn metadata(&self) -> &ObjectMeta {
        &self.sandbox.metadata
    }

    fn indexes(&self) -> Vec<SandboxIndex> {
        let waiting = self.is_waiting().then(|| SandboxIndex::Waiting(self.pool()));
        let held = self.pod_uid().map(|pod| SandboxIndex::Holder(self.key().namespace, pod));
        waiting.into_iter().chain(held).collect()
    }

    fn place(&self) -> Arrival {
        self.arrival.clone()
    }

    fn succeed(&mut self, before: &Self) {
        if before.sandbox.metadata.uid == self.sandbox.metadata.uid {
            self.arrival.number = before.arrival.number;
            self.heard_of = before.heard_of;
        }
    }
}

/// The API keeps whole seconds. One that was heard of right after its creation was created a moment before; one that was found
/// later has only what the API keeps.
fn created_at(metadata: &ObjectMeta, heard_of: Timestamp) -> Timestamp {
    let recorded = metadata.creation_timestamp.as_ref().map_or(heard_of, |at| at.0);
    if heard_of.duration_since(recorded) < SignedDuration::from_secs(2) { heard_of.max(recorded) } else { recorded }
}

/// A Task without its outputs and large contents, and its place in the queue.
#[derive(Clone, Debug)]
pub struct TaskRow {
    /// The object; outputs are left out, and its steps where they are large or it has ended.
    pub task: Arc<Task>,
    /// Why it cannot be run, judged while all of it was there.
    pub invalid: Option<InvalidSpec>,
    /// How many bytes of its steps are left out here, so that they have at most their names and types; 0, where they are whole.
    pub left_out: usize,
    /// The Sandbox whose setup it has the name of, by its owner or by what is on record.
    pub setup_of: Option<Uid>,
    /// Its place among the Tasks of its Sandbox.
    pub arrival: Arrival,
    heard_of: Timestamp,
    /// The Sandbox that it was waiting for when that was deleted, with nothing of it on record.
    deleted_sandbox: Option<Uid>,
}

/// What Tasks are found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskIndex {
    /// Tasks that name this Sandbox and have not finished.
    Unfinished(Key),
}

impl TaskRow {
    /// A row for an object just read.
    pub fn new(mut task: Task) -> Self {
        let invalid = task.spec.validate().err();
        let arrival = Arrival::of(&task, task.status.as_ref().and_then(|s| s.arrival), None);
        let setup_of = setup_of(&task);
        let left_out = abridge(&mut task);
        let (heard_of, deleted_sandbox) = (Timestamp::MAX, None);
        Self { task: Arc::new(task), invalid, left_out, setup_of, arrival, heard_of, deleted_sandbox }
    }

    /// The same, first seen at this time.
    #[must_use]
    pub fn heard_of(self, now: Timestamp) -> Self {
        Self { heard_of: now, ..self }
    }

    /// When it was created, to less than a second if this operator saw it.
    pub fn created_at(&self) -> Timestamp {
        created_at(&self.task.metadata, self.heard_of)
    }

    /// Until when it is new to this operator; nothing, where it is not.
    pub fn is_new_until(&self, now: Timestamp) -> Option<Timestamp> {
        // A clock that was set back makes nothing new.
        let until = after(self.heard_of, NEW);
        (self.heard_of <= now && now < until).then_some(until)
    }

    /// The Sandbox it names.
    pub fn sandbox(&self) -> Key {
        Key::of(&*self.task).sibling(&self.task.spec.sandbox_ref)
    }

    /// Its recorded status.
    pub fn status(&self) -> Option<&TaskStatus> {
        self.task.status.as_ref()
    }

    /// Its recorded state.
    pub fn state(&self) -> TaskState {
        self.status().and_then(|s| s.state).unwrap_or(TaskState::Pending)
    }

    /// When it ended, if it has.
    pub fn completed_at(&self) -> Option<Timestamp> {
        self.status()?.completed_at.as_ref().map(|t| t.0)
    }

    /// From when on a ttl runs, if it has ended: a result that was long over when it was found is there for its time all the same.
    pub fn ended_on_record(&self) -> Option<Timestamp> {
        let finished = condition::find_true(&self.status()?.conditions, "Finished");
        let on_record = finished.map(|c| c.last_transition_time.0);
        self.completed_at().map(|at| on_record.map_or(at, |on_record| at.max(on_record)))
    }

    /// When its first step was started, if it was.
    pub fn started_at(&self) -> Option<Timestamp> {
        self.status()?.started_at.as_ref().map(|t| t.0)
    }

    /// The Sandbox it belongs to: the one on record; the one whose setup it is named for; the one that was deleted while it waited.
    pub fn sandbox_uid(&self) -> Option<Uid> {
        let recorded = self.status().and_then(|s| s.sandbox_uid.clone()).map(Uid);
        recorded.or_else(|| self.setup_of.clone()).or_else(|| self.deleted_sandbox.clone())
    }

    /// The same, after the Sandbox that it waits for was deleted.
    #[must_use]
    pub fn outliving(self, sandbox: Uid) -> Self {
        Self { deleted_sandbox: Some(sandbox), ..self }
    }
}

impl Row for TaskRow {
    type Index = TaskIndex;
    /// What has been started is before all that has not, whatever the clocks of API servers say.
    type Place = (bool, Arrival);

    fn key(&self) -> Key {
        Key::of(&*self.task)
    }

    fn metadata(&self) -> &ObjectMeta {
        &self.task.metadata
    }

    fn indexes(&self) -> Vec<TaskIndex> {
        // One that cannot be run holds nobody up, whether or not there is room to say so.
        let unfinished = !self.state().is_finished() && (self.invalid.is_none() || self.started_at().is_some());
        unfinished.then(|| TaskIndex::Unfinished(self.sandbox())).into_iter().collect()
    }

    fn place(&self) -> (bool, Arrival) {
        (self.started_at().is_none(), self.arrival.clone())
    }

    fn succeed(&mut self, before: &Self) {
        if before.task.metadata.uid == self.task.metadata.uid {
            self.arrival.number = before.arrival.number;
            self.heard_of = before.heard_of;
            self.deleted_sandbox = self.deleted_sandbox.take().or_else(|| before.deleted_sandbox.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};

    use super::*;
    use crate::cache::Table;

    fn at(millisecond: i64) -> Timestamp {
        Timestamp::from_millisecond(millisecond).unwrap()
    }

    fn sandbox(status: &Value) -> Sandbox {
        let metadata = json!({ "name": "s", "namespace": "ns", "uid": "a", "resourceVersion": "7" });
        let object = json!({ "metadata": metadata, "spec": { "poolRef": "p" }, "status": status });
        serde_json::from_value(object).unwrap()
    }

    fn task(status: &Value, command: &[&str]) -> Task {
        let metadata = json!({ "name": "t", "namespace": "ns", "uid": "a", "resourceVersion": "7" });
        let step = json!({ "name": "a", "type": "Command", "command": command });
        let spec = json!({ "sandboxRef": "s", "steps": [step] });
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec, "status": status })).unwrap()
    }

    #[test]
    fn what_was_heard_of_within_two_seconds_was_created_a_moment_before() {
        // By the API server, if it said; when it was heard of: when it was created.
        for (recorded, heard_of, created) in [
            (Some(1_000), 1_000, 1_000),
            (Some(1_000), 1_700, 1_700),
            (Some(1_000), 2_999, 2_999),
            (Some(1_000), 3_000, 1_000),
            (Some(1_000), 9_000, 1_000),
            (Some(1_000), 400, 1_000),
            (None, 400, 400),
        ] {
            let metadata = ObjectMeta { creation_timestamp: recorded.map(at).map(Time), ..ObjectMeta::default() };
            assert_eq!(created_at(&metadata, at(heard_of)), at(created), "{recorded:?} {heard_of}");
            let mut of_sandbox = sandbox(&Value::Null);
            of_sandbox.metadata.creation_timestamp.clone_from(&metadata.creation_timestamp);
            assert_eq!(SandboxRow::new(of_sandbox).heard_of(at(heard_of)).created_at(), at(created));
            let mut of_task = task(&Value::Null, &["true"]);
            of_task.metadata.creation_timestamp = metadata.creation_timestamp;
            assert_eq!(TaskRow::new(of_task).heard_of(at(heard_of)).created_at(), at(created));
        }
    }

    #[test]
    fn what_is_known_of_an_object_stays_with_it_and_not_with_its_name() {
        for (uid, number, heard_of) in [("a", 7, 100), ("b", 9, 900)] {
            let mut sandboxes = Table::default();
            drop(sandboxes.apply(SandboxRow::new(sandbox(&Value::Null)).heard_of(at(100))));
            let mut changed = sandbox(&Value::Null);
            (changed.metadata.uid, changed.metadata.resource_version) = (Some(uid.into()), Some("9".into()));
            let after = sandboxes.apply(SandboxRow::new(changed).heard_of(at(900))).after.unwrap();
            assert_eq!((after.arrival.number, after.heard_of), (number, at(heard_of)), "{uid}");

            let mut tasks = Table::default();
            drop(tasks.apply(TaskRow::new(task(&Value::Null, &["true"])).heard_of(at(100))));
            let mut changed = task(&Value::Null, &["true"]);
            (changed.metadata.uid, changed.metadata.resource_version) = (Some(uid.into()), Some("9".into()));
            let after = tasks.apply(TaskRow::new(changed).heard_of(at(900))).after.unwrap();
            assert_eq!((after.arrival.number, after.heard_of), (number, at(heard_of)), "{uid}");
        }
    }

    #[test]
    fn a_sandbox_waits_until_it_has_a_pod_or_has_given_up() {
        for (status, deleted, waits) in [
            (json!(null), false, true),
            (json!({ "phase": "Pending" }), false, true),
            (json!({ "phase": "Bound", "podUID": "pod" }), false, false),
            (json!({ "phase": "Released" }), false, false),
            (json!({ "phase": "Pending" }), true, false),
        ] {
            let mut sandbox = sandbox(&status);
            sandbox.metadata.deletion_timestamp = deleted.then(|| Time(at(0)));
            let row = SandboxRow::new(sandbox);
            let held = row.pod_uid().map(|pod| SandboxIndex::Holder("ns".into(), pod));
            let waiting = waits.then(|| SandboxIndex::Waiting(Key::new("ns", "p")));
            assert_eq!(
                (row.is_waiting(), row.indexes()),
                (waits, waiting.into_iter().chain(held).collect()),
                "{status}"
            );
        }
    }

    #[test]
    fn a_task_is_in_the_queue_until_it_has_ended_and_before_all_that_have_not_begun_once_it_has() {
        let started = json!({ "state": "Running", "startedAt": "2026-01-01T00:00:00.000000Z" });
        for (status, command, queued) in [
            (&json!(null), &["true"][..], true),
            (&json!({ "state": "Pending" }), &["true"], true),
            (&json!(null), &[], false),
            (&started, &["true"], true),
            (&started, &[], true),
            (&json!({ "state": "Failed" }), &["true"], false),
        ] {
            let row = TaskRow::new(task(status, command));
            let index = queued.then(|| TaskIndex::Unfinished(Key::new("ns", "s")));
            assert_eq!(row.indexes(), index.into_iter().collect::<Vec<_>>(), "{status} {command:?}");
            assert_eq!(row.place(), (*status != started, row.arrival.clone()), "{status}");
        }
    }

    #[test]
    fn a_task_is_new_for_a_second_by_a_clock_that_was_not_set_back() {
        let row = TaskRow::new(task(&Value::Null, &["true"])).heard_of(at(5_000));
        for (now, is_new) in [(4_999, false), (5_000, true), (5_999, true), (6_000, false), (9_000, false)] {
            assert_eq!(row.is_new_until(at(now)), is_new.then(|| at(6_000)), "{now}");
        }
    }
}
