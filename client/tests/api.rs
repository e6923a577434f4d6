//! Claims, Tasks and forks under an API server that does not do as it should, or whose answers nobody waits for.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends by panicking")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arl_client::{Client, Error, Fault, TaskStatus};
use arl_crds::TaskState;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, channel::mpsc};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::{sync::Notify, time::timeout};

/// What is there, and how requests are answered.
#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    created: usize,
    deleted: Vec<String>,
    /// So many Sandboxes get a pod.
    pods: usize,
    /// So many creations are carried out and answered with 504.
    lost_answers: usize,
    /// So many deletions are answered with 500.
    failing_deletions: usize,
    forbids_lists: bool,
    /// So many requests to list or watch Tasks are refused.
    refusals: usize,
    /// Nothing can be listed or watched.
    is_down: bool,
    /// Deletions are told to watches only when the next object is created.
    tells_of_deletions_late: bool,
    untold: Vec<Value>,
    /// So often what is in the way of a creation is deleted right after it was.
    vanishing: usize,
    watches: Vec<mpsc::UnboundedSender<Bytes>>,
}

impl State {
    fn tell(&mut self, kind: &str, object: &Value) {
        let line = line(kind, object);
        self.watches.retain(|watch| watch.unbounded_send(line.clone()).is_ok());
    }
}

/// The type first, as the API server writes it.
fn line(kind: &str, object: &Value) -> Bytes {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into()
}

#[derive(Clone, Default)]
struct Server {
    state: Arc<Mutex<State>>,
    /// Where there is one, the answer to a creation waits for it.
    answers: Arc<Mutex<Option<Arc<Notify>>>>,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

fn reply(code: u16, body: &Value) -> Answer {
    Response::builder().status(code).body(Full::from(body.to_string()).boxed_unsync()).unwrap()
}

fn failure(code: u16, reason: &str) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": format!("it is {reason}"), "reason": reason, "code": code,
    });
    reply(code, &status)
}

/// The status of a Sandbox that has one.
fn with_pod() -> Value {
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "Allocated", "message": "m", "lastTransitionTime": "2024-01-01T00:00:00Z",
    });
    json!({ "phase": "Ready", "podName": "p", "podUID": "u", "conditions": [ready] })
}

impl Server {
    fn with(change: impl FnOnce(&mut State)) -> (Self, Client) {
        let server = Self::default();
        change(&mut server.state());
        let client = Client::new(server.kube(), "default");
        (server, client)
    }

    fn kube(&self) -> kube::Client {
        let requests = self.clone();
        let service = tower::service_fn(move |request| requests.clone().answer(request).map(Ok::<_, Infallible>));
        kube::Client::new(service, "default")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What is there, by the path of its kind and its name.
    fn left(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    fn give_pod(&self, at: &str) {
        let mut state = self.state();
        let object = state.objects.get_mut(at).unwrap();
        object["status"] = with_pod();
        let object = object.clone();
        state.tell("MODIFIED", &object);
    }

    async fn answer(self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = parts.uri.path().trim_start_matches("/apis/arl.infra.io/v1alpha1/namespaces/default/").to_owned();
        let is_watch = parts.uri.query().is_some_and(|query| query.contains("watch=true"));
        match parts.method {
            Method::POST => self.create(&path, serde_json::from_slice(&body).unwrap()).await,
            Method::DELETE => self.delete(&path, &body),
            Method::GET if !path.contains('/') && self.state().forbids_lists => failure(403, "Forbidden"),
            Method::GET if !path.contains('/') && self.state().is_down => failure(500, "InternalError"),
            Method::GET if path == "tasks" && self.is_refused() => failure(403, "Forbidden"),
            Method::GET if is_watch => self.watch(&path),
            Method::GET if path.contains('/') => match self.state().objects.get(&path) {
                Some(object) => reply(200, object),
                None => failure(404, "NotFound"),
            },
            _ => {
                let found: Vec<_> = self
                    .state()
                    .objects
                    .iter()
                    .filter(|(at, _)| at.starts_with(&path))
                    .map(|(_, object)| object.clone())
                    .collect();
                reply(200, &json!({ "metadata": { "resourceVersion": "1" }, "items": found }))
            }
        }
    }

    fn is_refused(&self) -> bool {
        let mut state = self.state();
        let is_refused = state.refusals > 0;
        state.refusals = state.refusals.saturating_sub(1);
        is_refused
    }

    /// The Task that is there, and has finished.
    fn finish_task(&self) -> Value {
        let mut state = self.state();
        let (_, task) = state.objects.iter_mut().find(|(at, _)| at.starts_with("tasks/")).unwrap();
        task["status"] = json!({ "state": "Succeeded" });
        task.clone()
    }

    async fn create(self, path: &str, mut object: Value) -> Answer {
        let at = format!("{path}/{}", object["metadata"]["name"].as_str().unwrap());
        {
            let mut state = self.state();
            if let Some(there) = state.objects.get(&at).cloned() {
                if state.vanishing > 0 {
                    state.vanishing -= 1;
                    state.objects.remove(&at);
                    state.tell("DELETED", &there);
                }
                return failure(409, "AlreadyExists");
            }
            state.created += 1;
            object["metadata"]["uid"] = json!(format!("uid-{}", state.created));
            object["metadata"]["resourceVersion"] = json!(state.created.to_string());
            if path == "sandboxes" && state.pods > 0 {
                state.pods -= 1;
                object["status"] = with_pod();
            }
            state.objects.insert(at, object.clone());
            for gone in std::mem::take(&mut state.untold) {
                state.tell("DELETED", &gone);
            }
            state.tell("ADDED", &object);
            if state.lost_answers > 0 {
                state.lost_answers -= 1;
                return failure(504, "Timeout");
            }
        }
        let answer = self.answers.lock().unwrap().clone();
        if let Some(answer) = answer {
            answer.notified().await;
        }
        reply(201, &object)
    }

    fn delete(self, at: &str, body: &[u8]) -> Answer {
        let mut state = self.state();
        if state.failing_deletions > 0 {
            state.failing_deletions -= 1;
            return failure(500, "InternalError");
        }
        let wanted: Value = serde_json::from_slice(body).unwrap_or_default();
        let uid = &wanted["preconditions"]["uid"];
        match state.objects.get(at) {
            None => failure(404, "NotFound"),
            Some(object) if !uid.is_null() && object["metadata"]["uid"] != *uid => failure(409, "Conflict"),
            Some(object) => {
                let object = object.clone();
                state.objects.remove(at);
                state.deleted.push(at.to_owned());
                if state.tells_of_deletions_late {
                    state.untold.push(object.clone());
                } else {
                    state.tell("DELETED", &object);
                }
                reply(200, &object)
            }
        }
    }

    /// Tells of all that is there first: it may have come between the list and the watch.
    fn watch(self, path: &str) -> Answer {
        let (sender, lines) = mpsc::unbounded();
        let mut state = self.state();
        for (_, object) in state.objects.iter().filter(|(at, _)| at.starts_with(path)) {
            sender.unbounded_send(line("ADDED", object)).unwrap();
        }
        state.watches.push(sender);
        drop(state);
        let frames = lines.map(|line| Ok::<_, Infallible>(http_body::Frame::data(line)));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_given_up_leaves_nothing_whenever_that_is() {
    let (server, client) = Server::with(|_| ());
    let answer = Arc::new(Notify::new());
    *server.answers.lock().unwrap() = Some(Arc::clone(&answer));
    assert!(timeout(Duration::from_secs(1), client.claim("pool").into_future()).await.is_err());
    assert_eq!(server.left().len(), 1, "it was not created");
    answer.notify_one();
    client.settled().await;
    assert_eq!(server.left(), Vec::<String>::new());
}

#[tokio::test]
async fn what_no_run_can_be_called_is_refused() {
    let (server, client) = Server::with(|_| ());
    for run_id in ["a,b", "", "a b", "a=b", "-a"] {
        let refused = client.reap(run_id).await.unwrap_err();
        assert!(matches!(&refused, Error::Usage(message) if message.contains("no run can have the id")), "{refused}");
        assert!(matches!(Client::in_run(server.kube(), "default", run_id), Err(Error::Usage(_))), "{run_id:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_given_up_leaves_anothers_sandbox_alone() {
    let (server, client) = Server::with(|state| state.pods = 1);
    client.claim("pool").name("shared").await.unwrap();
    let refused = client.claim("pool").name("shared").await.unwrap_err();
    assert_eq!(refused.fault(), Fault::Usage, "{refused}");
    client.settled().await;
    assert_eq!(server.left(), ["sandboxes/shared"]);
}

#[tokio::test(start_paused = true)]
async fn a_claim_adopts_the_sandbox_of_its_name_where_there_is_one() {
    let (server, client) = Server::with(|state| state.pods = 1);
    let other = Client::in_run(server.kube(), "default", "other").unwrap();
    let claim = |pool: &str| other.claim(pool).name("shared").adopt().wait(Duration::from_secs(60));
    let nameless = client.claim("pool").adopt().await.unwrap_err();
    assert_eq!(nameless.fault(), Fault::Usage, "{nameless}");
    // It creates the Sandbox where there is none,
    let made = client.claim("pool").name("shared").adopt().await.unwrap();
    // takes the one that another run has made,
    let adopted = claim("pool").await.unwrap();
    assert_eq!((adopted.name(), adopted.pod()), (made.name(), made.pod()));
    // and none of another pool.
    let refused = claim("elsewhere").await.unwrap_err();
    assert!(refused.fault() == Fault::Usage && refused.to_string().contains("is of pool pool"), "{refused}");
    assert_eq!(server.left(), ["sandboxes/shared"]);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_adopts_waits_until_the_sandbox_is_ready_and_never_deletes_it() {
    let (server, client) = Server::with(|_| ());
    let other = Client::in_run(server.kube(), "default", "other").unwrap();
    let first = tokio::spawn(client.claim("pool").name("shared").into_future());
    until(|| !server.left().is_empty()).await;
    let late = other.claim("pool").name("shared").adopt().wait(Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(late, Error::NotReady { .. }), "{late}");
    other.settled().await;
    assert_eq!(server.left(), ["sandboxes/shared"]);
    let adopted = tokio::spawn(other.claim("pool").name("shared").adopt().into_future());
    server.give_pod("sandboxes/shared");
    assert_eq!(adopted.await.unwrap().unwrap().pod(), "p");
    first.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_adopts_creates_the_sandbox_again_where_it_goes_meanwhile() {
    let (server, client) = Server::with(|state| state.pods = 2);
    client.claim("pool").name("shared").await.unwrap();
    server.state().vanishing = 1;
    client.claim("pool").name("shared").adopt().await.unwrap();
    assert_eq!((server.left(), server.state().created), (vec!["sandboxes/shared".to_owned()], 2));
}

#[tokio::test(start_paused = true)]
async fn a_claim_does_not_adopt_a_sandbox_that_is_going() {
    let (server, client) = Server::with(|state| state.pods = 1);
    client.claim("pool").name("shared").await.unwrap();
    let going = {
        let mut state = server.state();
        let object = state.objects.get_mut("sandboxes/shared").unwrap();
        object["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:00Z");
        object.clone()
    };
    let claim = || client.claim("pool").name("shared").adopt().wait(Duration::from_secs(5)).into_future();
    let stays = claim().await.unwrap_err();
    assert!(stays.to_string().contains("is being deleted"), "{stays}");
    let watches = server.state().watches.len();
    let adopting = tokio::spawn(claim());
    // Its own, and that for the end of the one that is going.
    until(|| server.state().watches.len() >= watches + 2).await;
    {
        let mut state = server.state();
        state.pods = 1;
        state.objects.remove("sandboxes/shared");
        state.tell("DELETED", &going);
    }
    adopting.await.unwrap().unwrap();
    assert_eq!((server.left(), server.state().created), (vec!["sandboxes/shared".to_owned()], 2));
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_is_deleted_while_a_claim_waits_for_it_is_not_ready_though_it_is_still_there() {
    let (server, client) = Server::with(|_| ());
    let claim = tokio::spawn(client.claim("pool").name("s").wait(Duration::from_secs(60)).into_future());
    until(|| !server.left().is_empty()).await;
    server.state().objects.get_mut("sandboxes/s").unwrap()["metadata"]["deletionTimestamp"] =
        json!("2024-01-01T00:00:00Z");
    server.give_pod("sandboxes/s");
    let deleted = claim.await.unwrap().unwrap_err();
    assert!(matches!(&deleted, Error::NotReady { reason, .. } if reason == "Deleted"), "{deleted}");
}

#[tokio::test(start_paused = true)]
async fn a_name_can_be_used_again_while_the_watch_is_behind() {
    let (_, client) = Server::with(|state| (state.pods, state.tells_of_deletions_late) = (2, true));
    client.claim("pool").name("again").await.unwrap().release().await.unwrap();
    client.claim("pool").name("again").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fork_that_is_given_up_leaves_no_copy() {
    let (server, client) = Server::with(|state| state.pods = 2);
    let source = client.claim("pool").name("source").await.unwrap();
    assert!(timeout(Duration::from_secs(60), source.fork(3, "/workspace")).await.is_err());
    assert_eq!(server.left().len(), 4, "one copy had its pod and two waited");
    client.settled().await;
    assert_eq!(server.left(), ["sandboxes/source"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_caller_leaves_is_deleted() {
    let (server, client) = Server::with(|state| state.pods = 1);
    let sandbox = client.claim("pool").name("s").await.unwrap();
    assert!(timeout(Duration::from_secs(1), sandbox.task(Vec::new(), None)).await.is_err());
    client.settled().await;
    assert_eq!(server.left(), ["sandboxes/s"]);
}

/// A Task of a Sandbox whose caller waits for it.
async fn waited_for(server: &Server, client: &Client) -> tokio::task::JoinHandle<Result<TaskStatus, Error>> {
    let sandbox = client.claim("pool").name("s").await.unwrap();
    let task = tokio::spawn(async move { sandbox.task(Vec::new(), None).await });
    until(|| server.left().len() == 2).await;
    task
}

#[tokio::test(start_paused = true)]
async fn a_task_that_finished_and_went_at_once_has_its_result() {
    let (server, client) = Server::with(|state| state.pods = 1);
    let task = waited_for(&server, &client).await;
    until(|| server.state().watches.len() == 2).await;
    let finished = server.finish_task();
    server.state().tell("DELETED", &finished);
    let status = timeout(Duration::from_secs(60), task).await.unwrap().unwrap().unwrap();
    assert_eq!(status.state, Some(TaskState::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_came_and_went_between_two_watches_is_not_waited_for() {
    let (server, client) = Server::with(|state| state.pods = 1);
    let sandbox = client.claim("pool").name("s").await.unwrap();
    server.state().is_down = true;
    let task = tokio::spawn(async move { sandbox.task(Vec::new(), None).await });
    until(|| server.left().len() == 2).await;
    {
        let mut state = server.state();
        state.objects.retain(|at, _| !at.starts_with("tasks/"));
        state.is_down = false;
    }
    let deleted = timeout(Duration::from_secs(600), task).await.expect("it ends").unwrap().unwrap_err();
    assert!(deleted.to_string().contains("was deleted"), "{deleted}");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_cannot_be_read_keeps_nobody_else_waiting() {
    let (server, client) = Server::with(|state| state.pods = 1);
    let task = waited_for(&server, &client).await;
    until(|| server.state().watches.len() == 2).await;
    // The schema takes this time, and no clock has it.
    let spoilt = json!({
        "apiVersion": "arl.infra.io/v1alpha1", "kind": "Task", "metadata": { "name": "z", "resourceVersion": "9" },
        "spec": { "sandboxRef": "s", "steps": [] }, "status": { "completedAt": "9999-12-31T23:59:59Z" },
    });
    {
        let mut state = server.state();
        state.tell("ADDED", &spoilt);
        state.objects.insert("tasks/z".into(), spoilt);
        state.watches.clear();
    }
    server.finish_task();
    let status = timeout(Duration::from_secs(60), task).await.expect("it ends").unwrap().unwrap();
    assert_eq!(status.state, Some(TaskState::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_task_that_cannot_be_read_is_told_so() {
    let (server, client) = Server::with(|state| state.pods = 1);
    let task = waited_for(&server, &client).await;
    until(|| server.state().watches.len() == 2).await;
    let mut spoilt = server.finish_task();
    spoilt["status"]["completedAt"] = json!("9999-12-31T23:59:59Z");
    server.state().objects.retain(|at, _| !at.starts_with("tasks/"));
    server.state().tell("MODIFIED", &spoilt);
    let unread = timeout(Duration::from_secs(60), task).await.expect("it ends").unwrap().unwrap_err();
    assert!(matches!(unread, Error::Api { verb: "read", .. }), "{unread}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_refused_once_ends_no_task() {
    let (server, client) = Server::with(|state| state.pods = 1);
    let task = waited_for(&server, &client).await;
    until(|| server.state().watches.len() == 2).await;
    {
        let mut state = server.state();
        state.refusals = 1;
        state.watches.clear();
    }
    until(|| server.state().refusals == 0).await;
    server.finish_task();
    let status = timeout(Duration::from_secs(60), task).await.unwrap().unwrap().unwrap();
    assert_eq!(status.state, Some(TaskState::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_refused_for_long_is_given_up() {
    let (server, client) = Server::with(|state| state.pods = 1);
    let task = waited_for(&server, &client).await;
    until(|| server.state().watches.len() == 2).await;
    {
        let mut state = server.state();
        state.refusals = usize::MAX;
        state.watches.clear();
    }
    let refused = timeout(Duration::from_secs(120), task).await.expect("it ends").unwrap().unwrap_err();
    assert!(matches!(refused, Error::Api { verb: "watch", .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_name_of_a_pod_is_not_asked_for() {
    let (server, client) = Server::with(|state| state.pods = 1);
    client.claim("pool").name("s").await.unwrap();
    server.state().objects.get_mut("sandboxes/s").unwrap()["status"]["podName"] = json!("p/../../secrets/s?");
    let refused = client.open("s").await.unwrap_err();
    assert!(refused.fault() == Fault::Usage && refused.to_string().contains("which no pod is called"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_is_being_deleted_is_not_used() {
    let (server, client) = Server::with(|state| state.pods = 1);
    client.claim("pool").name("s").await.unwrap();
    server.state().objects.get_mut("sandboxes/s").unwrap()["metadata"]["deletionTimestamp"] =
        json!("2026-01-01T00:00:00Z");
    let refused = client.open("s").await.unwrap_err();
    assert!(matches!(&refused, Error::NotReady { reason, .. } if reason == "Deleted"), "{refused}");
    assert_eq!(refused.fault(), Fault::Usage);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_watch_is_told_at_once() {
    let (server, client) = Server::with(|state| (state.pods, state.forbids_lists) = (1, true));
    let refused = timeout(Duration::from_secs(60), client.claim("pool").into_future()).await.unwrap().unwrap_err();
    assert!(matches!(refused, Error::Api { verb: "watch", .. }) && refused.fault() == Fault::Usage, "{refused}");
    client.settled().await;
    assert_eq!(server.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_release_leaves_another_sandbox_of_the_same_name_alone() {
    let (server, client) = Server::with(|state| state.pods = 2);
    let before = client.claim("pool").name("x").await.unwrap();
    server.state().objects.clear();
    client.claim("pool").name("x").await.unwrap();
    before.release().await.unwrap();
    assert_eq!(server.left(), ["sandboxes/x"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_created_without_an_answer_is_found_by_the_next_attempt() {
    for name in [None, Some("x")] {
        let (server, client) = Server::with(|state| (state.pods, state.lost_answers) = (1, 1));
        let claim = client.claim("pool");
        let claim = if let Some(name) = name { claim.name(name) } else { claim };
        let sandbox = claim.await.unwrap();
        assert_eq!((server.left().len(), server.state().created), (1, 1));
        sandbox.release().await.unwrap();
        assert_eq!(server.left(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_is_tried_again_where_the_api_server_fails() {
    let (server, client) = Server::with(|state| (state.pods, state.failing_deletions) = (1, 3));
    client.claim("pool").await.unwrap().release().await.unwrap();
    assert_eq!(server.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_was_done_for_an_item_counts_though_its_sandbox_is_not_released() {
    let (_, client) = Server::with(|state| (state.pods, state.failing_deletions) = (1, 1000));
    let calls = &AtomicUsize::new(0);
    let work = |_, item: u32| async move {
        calls.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Error>(item)
    };
    let results = client.map("pool", [7], 1, 3, work).await;
    assert!(matches!(results[..], [Ok(7)]), "{results:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_item_does_not_hold_up_those_after_it() {
    let (_, client) = Server::with(|state| state.pods = 4);
    let done = &AtomicUsize::new(0);
    let work = |_, item: usize| async move {
        if item == 0 {
            until(|| done.load(Ordering::SeqCst) == 3).await;
        }
        done.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Error>(item)
    };
    let mapped = timeout(Duration::from_secs(60), client.map("pool", 0..4, 2, 0, work)).await.unwrap();
    assert_eq!(mapped.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 2, 3]);
}
