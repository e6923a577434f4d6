//! The objects, their versions and their history: what etcd and the generic part of an API server do.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

pub use crate::fields::{controller, is_deleting, label, seconds, uid_of, version_of};
use crate::{
    kind::{Actor, Id, Kind},
    refusal::Refusal,
    schema,
};

/// One change. Its resourceVersion is its place in the history, from 1.
#[derive(Clone, Debug)]
pub struct Entry {
    pub version: u64,
    pub id: Id,
    pub before: Option<Arc<Value>>,
    pub after: Option<Arc<Value>>,
    pub by: Actor,
    pub at: Instant,
}

/// What a deletion asks for.
#[derive(Clone, Debug, Default)]
pub struct Deletion {
    /// Seconds; absent: what the object says.
    pub grace: Option<i64>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub foreground: bool,
}

/// The part of an object that a write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Main,
    Status,
}

#[derive(Debug)]
pub struct Store {
    objects: BTreeMap<Id, Arc<Value>>,
    uids: BTreeMap<String, Id>,
    log: Vec<Entry>,
    created: u64,
    start: Instant,
    /// At most this many pods in a namespace, as a ResourceQuota has it.
    pub quota: Option<usize>,
    /// Why admission refuses pods, if it does.
    pub admission: Option<String>,
    /// Watches from before this version are told that it is gone.
    pub compacted: u64,
}

impl Store {
    pub fn new() -> Self {
        Self {
            objects: BTreeMap::new(),
            uids: BTreeMap::new(),
            log: Vec::new(),
            created: 0,
            start: Instant::now(),
            quota: None,
            admission: None,
            compacted: 0,
        }
    }

    /// The latest resourceVersion.
    pub fn version(&self) -> u64 {
        self.log.len() as u64
    }

    /// The first change after `version`.
    pub fn after(&self, version: u64) -> Option<&Entry> {
        self.log.get(usize::try_from(version).ok()?)
    }

    /// The API server's own time, which does not jump.
    pub fn time(&self) -> Timestamp {
        Timestamp::from_second(1_767_225_600).expect("a time") + self.start.elapsed()
    }

    pub fn get(&self, id: &Id) -> Option<&Arc<Value>> {
        self.objects.get(id)
    }

    /// The objects of a kind, by namespace and name.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = (&Id, &Arc<Value>)> {
        self.objects.range(Id::new(kind, "", "")..).take_while(move |(id, _)| id.kind == kind)
    }

    /// The object with this uid.
    pub fn by_uid(&self, kind: Kind, uid: &str) -> Option<(&Id, &Arc<Value>)> {
        self.objects.get_key_value(self.uids.get(uid)?).filter(|(id, _)| id.kind == kind)
    }

    pub fn create(&mut self, id: &Id, mut object: Value, by: Actor) -> Result<Arc<Value>, Refusal> {
        if id.kind != Kind::Namespace {
            let namespace = Id::new(Kind::Namespace, "", &id.namespace);
            let Some(found) = self.get(&namespace) else { return Err(Refusal::not_found(&namespace)) };
            if is_deleting(found) {
                let why = format!(
                    "unable to create new content in namespace {} because it is being terminated",
                    id.namespace
                );
                return Err(Refusal::forbidden(id, &why));
            }
        }
        if self.objects.contains_key(id) {
            return Err(Refusal::exists(id));
        }
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(id.name);
        if id.kind != Kind::Namespace {
            metadata["namespace"] = json!(id.namespace);
        }
        if id.kind == Kind::Pod {
            self.admit_pod(id, &mut object)?;
        }
        if id.kind.is_ours() {
            object.as_object_mut().map(|o| o.remove("status"));
            schema::admit(id, &mut object, None, true)?;
        }
        self.created += 1;
        let metadata = &mut object["metadata"];
        metadata["uid"] = json!(format!("{}-{:04}", id.kind.plural(), self.created));
        metadata["creationTimestamp"] = json!(seconds(self.time()));
        metadata["generation"] = json!(1);
        (object["apiVersion"], object["kind"]) = (json!(id.kind.api_version()), json!(id.kind.name()));
        Ok(self.commit(id, Some(object), by))
    }

    fn admit_pod(&self, id: &Id, pod: &mut Value) -> Result<(), Refusal> {
        let used = self.of(Kind::Pod).filter(|(other, _)| other.namespace == id.namespace).count();
        if let Some(limit) = self.quota.filter(|limit| used >= *limit) {
            let why = format!("exceeded quota: pods, requested: pods=1, used: pods={used}, limited: pods={limit}");
            return Err(Refusal::forbidden(id, &why));
        }
        if let Some(why) = &self.admission {
            return Err(Refusal::forbidden(id, why));
        }
        if pod["spec"]["containers"].as_array().is_none_or(Vec::is_empty) {
            return Err(Refusal::invalid(id, "spec.containers: Required value"));
        }
        if pod["spec"].get("terminationGracePeriodSeconds").is_none() {
            pod["spec"]["terminationGracePeriodSeconds"] = json!(30);
        }
        pod["status"] = json!({ "phase": "Pending" });
        Ok(())
    }

    /// Puts `wanted` in the place of the object, as far as a write to this part may. Nothing is written where nothing differs.
    pub fn update(&mut self, id: &Id, mut wanted: Value, part: Part, by: Actor) -> Result<Arc<Value>, Refusal> {
        let Some(current) = self.get(id).cloned() else { return Err(Refusal::not_found(id)) };
        let asked = |field: &str| wanted["metadata"].get(field).and_then(Value::as_str);
        if asked("resourceVersion").is_some_and(|v| v != version_of(&current)) {
            return Err(Refusal::changed(id));
        }
        if asked("uid").is_some_and(|uid| uid != uid_of(&current)) {
            return Err(Refusal::conflict(id, "Precondition failed: UID in precondition differs"));
        }
        if part == Part::Status {
            let status = wanted.get("status").cloned();
            wanted = (*current).clone();
            set(&mut wanted, "status", status.as_ref());
        } else {
            set(&mut wanted, "status", current.get("status"));
            let server = ["name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion"];
            let going = ["deletionTimestamp", "deletionGracePeriodSeconds"];
            for field in server.into_iter().chain(going) {
                set(&mut wanted["metadata"], field, current["metadata"].get(field));
            }
        }
        let respecified = wanted.get("spec") != current.get("spec");
        if id.kind.is_ours() {
            schema::admit(id, &mut wanted, Some(&current), respecified)?;
        } else if id.kind == Kind::Pod && respecified && by != Actor::Kubelet {
            return Err(Refusal::invalid(id, "spec: Forbidden: pod updates may not change fields"));
        }
        if wanted == *current {
            return Ok(current);
        }
        if wanted.get("spec") != current.get("spec") {
            wanted["metadata"]["generation"] = json!(current["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        let finalized = is_deleting(&wanted) && id.kind != Kind::Pod && finalizers(&wanted).is_empty();
        Ok(self.commit(id, (!finalized).then_some(wanted), by))
    }

    /// Changes an object in place, whatever version it has: what a controller of the cluster does.
    pub fn modify(
        &mut self,
        id: &Id,
        part: Part,
        by: Actor,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<Value>, Refusal> {
        let Some(current) = self.get(id) else { return Err(Refusal::not_found(id)) };
        let mut wanted = (**current).clone();
        change(&mut wanted);
        self.update(id, wanted, part, by)
    }

    pub fn delete(&mut self, id: &Id, deletion: &Deletion, by: Actor) -> Result<Arc<Value>, Refusal> {
        let Some(current) = self.get(id).cloned() else { return Err(Refusal::not_found(id)) };
        let differs = |wanted: &Option<String>, found: &str| wanted.as_deref().is_some_and(|w| w != found);
        if differs(&deletion.uid, uid_of(&current)) {
            return Err(Refusal::conflict(id, "Precondition failed: UID in precondition differs"));
        }
        if differs(&deletion.resource_version, version_of(&current)) {
            return Err(Refusal::conflict(id, "Precondition failed: ResourceVersion in precondition differs"));
        }
        let mut going = (*current).clone();
        if id.kind == Kind::Pod {
            let grace = grace(&current, deletion.grace);
            let remaining = current["metadata"]["deletionGracePeriodSeconds"].as_i64();
            if remaining.is_some_and(|r| r <= grace) {
                return Ok(current);
            }
            going["metadata"]["deletionTimestamp"] =
                json!(seconds(self.time() + std::time::Duration::from_secs(grace.unsigned_abs())));
            going["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
            return Ok(self.commit(id, (grace > 0).then_some(going), by));
        }
        if is_deleting(&current) {
            return Ok(current);
        }
        let mut held = finalizers(&current);
        if deletion.foreground {
            held.push("foregroundDeletion".to_owned());
        }
        if held.is_empty() && id.kind != Kind::Namespace {
            self.commit(id, None, by);
            return Ok(current);
        }
        going["metadata"]["finalizers"] = json!(held);
        going["metadata"]["deletionTimestamp"] = json!(seconds(self.time()));
        going["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        Ok(self.commit(id, Some(going), by))
    }

    /// Takes an object away for good: a pod whose containers have ended, a namespace that is empty.
    pub fn remove(&mut self, id: &Id, by: Actor) {
        if self.objects.contains_key(id) {
            self.commit(id, None, by);
        }
    }

    /// Records a change; what is removed gets a last version too, which watches report.
    fn commit(&mut self, id: &Id, object: Option<Value>, by: Actor) -> Arc<Value> {
        let version = self.version() + 1;
        let before = self.objects.get(id).cloned();
        let after = object.map(|mut object| {
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            Arc::new(object)
        });
        if let Some(after) = &after {
            self.uids.insert(uid_of(after).to_owned(), id.clone());
            self.objects.insert(id.clone(), Arc::clone(after));
        } else {
            self.uids.remove(before.as_deref().map(uid_of).unwrap_or_default());
            self.objects.remove(id);
        }
        let answer = after.clone().or_else(|| before.clone()).unwrap_or_default();
        self.log.push(Entry { version, id: id.clone(), before, after, by, at: Instant::now() });
        answer
    }
}

/// What has ended, or was never given to a node, needs no time to end.
fn grace(pod: &Value, asked: Option<i64>) -> i64 {
    let over = matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
    if over || pod["spec"].get("nodeName").is_none() {
        return 0;
    }
    asked.or(pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30)
}

pub fn set(object: &mut Value, field: &str, value: Option<&Value>) {
    match (object.as_object_mut(), value) {
        (Some(object), Some(value)) => drop(object.insert(field.to_owned(), value.clone())),
        (Some(object), None) => drop(object.remove(field)),
        (None, _) => {}
    }
}

fn finalizers(object: &Value) -> Vec<String> {
    let found = object["metadata"]["finalizers"].as_array();
    found.into_iter().flatten().filter_map(|f| f.as_str().map(str::to_owned)).collect()
}
