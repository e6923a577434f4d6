//! Tasks in front of an API server that has what the cache does not have yet.

use std::{collections::BTreeMap, convert::Infallible, sync::Mutex};

use futures::{FutureExt, future::BoxFuture};
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::sync::watch as channel;
use tower::service_fn;

use super::*;
use crate::{
    cache::Wake,
    effects::EventSink,
    runs::{Bounds, Leftovers, LiveReport, Report, RunControl, RunEnd, Runner, StepEnd, StepRun},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// What becomes of runs.
#[derive(Clone, Copy)]
enum Past {
    /// They ended after five seconds.
    Ended,
    /// They go on.
    Goes,
    /// They could not be started.
    NotStarted,
}

impl Runner for Past {
    fn run<'a>(
        &'a self,
        _: Request,
        report: &'a Report,
        mut control: channel::Receiver<RunControl>,
    ) -> BoxFuture<'a, (RunEnd, Leftovers)> {
        report.lock().started_at = Some(at(100));
        let step = StepRun { ended_at: Some(at(105)), end: Some(StepEnd::Exited(0)), ..StepRun::new(at(100)) };
        report.lock().steps.push(step);
        async move {
            match self {
                Self::Ended => return (RunEnd::Completed, Leftovers::None),
                Self::NotStarted => return (RunEnd::NotStarted("pods \"pod\" not found".into()), Leftovers::None),
                Self::Goes => {}
            }
            let _ = control.wait_for(|control| *control == RunControl::Cancel).await;
            (RunEnd::Cancelled, Leftovers::None)
        }
        .boxed()
    }

    fn prepare(&self, _: &Target, _: &LiveReport) {}

    fn ask_live(&self, _: &Target) {}

    fn forget(&self, _: &Target, _: &Uid) {}
}

/// What the API server has, by the end of its path, and the statuses that were written.
#[derive(Default)]
struct Server {
    objects: BTreeMap<&'static str, Value>,
    written: Mutex<Vec<Value>>,
}

impl Server {
    async fn answer(&self, request: http::Request<Body>) -> http::Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let found = self.objects.iter().find(|(end, _)| path.trim_end_matches("/status").ends_with(*end));
        let mut found = found.map(|(_, object)| object.clone());
        if method == http::Method::PATCH {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut changes: Value = serde_json::from_slice(&body).unwrap();
            let status = changes[1]["value"].take();
            self.written.lock().unwrap().push(status.clone());
            if let Some(object) = &mut found {
                object["status"] = status;
            }
        }
        let missing = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound", "message": "",
            "details": { "name": name(&path) },
        });
        let (code, body) = found.map_or((404, missing), |object| (200, object));
        http::Response::builder().status(code).body(Body::from(body.to_string().into_bytes())).unwrap()
    }

    fn reasons(&self) -> Vec<String> {
        let written = self.written.lock().unwrap();
        written.iter().map(|status| status["conditions"][0]["reason"].as_str().unwrap().to_owned()).collect()
    }
}

fn object(kind: &str, name: &str, spec: &Value, status: &Value) -> Value {
    json!({
        "apiVersion": "arl.infra.io/v1alpha1", "kind": kind, "spec": spec, "status": status,
        "metadata": { "name": name, "namespace": "ns", "uid": name, "resourceVersion": "1" },
    })
}

fn sandbox() -> Value {
    object("Sandbox", "s", &json!({ "poolRef": "p" }), &json!({ "phase": "Bound", "podName": "pod", "podUID": "pod" }))
}

fn task() -> Value {
    let steps = json!([{ "name": "a", "type": "Command", "command": ["true"] }]);
    let status = json!({ "state": "Running", "startedAt": at(100).to_string(), "sandboxUID": "s", "containerID": "c" });
    object("Task", "t", &json!({ "sandboxRef": "s", "steps": steps }), &status)
}

fn pod() -> Value {
    let owner = json!([{ "apiVersion": "arl.infra.io/v1alpha1", "kind": "Sandbox", "name": "s", "uid": "s", "controller": true }]);
    let container = json!({ "name": "executor", "containerID": "c", "state": { "running": {} } });
    let status = json!({
        "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }], "containerStatuses": [container],
    });
    let mut pod = object("Pod", "pod", &json!({ "containers": [{ "name": "executor" }] }), &status);
    pod["metadata"]["ownerReferences"] = owner;
    pod["metadata"]["annotations"] = json!({ "arl.infra.io/agent": "1" });
    pod
}

fn server(objects: impl IntoIterator<Item = (&'static str, Value)>) -> Arc<Server> {
    Arc::new(Server { objects: objects.into_iter().collect(), ..Server::default() })
}

/// Tasks whose runs end or do not, of which the cache has this one, or none.
fn tasks(server: &Arc<Server>, known: Option<Value>, past: Past) -> Tasks {
    let (server, metrics, clock) = (Arc::clone(server), Metrics::unread(), Clock::new(|| at(3700)));
    let answer = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Infallible>(server.answer(request).await) }
    });
    let watch =
        Watch { cache: Arc::default(), clock: clock.clone(), metrics: Arc::clone(&metrics), wake: Arc::new(|_| {}) };
    if let Some(task) = known {
        watch.cache.write().tasks.apply(TaskRow::new(serde_json::from_value(task).unwrap()));
    }
    let effects = Arc::new(Effects::new(Client::new(answer, "ns"), EventSink::new()));
    let runs = Arc::new(Runs::new(Arc::new(past), clock.clone(), Bounds::default(), Arc::new(|_| {})));
    Tasks::new(Arc::new(watch), effects, runs, clock, None, metrics)
}

fn key() -> Key {
    Key::new("ns", "t")
}

/// Has the run of the Task begin, and end where it does.
async fn follow(tasks: &Tasks) {
    tasks.reconcile(&key()).await.unwrap();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_task_does_not_end_for_what_only_the_cache_does_not_have() {
    let all = || [("/sandboxes/s", sandbox()), ("/pods/pod", pod()), ("/tasks/t", task())];
    for (missing, reasons) in [("none", &[][..]), ("/sandboxes/s", &["SandboxDeleted"]), ("/pods/pod", &["PodLost"])] {
        let server = server(all().into_iter().filter(|(end, _)| *end != missing));
        let tasks = tasks(&server, Some(task()), Past::Goes);
        follow(&tasks).await;
        assert_eq!(server.reasons(), reasons, "not there: {missing}");
        assert_eq!(tasks.runs.active(), usize::from(missing == "none"), "it is followed if it goes on");
    }
}

/// The watch may be late, or broken, and then the cache has a pod that is gone.
#[tokio::test]
async fn a_task_that_cannot_be_started_in_a_pod_that_is_gone_is_not_to_blame() {
    for (missing, reason, blame) in [
        (&[][..], "StartError", "Task"),
        (&["/pods/pod"], "PodLost", "Infrastructure"),
        (&["/pods/pod", "/sandboxes/s"], "SandboxDeleted", "Usage"),
    ] {
        let mut waiting = task();
        waiting["status"] = Value::Null;
        let all = [("/sandboxes/s", sandbox()), ("/pods/pod", pod()), ("/tasks/t", waiting.clone())];
        let server = server(all.into_iter().filter(|(end, _)| !missing.contains(end)));
        let tasks = tasks(&server, Some(waiting), Past::NotStarted);
        {
            let mut tables = tasks.watch.cache.write();
            tables.sandboxes.apply(SandboxRow::new(serde_json::from_value(sandbox()).unwrap()));
            tables.pods.apply(serde_json::from_value(pod()).unwrap());
        }
        follow(&tasks).await;
        tasks.reconcile(&key()).await.unwrap();
        assert_eq!(server.reasons().last().map(String::as_str), Some(reason));
        assert_eq!(server.written.lock().unwrap().last().unwrap()["blame"], blame);
    }
}

/// The clocks of API servers differ: a Task that comes later may have been created earlier.
#[tokio::test]
async fn a_task_waits_for_the_one_that_runs_whichever_was_created_first() {
    for is_on_record in [true, false] {
        let mut running = task();
        running["metadata"]["creationTimestamp"] = json!(at(90).to_string());
        if !is_on_record {
            running["status"] = Value::Null;
        }
        let server = server([("/sandboxes/s", sandbox()), ("/pods/pod", pod()), ("/tasks/t", running.clone())]);
        let tasks = tasks(&server, Some(running), Past::Goes);
        {
            let mut tables = tasks.watch.cache.write();
            tables.sandboxes.apply(SandboxRow::new(serde_json::from_value(sandbox()).unwrap()));
            tables.pods.apply(serde_json::from_value(pod()).unwrap());
        }
        follow(&tasks).await;
        assert_eq!(tasks.runs.active(), 1, "{is_on_record}");
        let mut earlier = task();
        (earlier["metadata"]["name"], earlier["metadata"]["uid"]) = (json!("earlier"), json!("earlier"));
        earlier["metadata"]["creationTimestamp"] = json!(at(80).to_string());
        earlier["status"] = Value::Null;
        tasks.watch.cache.write().tasks.apply(TaskRow::new(serde_json::from_value(earlier).unwrap()));
        tasks.reconcile(&Key::new("ns", "earlier")).await.unwrap_err();
        assert_eq!(tasks.runs.active(), 1, "{is_on_record}");
        assert_eq!(server.reasons().last().map(String::as_str), Some("Queued"), "{is_on_record}");
    }
}

#[tokio::test]
async fn a_run_is_ended_only_where_its_task_is_certainly_gone() {
    for is_there in [true, false] {
        let server = server([("/tasks/t", task())].into_iter().filter(|_| is_there));
        let tasks = tasks(&server, None, Past::Goes);
        let pod: Pod = serde_json::from_value(pod()).unwrap();
        let steps = Vec::new();
        tasks.runs.start(Request {
            task: key(),
            task_uid: Uid("t".into()),
            created: None,
            steps,
            sandbox_env: BTreeMap::new(),
            room: None,
            timeout: Duration::from_secs(30),
            target: pod.target().unwrap(),
            started_at: Some(Timestamp::UNIX_EPOCH),
        });
        follow(&tasks).await;
        assert_eq!(tasks.runs.active(), usize::from(is_there), "its Task is there: {is_there}");
    }
}

#[tokio::test]
async fn a_task_ended_when_its_last_step_did_however_late_that_is_noticed() {
    let server = server([("/sandboxes/s", sandbox()), ("/pods/pod", pod()), ("/tasks/t", task())]);
    let tasks = tasks(&server, Some(task()), Past::Ended);
    follow(&tasks).await;
    follow(&tasks).await;
    let status: TaskStatus = serde_json::from_value(server.written.lock().unwrap()[0].clone()).unwrap();
    assert_eq!(status.completed_at.as_ref().map(|at| at.0), Some(at(105)), "{status:?}");
    assert_eq!(status.duration.as_deref(), Some("5.0s"));
    let mut ended = task();
    ended["status"] = serde_json::to_value(&status).unwrap();
    let row = TaskRow::new(serde_json::from_value(ended).unwrap());
    assert_eq!(row.ended_on_record(), Some(at(3700)), "a ttl runs from when there is a result");
}

#[tokio::test]
async fn of_an_end_written_by_a_call_that_was_never_answered_nothing_is_kept() {
    let server = server([("/sandboxes/s", sandbox()), ("/pods/pod", pod()), ("/tasks/t", task())]);
    let tasks = tasks(&server, Some(task()), Past::Ended);
    follow(&tasks).await;
    assert!(tasks.runs.view(&Uid("t".to_owned())).is_some_and(|run| run.ended.is_some()));
    let mut ended = task();
    ended["metadata"]["resourceVersion"] = json!("2");
    ended["status"]["state"] = json!("Succeeded");
    tasks.watch.cache.write().tasks.apply(TaskRow::new(serde_json::from_value(ended).unwrap()));
    follow(&tasks).await;
    assert!(tasks.runs.view(&Uid("t".to_owned())).is_none());
    assert_eq!(server.reasons(), Vec::<String>::new(), "it is on record already");
}

/// Runs of which nothing is sent before their container is started again, and the containers that they were for.
#[derive(Default)]
struct Unsent(Mutex<Vec<String>>);

impl Runner for Unsent {
    fn run<'a>(
        &'a self,
        request: Request,
        _: &'a Report,
        mut control: channel::Receiver<RunControl>,
    ) -> BoxFuture<'a, (RunEnd, Leftovers)> {
        self.0.lock().unwrap().push(request.target.container_id);
        async move {
            let _ = control.wait_for(|control| *control == RunControl::Settle).await;
            (RunEnd::NotSent, Leftovers::None)
        }
        .boxed()
    }

    fn prepare(&self, _: &Target, _: &LiveReport) {}

    fn ask_live(&self, _: &Target) {}

    fn forget(&self, _: &Target, task: &Uid) {
        self.0.lock().unwrap().push(format!("{task} is forgotten"));
    }
}

#[tokio::test]
async fn a_task_of_which_nothing_was_sent_waits_for_the_next_container_and_runs_there() {
    let mut waiting = task();
    waiting["status"] = json!({});
    let server = server([("/sandboxes/s", sandbox()), ("/pods/pod", pod()), ("/tasks/t", waiting.clone())]);
    let runner = Arc::<Unsent>::default();
    let tasks = tasks(&server, Some(waiting), Past::Goes);
    let dynamic: Arc<dyn Runner> = Arc::clone(&runner) as _;
    let runs = Arc::new(Runs::new(dynamic, tasks.clock.clone(), Bounds::default(), Arc::new(|_| {})));
    let tasks = Tasks { runs, ..tasks };
    tasks.watch.cache.write().sandboxes.apply(SandboxRow::new(serde_json::from_value(sandbox()).unwrap()));
    for (container, ready) in [("c", "True"), ("c", "False"), ("d", "True")] {
        let mut pod = pod();
        pod["status"]["conditions"][0]["status"] = json!(ready);
        let state = if ready == "True" { "running" } else { "terminated" };
        pod["status"]["containerStatuses"][0] =
            json!({ "name": "executor", "containerID": container, "state": { state: {} } });
        tasks.watch.cache.write().pods.apply(serde_json::from_value(pod).unwrap());
        for _ in 0..3 {
            follow(&tasks).await;
        }
    }
    assert_eq!(*runner.0.lock().unwrap(), ["c", "d"]);
    assert_eq!(server.reasons(), ["SandboxNotReady"]);
}

#[tokio::test]
async fn a_task_that_has_ended_takes_no_turn_of_those_that_wait_for_room() {
    let mut ended = task();
    ended["status"]["state"] = json!("Failed");
    let server = server([("/tasks/t", ended.clone())]);
    let tasks = tasks(&server, Some(ended), Past::Goes);
    let woken = Arc::new(Mutex::new(Vec::new()));
    let wakes = Arc::clone(&woken);
    let wake: Arc<dyn Fn(Wake) + Send + Sync> = Arc::new(move |wake| wakes.lock().unwrap().push(wake));
    let runs = Arc::new(Runs::new(Arc::new(Past::Goes), tasks.clock.clone(), Bounds::default(), wake));
    let tasks = Tasks { runs, ..tasks };
    let all = 8 * 1024 * 1024;
    let room = tasks.runs.room(&Key::new("ns", "large"), all).unwrap();
    assert!(tasks.runs.room(&key(), all).is_none() && tasks.runs.room(&Key::new("ns", "waits"), all).is_none());
    tasks.reconcile(&key()).await.unwrap();
    drop(room);
    assert_eq!(*woken.lock().unwrap(), [Wake::Task(Key::new("ns", "waits"))]);
}
