//! What is kept of Sandboxes beside their status, and what they say of claims that fail.

mod half_undone;

use std::convert::Infallible;

use arl_crds::{WarmPool, labels};
use http::{Method, Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tower::service_fn;

use super::*;
use crate::{
    effects::EventSink,
    runs::{Bounds, testing::Idle},
};

fn sandboxes(client: Client) -> Sandboxes {
    let (metrics, clock) = (Metrics::unread(), Clock::new(|| Timestamp::UNIX_EPOCH));
    let watch = Arc::new(Watch {
        cache: Arc::default(),
        clock: clock.clone(),
        metrics: Arc::clone(&metrics),
        wake: Arc::new(|_| {}),
    });
    let effects = Arc::new(Effects::new(client, EventSink::new()));
    let runs = Arc::new(Runs::new(Arc::new(Idle), clock.clone(), Bounds::default(), Arc::new(|_| {})));
    Sandboxes::new(watch, effects, runs, clock, None, metrics)
}

#[tokio::test]
async fn nothing_is_kept_of_a_sandbox_that_is_deleted_while_it_claims_a_pod() {
    let silent = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let sandboxes = sandboxes(Client::new(silent, "ns"));
    for number in 0..100 {
        let key = Key::new("ns", &format!("s-{number}"));
        sandboxes.claiming().insert(key.clone(), Uid(key.name.clone()));
        assert_eq!(sandboxes.reconcile(&key).await.unwrap(), None);
    }
    assert!(sandboxes.claiming().is_empty());
}

fn object<T: serde::de::DeserializeOwned>(name: &str, spec: &Value) -> T {
    let metadata = json!({ "name": name, "namespace": "ns", "uid": name, "resourceVersion": "1" });
    serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
}

/// One that has been ready since this second.
fn ready_pod(name: &str, since: i64, pool: &WarmPool) -> Pod {
    let since = Timestamp::from_second(since).unwrap().to_string();
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "ns", "uid": name, "resourceVersion": "1",
            "labels": { labels::WARMPOOL: "pool", labels::POD_STATE: "ready" },
            "annotations": { labels::TEMPLATE_HASH: pool.spec.fingerprint() },
            "ownerReferences": [{ "apiVersion": "v1", "kind": "WarmPool", "name": "pool", "uid": "pool", "controller": true }],
        },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": since }] },
    }))
    .unwrap()
}

fn refusal(pod: &str, code: u16) -> Value {
    let reason = if code == 404 { "NotFound" } else { "Forbidden" };
    let (message, details) = (format!("the answer is {code}"), json!({ "kind": "pods", "name": pod }));
    let mut status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason });
    (status["code"], status["message"], status["details"]) = (json!(code), json!(message), details);
    status
}

/// What a Sandbox says after claims of these pods had these answers.
async fn said_after(answers: &[(&'static str, u16)]) -> Value {
    let (sandboxes, written) = waiting(answers);
    sandboxes.reconcile(&Key::new("ns", "s")).await.unwrap();
    written.lock().unwrap().clone()
}

/// A Sandbox that waits for these pods, claims of which have these answers; and what is written.
fn waiting(answers: &[(&'static str, u16)]) -> (Sandboxes, Arc<Mutex<Value>>) {
    let codes: BTreeMap<_, _> = answers.iter().copied().collect();
    let written = Arc::new(Mutex::new(Value::Null));
    let api = service_fn({
        let written = Arc::clone(&written);
        move |request: Request<Body>| {
            let (codes, written) = (codes.clone(), Arc::clone(&written));
            async move {
                let path = request.uri().path().to_owned();
                let refused = codes.iter().find(|(pod, _)| path.ends_with(&format!("/pods/{pod}")));
                let (code, body) = if let Some((pod, code)) = refused {
                    (*code, refusal(pod, *code))
                } else {
                    assert_eq!(request.method(), Method::PATCH, "{path}");
                    let changes = request.into_body().collect_bytes().await.unwrap();
                    let changes: Value = serde_json::from_slice(&changes).unwrap();
                    let mut answer =
                        serde_json::to_value(object::<Sandbox>("s", &json!({ "poolRef": "pool" }))).unwrap();
                    if changes[1]["path"] == "/status" {
                        answer["status"] = changes[1]["value"].clone();
                    }
                    *written.lock().unwrap() = changes;
                    (200, answer)
                };
                let body = Body::from(serde_json::to_vec(&body).unwrap());
                Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
            }
        }
    });
    let sandboxes = sandboxes(Client::new(api, "ns"));
    see(&sandboxes, answers.iter().map(|(pod, _)| *pod));
    (sandboxes, written)
}

/// The watches tell of a Sandbox, its pool and these pods, which are ready one after the other.
fn see<'a>(sandboxes: &Sandboxes, pods: impl Iterator<Item = &'a str>) {
    let pool: WarmPool = object("pool", &json!({ "replicas": 2, "template": { "spec": {} } }));
    let mut tables = sandboxes.watch.cache.write();
    let pods = (1..).zip(pods).map(|(since, name)| ready_pod(name, since, &pool));
    let pods: Vec<Key> = pods.map(|pod| (Key::of(&pod), tables.pods.apply(pod)).0).collect();
    let sandbox = SandboxRow::new(object("s", &json!({ "poolRef": "pool" })));
    let waiting = [sandbox.key()];
    drop(tables.sandboxes.apply(sandbox));
    tables.set_template(&Key::new("ns", "pool"), Some(&pool));
    drop(tables.pools.apply(pool));
    tables.pair(waiting, pods);
}

#[tokio::test]
async fn a_call_that_fails_is_called_a_refused_claim_only_where_it_is_the_claim() {
    let key = Key::new("ns", "s");
    for (verb, reason) in [("claim", "ClaimRefused"), ("list", "ApiError")] {
        let (sandboxes, written) = waiting(&[("a", 403)]);
        let failure = Failure::new(verb, "Pods of", &key, crate::effects::Cause::Timeout);
        sandboxes.show(&key, Some(Obstacle { failure: &failure, is_new: true })).await.unwrap();
        let said = written.lock().unwrap().to_string();
        assert!(said.contains(&format!("\"reason\":\"{reason}\"")), "{verb}: {said}");
    }
}

#[tokio::test]
async fn a_claim_that_was_refused_is_said_though_the_next_was_outrun() {
    for (answers, reason, words) in [
        (&[("a", 403), ("b", 404)][..], "ClaimRefused", "the answer is 403"),
        (&[("a", 403), ("b", 403)], "ClaimRefused", "the answer is 403"),
    ] {
        let said = said_after(answers).await.to_string();
        assert!(said.contains(&format!("\"reason\":\"{reason}\"")) && said.contains(words), "{answers:?}: {said}");
    }
}

#[tokio::test]
async fn of_a_pod_that_somebody_else_was_faster_to_claim_nothing_is_said() {
    assert_eq!(said_after(&[("a", 404)]).await, Value::Null, "there may be another one: the pool is not called empty");
}
