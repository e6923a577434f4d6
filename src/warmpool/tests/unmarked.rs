//! An admission webhook that takes away what marks a pod as its pool's.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use http::{Method, Request, Response};
use kube::{Client, client::Body};
use tower::service_fn;

use super::*;
use crate::{
    effects::EventSink,
    runs::{Bounds, testing::Idle},
};

/// An API server whose pods stay terminating for ever once they are deleted, and what was asked of it.
#[derive(Default)]
struct Server {
    pods: Mutex<BTreeMap<String, Value>>,
    posts: Mutex<Vec<u16>>,
    pool: Mutex<Value>,
    deletes_fail: AtomicBool,
}

type Strip = fn(&mut Value);

const KINDS: [(&str, Strip); 4] = [
    ("the pool's label", |pod| drop(labels_of(pod).remove(labels::WARMPOOL))),
    ("the state's label", |pod| drop(labels_of(pod).remove(labels::POD_STATE))),
    ("an annotation", |pod| pod["metadata"]["annotations"] = json!({})),
    ("the owner", |pod| pod["metadata"]["ownerReferences"] = json!([])),
];

fn labels_of(pod: &mut Value) -> &mut serde_json::Map<String, Value> {
    pod["metadata"]["labels"].as_object_mut().unwrap()
}

fn failed(code: u16, reason: &str, pod: &str) -> (u16, Value) {
    let details = json!({ "kind": "pods", "name": pod });
    let message = format!("{reason} {pod}");
    (code, json!({ "kind": "Status", "code": code, "reason": reason, "message": message, "details": details }))
}

impl Server {
    fn pods(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.pods.lock().unwrap()
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8], strip: Option<Strip>) -> (u16, Value) {
        let name = path.rsplit('/').next().unwrap().to_owned();
        match *method {
            Method::POST => {
                let answer = self.create(body, strip);
                self.posts.lock().unwrap().push(answer.0);
                answer
            }
            Method::DELETE if self.deletes_fail.load(Ordering::Relaxed) => failed(500, "InternalError", &name),
            Method::DELETE => {
                let pod = &mut self.pods()[&name].clone();
                pod["metadata"]["deletionTimestamp"] = json!(at(0).to_string());
                self.pods().insert(name, pod.clone());
                (200, pod.clone())
            }
            Method::PATCH => {
                let changes: Value = serde_json::from_slice(body).unwrap();
                let mut pool = self.pool.lock().unwrap();
                let status = changes.as_array().unwrap().iter().find(|change| change["path"] == "/status");
                pool["status"] = status.unwrap()["value"].clone();
                let version: u64 = pool["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
                pool["metadata"]["resourceVersion"] = json!((version + 1).to_string());
                (200, pool.clone())
            }
            _ => self.pods().get(&name).map_or_else(|| failed(404, "NotFound", &name), |pod| (200, pod.clone())),
        }
    }

    fn create(&self, body: &[u8], strip: Option<Strip>) -> (u16, Value) {
        let mut pod: Value = serde_json::from_slice(body).unwrap();
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        if self.pods().contains_key(&name) {
            return failed(409, "AlreadyExists", &name);
        }
        pod["metadata"]["uid"] = json!(name);
        pod["metadata"]["resourceVersion"] = json!("1");
        if let Some(strip) = strip {
            strip(&mut pod);
        }
        self.pods().insert(name, pod.clone());
        (201, pod)
    }
}

struct Cluster {
    server: Arc<Server>,
    strip: Arc<Mutex<Option<Strip>>>,
    now: Arc<AtomicI64>,
    pools: WarmPools,
}

impl Cluster {
    fn new(strip: Strip) -> Self {
        let (server, strip) = (Arc::<Server>::default(), Arc::new(Mutex::new(Some(strip))));
        let api = service_fn({
            let (server, strip) = (Arc::clone(&server), Arc::clone(&strip));
            move |request: Request<Body>| {
                let (server, strip) = (Arc::clone(&server), *strip.lock().unwrap());
                async move {
                    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                    let body = request.into_body().collect_bytes().await.unwrap();
                    let (code, body) = server.answer(&method, &path, &body, strip);
                    let body = Body::from(serde_json::to_vec(&body).unwrap());
                    Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
                }
            }
        });
        let now = Arc::new(AtomicI64::new(100));
        let clock = Clock::new({
            let now = Arc::clone(&now);
            move || at(now.load(Ordering::Relaxed))
        });
        let metrics = Metrics::unread();
        let watch = Arc::new(Watch {
            cache: Arc::default(),
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
            wake: Arc::new(|_| {}),
        });
        let effects = Arc::new(Effects::new(Client::new(api, "ns"), EventSink::new()));
        let runs = Arc::new(Runs::new(Arc::new(Idle), clock.clone(), Bounds::default(), Arc::new(|_| {})));
        let agent = AgentImage { image: "agent".into(), pull_policy: "Never".into() };
        let pools = WarmPools::new(watch, effects, clock, agent, runs, metrics);
        let pool = json!({
            "apiVersion": "arl.infra.io/v1alpha1", "kind": "WarmPool",
            "metadata": { "name": "p", "namespace": "ns", "uid": "pool", "resourceVersion": "1", "generation": 1 },
            "spec": { "replicas": 1, "template": template("v1") },
        });
        *server.pool.lock().unwrap() = pool;
        Self { server, strip, now, pools }
    }

    /// What the watches tell: a pod without the pool's label is in none.
    fn watched(&self) {
        let mut tables = self.pools.watch.cache.write();
        let pool: WarmPool = object(&self.server.pool.lock().unwrap());
        tables.set_template(&Key::new("ns", "p"), Some(&pool));
        drop(tables.pools.apply(pool));
        for pod in self.server.pods().values().map(object::<Pod>).filter(|pod| pod.pool().is_some()) {
            drop(tables.pods.apply(pod));
        }
    }

    /// Looks at the pool every three seconds, and whenever it asks to be looked at again at once.
    async fn reconcile(&self, times: usize) {
        for _ in 0..times {
            for _ in 0..50 {
                self.watched();
                let next = self.pools.reconcile(&Key::new("ns", "p")).await;
                if next.ok().flatten().is_none_or(|next| next > self.pools.clock.now()) {
                    break;
                }
            }
            self.now.fetch_add(3, Ordering::Relaxed);
        }
    }

    fn posts(&self) -> Vec<u16> {
        self.server.posts.lock().unwrap().clone()
    }

    fn failing(&self) -> Value {
        let pool = self.server.pool.lock().unwrap();
        let conditions = pool["status"]["conditions"].as_array().unwrap();
        conditions.iter().find(|condition| condition["type"] == "PodsFailing").unwrap().clone()
    }
}

/// The condition after a minute, of which pods may be there still that could not be deleted.
async fn after_a_minute(mark: &str, strip: Strip, deletes_fail: bool) -> String {
    let cluster = Cluster::new(strip);
    cluster.server.deletes_fail.store(deletes_fail, Ordering::Relaxed);
    cluster.reconcile(20).await;
    let posts = cluster.posts();
    // Pauses of 1, 2, 4, 8, 16 and 32 seconds; before each pod, the name of the one before may be tried.
    let made = posts.iter().filter(|code| **code == 201).count();
    assert!((3..=6).contains(&made) && posts.len() <= 12, "{mark}, {deletes_fail}: {posts:?}");
    let failing = cluster.failing();
    assert_eq!((&failing["status"], &failing["reason"]), (&json!("True"), &json!("Refused")), "{mark}");

    *cluster.strip.lock().unwrap() = None;
    cluster.server.deletes_fail.store(false, Ordering::Relaxed);
    cluster.reconcile(25).await;
    assert_eq!(cluster.posts().last(), Some(&201), "{mark}, {deletes_fail}");
    assert_eq!(cluster.failing()["status"], json!("False"), "{mark}, {deletes_fail}: {}", cluster.failing());
    failing["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_webhook_that_takes_marks_away_costs_no_more_pods_than_the_pauses_allow_though_they_are_slow_to_go() {
    for (mark, strip) in KINDS {
        let message = after_a_minute(mark, strip, false).await;
        assert!(message.contains("is not as it was asked for"), "{mark}: {message}");
        assert!(!message.contains("still there"), "{mark}: {message}");
    }
}

#[tokio::test]
async fn what_is_said_of_a_pod_without_its_marks_is_that_though_it_cannot_be_deleted() {
    // One without its annotations is the pool's all the same, and counts as one of an earlier template.
    for (mark, strip) in KINDS.into_iter().filter(|(mark, _)| *mark != "an annotation") {
        let message = after_a_minute(mark, strip, true).await;
        assert!(message.contains("is not as it was asked for"), "{mark}: {message}");
        assert!(message.contains("that pod is still there: InternalError"), "{mark}: {message}");
    }
}
