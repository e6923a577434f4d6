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
#[derive(Debug)]
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
        Self { task: Arc::new(task), invalid, left_out, setup_of, arrival, heard_of: Timestamp::MAX }
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

    /// The Sandbox it was recorded to belong to. One that is named for a Sandbox's setup can be no other's.
    pub fn sandbox_uid(&self) -> Option<Uid> {
        self.status().and_then(|s| s.sandbox_uid.clone()).map(Uid).or_else(|| self.setup_of.clone())
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
        }
    }
}
