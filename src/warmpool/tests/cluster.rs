//! WarmPools in front of an API server of a few lines.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use http::{Method, Request, Response};
use kube::{Client, client::Body};
use tower::service_fn;

use super::*;
use crate::{
    effects::EventSink,
    metrics::Catalogue,
    runs::{Bounds, testing::Idle},
};

/// An API server whose pods stay terminating for ever once they are deleted, and what was asked of it.
#[derive(Default)]
pub(super) struct Server {
    pods: Mutex<BTreeMap<String, Value>>,
    posts: Mutex<Vec<u16>>,
    pool: Mutex<Value>,
    pub(super) deletes_fail: AtomicBool,
    /// How long each call takes that creates or deletes a pod, in milliseconds.
    pub(super) takes: AtomicU64,
}

pub(super) type Strip = fn(&mut Value);

fn failed(code: u16, reason: &str, pod: &str) -> (u16, Value) {
    let details = json!({ "kind": "pods", "name": pod });
    let message = format!("{reason} {pod}");
    (code, json!({ "kind": "Status", "code": code, "reason": reason, "message": message, "details": details }))
}

impl Server {
    pub(super) fn pods(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
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
                let known =
                    changes.as_array().unwrap().iter().find(|change| change["path"] == "/metadata/resourceVersion");
                if known.unwrap()["value"] != pool["metadata"]["resourceVersion"] {
                    return failed(409, "Conflict", &name);
                }
                let status = changes.as_array().unwrap().iter().find(|change| change["path"] == "/status");
                pool["status"] = status.unwrap()["value"].clone();
                let version: u64 = pool["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
                pool["metadata"]["resourceVersion"] = json!((version + 1).to_string());
                (200, pool.clone())
            }
            _ if path.contains("/warmpools/") => (200, self.pool.lock().unwrap().clone()),
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

pub(super) struct Cluster {
    pub(super) server: Arc<Server>,
    pub(super) strip: Arc<Mutex<Option<Strip>>>,
    now: Arc<AtomicI64>,
    catalogue: Catalogue,
    pools: WarmPools,
}

impl Cluster {
    pub(super) fn new(strip: Option<Strip>) -> Self {
        let (server, strip) = (Arc::<Server>::default(), Arc::new(Mutex::new(strip)));
        let api = service_fn({
            let (server, strip) = (Arc::clone(&server), Arc::clone(&strip));
            move |request: Request<Body>| {
                let (server, strip) = (Arc::clone(&server), *strip.lock().unwrap());
                async move {
                    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                    let body = request.into_body().collect_bytes().await.unwrap();
                    if matches!(method, Method::POST | Method::DELETE) {
                        let takes = Duration::from_millis(server.takes.load(Ordering::Relaxed));
                        tokio::time::sleep_until(tokio::time::Instant::now() + takes).await;
                    }
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
        let mut catalogue = Catalogue::default();
        let metrics = Metrics::new(&mut catalogue);
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
        Self { server, strip, now, catalogue, pools }
    }

    /// What the watches tell: a pod without the pool's label is in none.
    pub(super) fn watched(&self) {
        let mut tables = self.pools.context.watch.cache.write();
        let pool: WarmPool = object(&self.server.pool.lock().unwrap());
        tables.set_template(&Key::new("ns", "p"), Some(&pool));
        drop(tables.pools.apply(pool));
        for pod in self.server.pods().values().map(object::<Pod>).filter(|pod| pod.pool().is_some()) {
            drop(tables.pods.apply(Pod { first_seen: Some(self.pools.context.clock.now()), ..pod }));
        }
    }

    /// So much time passes.
    pub(super) fn pass(&self, time: Duration) {
        self.now.fetch_add(i64::try_from(time.as_secs()).unwrap(), Ordering::Relaxed);
    }

    pub(super) fn scale(&self, replicas: i64) {
        self.server.pool.lock().unwrap()["spec"]["replicas"] = json!(replicas);
    }

    /// Looks at the pool every three seconds, and whenever it asks to be looked at again at once.
    pub(super) async fn reconcile(&self, times: usize) {
        for _ in 0..times {
            for _ in 0..50 {
                let (next, _) = self.look().await;
                if next.ok().flatten().is_none_or(|next| next > self.pools.context.clock.now()) {
                    break;
                }
            }
            self.now.fetch_add(3, Ordering::Relaxed);
        }
    }

    /// Looks at the pool once; what came of it, and the status that is on record then.
    pub(super) async fn look(&self) -> (Next, Value) {
        self.watched();
        let next = self.pools.reconcile(&Key::new("ns", "p")).await;
        (next, self.status())
    }

    /// The status that is on record.
    pub(super) fn status(&self) -> Value {
        self.server.pool.lock().unwrap()["status"].clone()
    }

    /// The watch tells that the pool is gone.
    pub(super) fn pool_is_gone(&self) {
        let pool = Key::new("ns", "p");
        drop(self.pools.context.watch.cache.write().pools.delete(&pool));
        self.pools.context.metrics.forget_pool(&pool);
    }

    pub(super) fn metrics(&self) -> String {
        self.catalogue.text().unwrap()
    }

    pub(super) fn posts(&self) -> Vec<u16> {
        self.server.posts.lock().unwrap().clone()
    }

    pub(super) fn failing(&self) -> Value {
        let pool = self.server.pool.lock().unwrap();
        let conditions = pool["status"]["conditions"].as_array().unwrap();
        conditions.iter().find(|condition| condition["type"] == "PodsFailing").unwrap().clone()
    }
}
