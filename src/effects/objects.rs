//! Writes to our own kinds: status and deletion, each on the version that was decided on.

use std::fmt::Debug;

use arl_crds::{Task, TaskState};
use jiff::Timestamp;
use kube::{
    Api, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Effects, Failure, Outcome, Refusal};
use crate::object::{Key, Uid, Version};

/// One of our kinds.
pub trait Ours:
    Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + Clone + Debug + DeserializeOwned
{
    /// Its status.
    type Status: Serialize + PartialEq + Sync;
    /// Its kind, for messages.
    const KIND: &'static str;
    /// The status of an object.
    fn status_of(&self) -> Option<&Self::Status>;
}

macro_rules! ours {
    ($kind:ident, $status:ident) => {
        impl Ours for arl_crds::$kind {
            type Status = arl_crds::$status;
            const KIND: &'static str = stringify!($kind);
            fn status_of(&self) -> Option<&Self::Status> {
                self.status.as_ref()
            }
        }
    };
}
ours!(WarmPool, WarmPoolStatus);
ours!(Sandbox, SandboxStatus);
ours!(Task, TaskStatus);

impl Effects {
    /// Replaces the status of an object, unless it changed since. A write of unknown end is looked up: it may have taken effect.
    pub async fn write_status<K: Ours>(&self, version: &Version, status: &K::Status) -> Result<Outcome<K>, Failure> {
        let api: Api<K> = Api::namespaced(self.client.clone(), &version.key.namespace);
        // The resourceVersion in the patch makes the API server answer 409 where the object changed.
        let patch = json!([
            { "op": "replace", "path": "/metadata/resourceVersion", "value": version.resource_version },
            { "op": "add", "path": "/status", "value": status },
        ]);
        let patch = match json_patch(patch) {
            Ok(patch) => patch,
            Err(refusal) => return Ok(Outcome::Refused(refusal)),
        };
        let params = PatchParams::default();
        let written = self
            .call("patch the status of", K::KIND, &version.key, api.patch_status(&version.key.name, &params, &patch))
            .await;
        let Err(failure) = written else { return written };
        match self.read::<K>(&version.key).await? {
            Outcome::Done(found) if Uid::of(&found) == version.uid && found.status_of() == Some(status) => {
                Ok(Outcome::Done(found))
            }
            _ => Err(failure),
        }
    }

    /// The object as the API server has it.
    pub async fn read<K: Ours>(&self, key: &Key) -> Result<Outcome<K>, Failure> {
        let api: Api<K> = Api::namespaced(self.client.clone(), &key.namespace);
        self.call("get", K::KIND, key, api.get(&key.name)).await
    }

    /// Whether this very Task is there and not over; where the API server does not answer, it is taken to be.
    pub async fn is_unfinished(&self, task: &Key, uid: &Uid) -> bool {
        match self.read::<Task>(task).await {
            Ok(Outcome::Done(task)) => Uid::of(&task) == *uid && !is_finished(&task),
            Ok(Outcome::Gone) => false,
            Ok(_) | Err(_) => true,
        }
    }

    /// Deletes an object, unless it changed since.
    pub async fn delete<K: Ours>(&self, version: &Version) -> Result<Outcome<()>, Failure> {
        let api: Api<K> = Api::namespaced(self.client.clone(), &version.key.namespace);
        let params = unchanged(version);
        let deleted = self.call("delete", K::KIND, &version.key, api.delete(&version.key.name, &params)).await?;
        Ok(without_value(deleted))
    }
}

/// The operations of a JSON patch; what is none is refused here as the API server would.
pub(super) fn json_patch(operations: Value) -> Result<Patch<()>, Refusal> {
    let operations = serde_json::from_value(operations);
    operations.map(Patch::Json).map_err(|error| Refusal { code: 400, message: error.to_string() })
}

/// Background deletion of just this version.
pub(super) fn unchanged(version: &Version) -> DeleteParams {
    DeleteParams::background().preconditions(Preconditions {
        uid: Some(version.uid.0.clone()),
        resource_version: Some(version.resource_version.clone()),
    })
}

pub(super) fn without_value<T>(outcome: Outcome<T>) -> Outcome<()> {
    match outcome {
        Outcome::Done(_) => Outcome::Done(()),
        Outcome::Stale => Outcome::Stale,
        Outcome::Gone => Outcome::Gone,
        Outcome::Exists => Outcome::Exists,
        Outcome::Refused(refusal) => Outcome::Refused(refusal),
        Outcome::TooLarge => Outcome::TooLarge,
    }
}

/// What the API server has of the Tasks that name a Sandbox: asked before its pod, or itself, is given up.
pub struct LiveTasks {
    /// Whether one has not ended.
    pub unfinished: bool,
    /// When the last of those that were of this very Sandbox ended.
    pub last_finished: Option<Timestamp>,
}

/// Reads the Tasks that name `sandbox`.
pub async fn live_tasks(effects: &Effects, sandbox: &Key, uid: &Uid) -> Result<LiveTasks, Failure> {
    let api: Api<Task> = Api::namespaced(effects.client.clone(), &sandbox.namespace);
    let params = ListParams::default().fields(&format!("spec.sandboxRef={}", sandbox.name));
    let Outcome::Done(tasks) = effects.call("list", "Tasks of", sandbox, api.list(&params)).await? else {
        return Ok(LiveTasks { unfinished: false, last_finished: None });
    };
    let of_this =
        tasks.iter().filter_map(|task| task.status.as_ref()).filter(|s| s.sandbox_uid.as_ref() == Some(&uid.0));
    Ok(LiveTasks {
        unfinished: !tasks.iter().all(is_finished),
        last_finished: of_this.filter_map(|status| status.completed_at.as_ref()).map(|at| at.0).max(),
    })
}

fn is_finished(task: &Task) -> bool {
    task.status.as_ref().and_then(|status| status.state).is_some_and(TaskState::is_finished)
}
