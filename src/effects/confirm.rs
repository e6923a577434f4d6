//! Whether all Tasks of a Sandbox are known here, by the API server's word.

use std::time::Duration;

use arl_crds::Task;
use kube::{
    Resource,
    api::ListParams,
    core::{ObjectList, Request},
};
use serde::Deserialize;
use tokio::time::Instant;

use super::{Cause, Effects, Failure, Haste, Since, objects::next_page, permits::WEIGHT_MAX};
use crate::object::{Key, Uid, Version};

/// Objects of a list that are in memory at once: each has up to the 1.5 MiB that the API server stores, in labels alone.
const PAGE: u32 = 16;
/// What was on its way for longer is asked for again: this process may have stood still, with what watches and agents said meanwhile unread.
const LONG: Duration = Duration::from_secs(3);
/// As often as this: an API server that always takes so long keeps no Sandbox from its end.
const TRIES: usize = 3;

/// What is read of each.
#[derive(Clone, Debug, Deserialize)]
struct Found {
    metadata: Identity,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
}

impl Found {
    fn version(&self) -> Version {
        let Identity { name, namespace, uid, resource_version } = &self.metadata;
        let (key, uid) = (Key::new(namespace, name), Uid(uid.clone()));
        Version { key, uid, resource_version: resource_version.clone() }
    }
}

impl Effects {
    /// Fails unless each Task that names `sandbox`, as the API server has it, is known here: asked before its pod, or itself, is given up.
    /// Only metadata is read, in pages, whatever the Tasks carry.
    pub async fn confirm_tasks(&self, sandbox: &Key, is_known: impl Fn(&Version) -> bool) -> Result<(), Failure> {
        for _ in 0..TRIES {
            if self.confirm_pages(sandbox, &is_known).await? <= LONG {
                break;
            }
        }
        Ok(())
    }

    /// How long it took from the first request on.
    async fn confirm_pages(&self, sandbox: &Key, is_known: impl Fn(&Version) -> bool) -> Result<Duration, Failure> {
        let tasks = Request::new(Task::url_path(&(), Some(&sandbox.namespace)));
        let mut sent = None;
        let mut params = ListParams::default().fields(&format!("spec.sandboxRef={}", sandbox.name)).limit(PAGE);
        loop {
            let page = async {
                let request = tasks.list_metadata(&params).map_err(kube::Error::BuildRequest)?;
                sent.get_or_insert_with(Instant::now);
                self.client.request::<ObjectList<Found>>(request).await
            };
            let page = self.call_in(Haste::Awaited, WEIGHT_MAX, "list", "Tasks of", sandbox, page).await;
            let page = page.map_err(by_old_definitions)?;
            for unknown in page.items.iter().map(Found::version).filter(|task| !is_known(task)) {
                // One that was deleted since is known no more.
                if let Since::Same | Since::Changed = self.since::<Task>("Task", &unknown).await? {
                    let cause = Cause::Unconfirmed(format!("Task {}", unknown.key.name));
                    return Err(Failure::new("confirm", "the Tasks of Sandbox", sandbox, cause));
                }
            }
            let Some(next) = next_page(params, page.metadata) else {
                return Ok(sent.map_or(Duration::ZERO, |sent| sent.elapsed()));
            };
            params = next;
        }
    }
}

/// A definition that has no selectable fields refuses to select by one.
fn by_old_definitions(failure: Failure) -> Failure {
    if failure.refusal().is_some_and(|refusal| refusal.code == 400) {
        return failure
            .advising("the definitions in the cluster are older than this operator: apply those of its version");
    }
    failure
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

    use kube::client::{Body, Client};
    use serde_json::json;
    use tower::service_fn;

    use super::*;
    use crate::effects::EventSink;

    #[tokio::test]
    async fn of_tasks_that_are_confirmed_only_the_metadata_is_read_and_little_of_that_at_a_time() {
        let (ask, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let api = service_fn(move |request: http::Request<Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let metadata = if query.contains("continue=") { json!({}) } else { json!({ "continue": "more" }) };
            ask.send((query, request.headers()[http::header::ACCEPT].to_str().unwrap().to_owned())).unwrap();
            let page = json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": metadata, "items": [] });
            let body = Body::from(page.to_string().into_bytes());
            std::future::ready(Ok::<_, Infallible>(http::Response::builder().status(200).body(body).unwrap()))
        });
        let effects = Effects::new(Client::new(api, "ns"), EventSink::new());
        effects.confirm_tasks(&Key::new("ns", "s"), |_| true).await.unwrap();
        drop(effects);
        for and in ["", "&continue=more"] {
            let (query, accepts) = asked.recv().await.unwrap();
            let parts = ["limit=16", "fieldSelector=spec.sandboxRef%3Ds", and.trim_start_matches('&')];
            assert!(parts.iter().all(|part| query.contains(part)), "{query}");
            assert!(accepts.contains("as=PartialObjectMetadataList"), "{accepts}");
        }
        assert_eq!(asked.recv().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_long_on_its_way_is_asked_for_again_but_not_for_ever() {
        // The first of two pages: the second is of the same moment.
        const TWO: u64 = 100;
        for (seconds, expected) in
            [(vec![3], 1), (vec![4, 1], 2), (vec![4, 4, 4], 3), (vec![TWO + 4, 0, 1], 3), (vec![TWO + 1, 1], 2)]
        {
            let asked = Arc::new(AtomicUsize::new(0));
            let count = asked.clone();
            let api = service_fn(move |_: http::Request<Body>| {
                let seconds = seconds[count.fetch_add(1, Ordering::Relaxed)];
                let metadata = if seconds < TWO { json!({}) } else { json!({ "continue": "more" }) };
                let takes = Duration::from_secs(seconds % TWO);
                async move {
                    tokio::time::sleep_until(Instant::now() + takes).await;
                    let page = json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": metadata, "items": [] });
                    let body = Body::from(page.to_string().into_bytes());
                    Ok::<_, Infallible>(http::Response::builder().status(200).body(body).unwrap())
                }
            });
            let effects = Effects::new(Client::new(api, "ns"), EventSink::new());
            effects.confirm_tasks(&Key::new("ns", "s"), |_| true).await.unwrap();
            assert_eq!(asked.load(Ordering::Relaxed), expected);
        }
    }

    #[tokio::test]
    async fn a_task_that_was_deleted_since_keeps_nothing_from_being_given_up() {
        let metadata = json!({ "name": "t", "namespace": "ns", "uid": "t", "resourceVersion": "1" });
        let found = json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata });
        let page = json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": [found] });
        let missing = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
            "message": "", "details": { "name": "t" } });
        for is_there in [true, false] {
            let (page, found, missing) = (page.clone(), found.clone(), missing.clone());
            let api = service_fn(move |request: http::Request<Body>| {
                let (code, body) = match request.uri().path().ends_with("/tasks") {
                    true => (200, &page),
                    false if is_there => (200, &found),
                    false => (404, &missing),
                };
                let body = Body::from(body.to_string().into_bytes());
                std::future::ready(Ok::<_, Infallible>(http::Response::builder().status(code).body(body).unwrap()))
            });
            let effects = Effects::new(Client::new(api, "ns"), EventSink::new());
            let confirmed = effects.confirm_tasks(&Key::new("ns", "s"), |_| false).await;
            assert_eq!(confirmed.is_err(), is_there, "{confirmed:?}");
        }
    }
}
