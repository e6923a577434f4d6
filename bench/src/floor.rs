//! The floor: who serves Sandboxes and Tasks with the writes they cannot do without, and does nothing else. A claim is one
//! patch of a pod and one status; a Task is one status. Its pods never run, since no scheduler minds them, but for those that it is
//! asked to start.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};
use arl_crds::{Sandbox, Task, labels};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use tokio::{
    sync::{Mutex, Semaphore},
    task::JoinSet,
};

use crate::{
    cluster::{container, from},
    fake,
    seen::Ends,
};

/// The label of a Task that is created together with its Sandbox: its command cannot run before the pod is taken.
pub const TOGETHER: &str = "arl.infra.io/with-sandbox";
/// The label of a Sandbox for which a pod is started, as in place of the one that it was given; its own, so that it goes with it.
pub const STARTS: &str = "arl.infra.io/starts-a-pod";
/// As many as the operator looks after at the same time by default.
const AT_ONCE: usize = 16;
/// More than are patched at the same time, so that no patch waits for another of the same pod.
pub const PODS: usize = 2 * AT_ONCE;

/// What serves a namespace.
#[derive(Clone)]
pub struct Floor {
    client: Client,
    ns: String,
    pods: Arc<Vec<Pod>>,
    next_pod: Arc<AtomicUsize>,
    at_once: Arc<Semaphore>,
    taken: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
    turns: Arc<Mutex<HashMap<String, Arc<Mutex<()>>>>>,
}

impl Floor {
    /// With `client`, in a namespace that nobody else serves.
    pub async fn new(client: Client, ns: &str) -> Result<Self> {
        let api: Api<Pod> = Api::namespaced(client.clone(), ns);
        let mut pods = Vec::new();
        for number in 0..PODS {
            let pod = from(json!({
                "metadata": {
                    "name": format!("floor-{number}"),
                    "labels": {labels::WARMPOOL: "floor", labels::POD_STATE: "ready"},
                    "annotations": {"arl.infra.io/floor": "no scheduler minds this pod"},
                },
                "spec": {
                    "schedulerName": "none",
                    "containers": [container()],
                },
            }))?;
            pods.push(api.create(&PostParams::default(), &pod).await.context("a pod of the floor is refused")?);
        }
        Ok(Self {
            client,
            ns: ns.to_owned(),
            pods: Arc::new(pods),
            next_pod: Arc::default(),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            taken: Arc::default(),
            turns: Arc::default(),
        })
    }

    /// Serves until something fails.
    pub async fn serve(self) -> Result<Infallible> {
        let sandboxes = self.clone();
        let tasks = self.clone();
        tokio::select! {
            failed = self.each(move |sandbox| sandboxes.clone().claim(sandbox)) => failed,
            failed = self.each(move |task| tasks.clone().run(task)) => failed,
        }
    }

    async fn each<K, F>(&self, serve: impl Fn(K) -> F) -> Result<Infallible>
    where
        K: Ends + Resource<Scope = kube::core::NamespaceResourceScope>,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.ns);
        let events = watcher(api, watcher::Config::default()).default_backoff();
        pin_mut!(events);
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                event = events.next() => match event.context("a watch of the floor ended")? {
                    Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) if object.end().is_none() => {
                        under_way.spawn(serve(object));
                    }
                    Ok(_) => {}
                    Err(error) => eprintln!("a watch of the floor starts again: {error}"),
                },
                Some(served) = under_way.join_next() => served.context("the floor panicked")??,
            }
        }
    }

    async fn claim(self, sandbox: Sandbox) -> Result<()> {
        let _permit = self.at_once.acquire().await?;
        let name = sandbox.name_any();
        let pod = &self.pods[self.next_pod.fetch_add(1, Ordering::Relaxed) % self.pods.len()];
        let at = |kind: &str, key: &str| format!("/metadata/{kind}/{}", key.replace('/', "~1"));
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.ns);
        let claim = json!([
            {"op": "test", "path": "/metadata/uid", "value": pod.metadata.uid},
            {"op": "replace", "path": at("labels", labels::POD_STATE), "value": "allocated"},
            {"op": "add", "path": at("labels", labels::SANDBOX), "value": name},
            {"op": "add", "path": at("annotations", labels::SAFE_TO_EVICT), "value": "false"},
            {"op": "add", "path": at("annotations", labels::DO_NOT_DISRUPT), "value": "true"},
        ]);
        let claim = Patch::Json::<()>(from(claim)?);
        pods.patch(&pod.name_any(), &PatchParams::default(), &claim).await.context("a patch of the floor failed")?;
        self.taken(&name).await.add_permits(1);
        let created = &sandbox.metadata.creation_timestamp;
        let status = json!({
            "phase": "Ready",
            "podName": pod.name_any(),
            "podUID": pod.metadata.uid,
            "allocatedAt": created,
            "idleSince": created,
            "restartsBefore": 0,
            "observedGeneration": sandbox.metadata.generation,
            "conditions": [condition("Ready", "PodReady", "the pod is allocated and its container runs", created)?],
        });
        self.write_status(&sandbox, &status).await?;
        if sandbox.labels().contains_key(STARTS) {
            self.start_pod(&sandbox).await?;
        }
        Ok(())
    }

    async fn start_pod(&self, sandbox: &Sandbox) -> Result<()> {
        let mut spec = json!({"containers": [container()]});
        fake::place(&mut spec);
        let name = format!("floor-of-{}", sandbox.name_any());
        let metadata = json!({"name": name, "ownerReferences": [sandbox.controller_owner_ref(&())]});
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.ns);
        let pod = from(json!({"metadata": metadata, "spec": spec}))?;
        pods.create(&PostParams::default(), &pod).await.with_context(|| format!("the floor could not start {name}"))?;
        Ok(())
    }

    /// Has a permit once the Sandbox of this name has a pod.
    async fn taken(&self, sandbox: &str) -> Arc<Semaphore> {
        let mut taken = self.taken.lock().await;
        Arc::clone(taken.entry(sandbox.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(0))))
    }

    async fn run(self, task: Task) -> Result<()> {
        if task.labels().contains_key(TOGETHER) {
            self.taken(&task.spec.sandbox_ref).await.acquire().await?.forget();
        }
        // One Task at a time in a Sandbox, as the operator has it.
        let turn = Arc::clone(self.turns.lock().await.entry(task.spec.sandbox_ref.clone()).or_default());
        let _turn = turn.lock().await;
        let _permit = self.at_once.acquire().await?;
        let created = &task.metadata.creation_timestamp;
        let step = task.spec.steps.first().map(|step| &step.name);
        let status = json!({
            "state": "Succeeded",
            "exitCode": 0,
            "stdout": "",
            "stderr": "",
            "startedAt": created,
            "completedAt": created,
            "duration": "0ms",
            "step": step,
            "sandboxUID": task.metadata.uid,
            "observedGeneration": task.metadata.generation,
            "steps": [{"name": step, "state": "Succeeded", "exitCode": 0, "stdout": "", "stderr": "",
                "startedAt": created, "completedAt": created}],
            "conditions": [
                condition("Finished", "Succeeded", "all steps succeeded", created)?,
                condition("Succeeded", "Succeeded", "all steps succeeded", created)?,
            ],
        });
        self.write_status(&task, &status).await
    }

    async fn write_status<K>(&self, object: &K, status: &Value) -> Result<()>
    where
        K: Ends + Resource<Scope = kube::core::NamespaceResourceScope>,
    {
        let patch = json!([
            {"op": "replace", "path": "/metadata/resourceVersion", "value": object.resource_version()},
            {"op": "add", "path": "/status", "value": status},
        ]);
        let patch = Patch::Json::<()>(from(patch)?);
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.ns);
        api.patch_status(&object.name_any(), &PatchParams::default(), &patch).await.with_context(|| {
            format!("the floor could not write the status of {} {}", K::kind(&()), object.name_any())
        })?;
        Ok(())
    }
}

fn condition(kind: &str, reason: &str, message: &str, since: &impl serde::Serialize) -> Result<Value> {
    let since = serde_json::to_value(since)?;
    Ok(json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": since}))
}
