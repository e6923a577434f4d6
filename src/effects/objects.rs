//! Writes to our own kinds: status and deletion, each on the version that was decided on.

use std::fmt::Debug;

use arl_crds::{Task, TaskState, condition, json_size};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ListMeta};
use kube::{
    Api, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
    core::{NamespaceResourceScope, Request},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Cause, Effects, Failure, Haste, Refusal, Since, permits::weight};
use crate::object::{Key, Uid, Version};

/// One of our kinds.
pub trait Ours: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned {
    /// Its status.
    type Status: Serialize + PartialEq + Sync;
    /// Its kind, for messages.
    const KIND: &'static str;
    /// Whether somebody waits for its status.
    const HASTE: Haste;
    /// As how many calls a read counts, of which it is not known before how much it brings.
    const WEIGHT: u32;
    /// The status of an object.
    fn status_of(&self) -> Option<&Self::Status>;
    /// Whether the state of an object is that of a status.
    fn is_at(&self, status: &Self::Status) -> bool;
    /// Its conditions.
    fn conditions(&self) -> &[Condition];
}

/// An operation of a JSON patch.
#[derive(Serialize)]
struct Change<'a, S> {
    op: &'static str,
    path: &'static str,
    value: Part<'a, S>,
}

/// A status as it is, of which a copy may be large, or a value.
#[derive(Serialize)]
#[serde(untagged)]
enum Part<'a, S> {
    Whole(&'a S),
    Other(Value),
}

macro_rules! ours {
    ($kind:ident, $status:ident.$state:ident, $haste:ident, $weight:literal) => {
        impl Ours for arl_crds::$kind {
            type Status = arl_crds::$status;
            const KIND: &'static str = stringify!($kind);
            const HASTE: Haste = Haste::$haste;
            const WEIGHT: u32 = $weight;
            fn status_of(&self) -> Option<&Self::Status> {
                self.status.as_ref()
            }
            fn is_at(&self, status: &Self::Status) -> bool {
                self.status.as_ref().is_some_and(|found| found.$state == status.$state)
            }
            fn conditions(&self) -> &[Condition] {
                self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
            }
        }
    };
}
ours!(WarmPool, WarmPoolStatus.phase, Unhurried, 2);
ours!(Sandbox, SandboxStatus.phase, Awaited, 2);
ours!(Task, TaskStatus.state, Awaited, 4);

/// What became of a write to a status.
#[must_use]
#[derive(Clone, Debug)]
pub enum Written<K> {
    /// The object, with it.
    Done(K),
    /// The object had changed since the decision: its watch event reconciles it again.
    Changed,
    /// The object is gone, of which there will be a watch event.
    Gone,
    /// The object would be too large to store.
    TooLarge(Failure),
}

/// What became of a deletion.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The object goes.
    Done,
    /// The object had changed since the decision: its watch event reconciles it again.
    Changed,
    /// The object is gone.
    Gone,
}

const LEAVES_NO_ROOM: &str =
    "the object leaves no room for its status, which is stored with it; delete it, and create one with less in it";

impl Effects {
    pub(super) fn objects<K: Ours>(&self, key: &Key) -> Api<K> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    /// Replaces the status of an object, unless it changed since. A write of unknown end is looked up: it may have taken effect.
    /// `besides`: about how many bytes the object has besides its status, where that is much; the answer has them too.
    pub async fn write_status<K: Ours>(
        &self,
        version: &Version,
        status: &K::Status,
        besides: usize,
    ) -> Result<Written<K>, Failure> {
        self.write_status_in(K::HASTE, version, status, besides).await
    }

    /// The same, for somebody who waits for it or nobody.
    pub async fn write_status_in<K: Ours>(
        &self,
        haste: Haste,
        version: &Version,
        status: &K::Status,
        besides: usize,
    ) -> Result<Written<K>, Failure> {
        let whole = vec![Change { op: "add", path: "/status", value: Part::Whole(status) }];
        let weight = weight(json_size(status).saturating_add(besides));
        match self.patch_status::<K>(haste, "patch the status of", version, weight, whole).await {
            Err(failure) if !failure.is_refusal() => match self.read::<K>(&version.key).await? {
                Some(found) if Uid::of(&found) == version.uid && found.status_of() == Some(status) => {
                    Ok(Written::Done(found))
                }
                _ => Err(failure),
            },
            // What follows rests on it, such as that the result of a Task is forgotten here.
            Ok(Written::Done(found)) if !found.is_at(status) => {
                let refusal =
                    Refusal::new(403, "what admits writes took the change back, and answered that it was made");
                Err(Failure::new("patch the status of", K::KIND, &version.key, Cause::Refused(refusal)))
            }
            written => written,
        }
    }

    /// Puts on record that what the status of an object says holds for its present spec too.
    pub async fn write_generation<K: Ours>(&self, object: &K) -> Result<Written<K>, Failure> {
        let generation = object.meta().generation;
        let conditions = condition::of_generation(object.conditions(), generation);
        let parts = vec![
            Change { op: "add", path: "/status/observedGeneration", value: Part::Other(json!(generation)) },
            Change { op: "add", path: "/status/conditions", value: Part::Other(json!(conditions)) },
        ];
        self.patch_status(K::HASTE, "patch the conditions of", &Version::of(object), 1, parts).await
    }

    /// Replaces the conditions of an object and leaves the rest of its status, of which a cache may not have all.
    pub async fn write_conditions<K: Ours>(&self, object: &K, conditions: &[Condition]) -> Result<Written<K>, Failure> {
        let (path, value) = match object.status_of() {
            Some(_) => ("/status/conditions", json!(conditions)),
            None => ("/status", json!({ "conditions": conditions })),
        };
        let change = Change { op: "add", path, value: Part::Other(value) };
        self.patch_status(K::HASTE, "patch the conditions of", &Version::of(object), 1, vec![change]).await
    }

    /// Changes the status of an object, unless the object changed since. What is sent is put together once it is its turn.
    async fn patch_status<K: Ours>(
        &self,
        haste: Haste,
        verb: &'static str,
        version: &Version,
        weight: u32,
        changes: Vec<Change<'_, K::Status>>,
    ) -> Result<Written<K>, Failure> {
        let (key, none) = (&version.key, PatchParams::default());
        let request = async {
            // The resourceVersion in the patch makes the API server answer 409 where the object changed.
            let known = Part::Other(json!(version.resource_version));
            let mut patch = vec![Change { op: "replace", path: "/metadata/resourceVersion", value: known }];
            patch.extend(changes);
            let body = serde_json::to_vec(&patch).map_err(kube::Error::SerdeError)?;
            drop(patch);
            let nothing = json_patch(json!([])).map_err(kube::Error::SerdeError)?;
            let request = Request::new(K::url_path(&(), Some(&key.namespace)));
            let request = request.patch_subresource("status", &key.name, &none, &nothing);
            self.client.request::<K>(request.map_err(kube::Error::BuildRequest)?.map(|_| body)).await
        };
        let written = self.call_in(haste, weight, verb, K::KIND, key, request).await;
        self.written(version, written).await
    }

    async fn written<K: Ours>(&self, version: &Version, written: Result<K, Failure>) -> Result<Written<K>, Failure> {
        match written {
            Ok(object) => Ok(Written::Done(object)),
            Err(failure) if failure.is_too_large() => Ok(Written::TooLarge(failure.advising(LEAVES_NO_ROOM))),
            Err(failure) if failure.may_be_a_conflict() => match self.since::<K>(K::KIND, version).await? {
                Since::Changed => Ok(Written::Changed),
                Since::Gone => Ok(Written::Gone),
                Since::Same => Err(failure),
            },
            Err(failure) => Err(failure),
        }
    }

    /// The object as the API server has it; none only where it is certainly gone.
    pub async fn read<K: Ours>(&self, key: &Key) -> Result<Option<K>, Failure> {
        let found = self.objects(key);
        match self.call_in(Haste::Awaited, K::WEIGHT, "get", K::KIND, key, found.get(&key.name)).await {
            Err(failure) if failure.is_gone() => Ok(None),
            found => found.map(Some),
        }
    }

    /// Whether this very Task is there and not over; none where that cannot be found out now.
    pub async fn is_unfinished(&self, task: &Key, uid: &Uid) -> Option<bool> {
        let found = self.read::<Task>(task).await.ok()?;
        Some(found.is_some_and(|task| Uid::of(&task) == *uid && !is_finished(&task)))
    }

    /// Deletes an object, unless it changed since.
    pub async fn delete<K: Ours>(&self, version: &Version) -> Result<Deleted, Failure> {
        self.delete_version(K::KIND, self.objects::<K>(&version.key), version).await
    }

    pub(super) async fn delete_version<K>(
        &self,
        kind: &'static str,
        api: Api<K>,
        version: &Version,
    ) -> Result<Deleted, Failure>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let key = &version.key;
        match self.call("delete", kind, key, api.delete(&key.name, &unchanged(version))).await {
            Ok(_) => Ok(Deleted::Done),
            Err(failure) if failure.may_be_a_conflict() => match self.since::<K>(kind, version).await? {
                Since::Changed => Ok(Deleted::Changed),
                Since::Gone => Ok(Deleted::Gone),
                Since::Same => Err(failure),
            },
            Err(failure) => Err(failure),
        }
    }
}

/// The operations of a JSON patch.
pub(super) fn json_patch(operations: Value) -> serde_json::Result<Patch<()>> {
    serde_json::from_value(operations).map(Patch::Json)
}

/// What to ask for after a page with this metadata, if there is more.
pub(super) fn next_page(params: ListParams, page: ListMeta) -> Option<ListParams> {
    page.continue_.filter(|token| !token.is_empty()).map(|token| params.continue_token(&token))
}

/// Background deletion of just this version.
fn unchanged(version: &Version) -> DeleteParams {
    DeleteParams::background().preconditions(Preconditions {
        uid: Some(version.uid.0.clone()),
        resource_version: Some(version.resource_version.clone()),
    })
}

fn is_finished(task: &Task) -> bool {
    task.status.as_ref().and_then(|status| status.state).is_some_and(TaskState::is_finished)
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use arl_crds::TaskStatus;
    use futures::{FutureExt, future::join_all};
    use kube::client::{Body, Client};
    use tower::service_fn;

    use super::*;
    use crate::effects::EventSink;

    /// How many of many writes are sent at a time, by as many operators of a namespace each.
    async fn in_flight(besides: usize, operators: usize) -> usize {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        let silent = service_fn(move |_: http::Request<Body>| {
            counter.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<Result<http::Response<Body>, Infallible>>()
        });
        let (client, permits) = (Client::new(silent, "ns"), Arc::default());
        let effects: Vec<_> = (0..operators)
            .map(|_| Effects::new(client.clone(), EventSink::new()).sharing(Arc::clone(&permits)))
            .collect();
        let status = TaskStatus::default();
        let mut writes = join_all(effects.iter().enumerate().flat_map(|(number, effects)| {
            let key = Key::new(&format!("ns-{number}"), "t");
            let version = Version { key, uid: Uid("t".into()), resource_version: "1".into() };
            let status = &status;
            (0..40).map(move |_| {
                let version = version.clone();
                async move { effects.write_status::<Task>(&version, status, besides).await }
            })
        }));
        // The client hands requests on to a task of its own.
        for _ in 0..100 {
            assert!((&mut writes).now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        count.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn however_many_namespaces_are_looked_after_apart_as_many_calls_are_in_flight() {
        assert_eq!((in_flight(0, 1).await, in_flight(0, 2).await, in_flight(0, 9).await), (24, 32, 32));
    }

    /// What admits writes can answer anything.
    #[tokio::test]
    async fn an_object_is_gone_only_where_a_look_says_so() {
        let task = json!({ "apiVersion": "arl.infra.io/v1alpha1", "kind": "Task", "spec": { "sandboxRef": "s", "steps": [] },
            "metadata": { "name": "t", "namespace": "ns", "uid": "t", "resourceVersion": "1" } });
        let missing = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
            "message": "admission webhook \"w\" denied the request", "details": { "name": "t" } });
        for is_there in [true, false] {
            let (task, missing) = (task.clone(), missing.clone());
            let api = service_fn(move |request: http::Request<Body>| {
                let found = is_there && request.method() == http::Method::GET;
                let (code, body) = if found { (200, &task) } else { (404, &missing) };
                let body = Body::from(body.to_string().into_bytes());
                std::future::ready(Ok::<_, Infallible>(http::Response::builder().status(code).body(body).unwrap()))
            });
            let effects = Effects::new(Client::new(api, "ns"), EventSink::new());
            let version = Version { key: Key::new("ns", "t"), uid: Uid("t".into()), resource_version: "1".into() };
            let written = effects.write_status::<Task>(&version, &TaskStatus::default(), 0).await;
            let deleted = effects.delete::<Task>(&version).await;
            if is_there {
                assert!(written.unwrap_err().to_string().contains("denied"));
                assert!(deleted.unwrap_err().to_string().contains("denied"));
            } else {
                assert!(matches!((written.unwrap(), deleted.unwrap()), (Written::Gone, Deleted::Gone)));
            }
        }
    }

    #[tokio::test]
    async fn a_status_that_is_taken_back_is_not_taken_for_written() {
        for (state, is_taken_back) in [("Running", true), ("Succeeded", false)] {
            let answer = json!({ "apiVersion": "arl.infra.io/v1alpha1", "kind": "Task", "spec": { "sandboxRef": "s", "steps": [] },
                "metadata": { "name": "t", "namespace": "ns", "uid": "t", "resourceVersion": "2" }, "status": { "state": state } });
            let api = service_fn(move |_: http::Request<Body>| {
                let body = Body::from(answer.to_string().into_bytes());
                std::future::ready(Ok::<_, Infallible>(http::Response::new(body)))
            });
            let effects = Effects::new(Client::new(api, "ns"), EventSink::new());
            let version = Version { key: Key::new("ns", "t"), uid: Uid("t".into()), resource_version: "1".into() };
            let status = TaskStatus { state: Some(TaskState::Succeeded), ..TaskStatus::default() };
            let written = effects.write_status::<Task>(&version, &status, 0).await;
            assert_eq!(
                written.is_err_and(|failure| failure.to_string().contains("took the change back")),
                is_taken_back
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_small_statuses_of_large_objects_few_are_written_at_a_time() {
        let (small, large) = (in_flight(0, 1).await, in_flight(1024 * 1024, 1).await);
        assert!(small > 20 && (1..=4).contains(&large), "small: {small}, large: {large}");
    }
}
