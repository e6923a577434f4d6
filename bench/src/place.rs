//! A namespace in which things are measured, and whoever serves it.

use std::{
    fmt::Debug,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use arl_crds::{Sandbox, Task, WarmPool};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Pod};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams},
    runtime::{WatchStreamExt, reflector, watcher},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    cluster::{ACCOUNT, container, from},
    floor::{STARTS, TOGETHER},
    seen::{DEADLINE, Seen},
    stats::{Block, Sample},
};

const DELETIONS_AT_ONCE: usize = 16;

/// A namespace, its watches and its names.
pub struct Place {
    /// Its name.
    pub ns: String,
    client: Client,
    sandboxes: Seen<Sandbox>,
    tasks: Seen<Task>,
    names: AtomicUsize,
}

impl Place {
    /// The namespace `ns`, watched with the rights of `client`.
    pub fn new(client: Client, ns: String) -> Self {
        Self {
            sandboxes: Seen::watch(Api::namespaced(client.clone(), &ns)),
            tasks: Seen::watch(Api::namespaced(client.clone(), &ns)),
            client,
            ns,
            names: AtomicUsize::new(0),
        }
    }

    /// The client library's way to it.
    pub fn client(&self) -> arl_client::Client {
        arl_client::Client::new(self.client.clone(), &self.ns)
    }

    /// The objects of a kind in it.
    pub fn api<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.ns)
    }

    /// Who serves it, as the audit log has it.
    pub fn server(&self) -> String {
        format!("system:serviceaccount:{}:{ACCOUNT}", self.ns)
    }

    /// A name that nothing had before.
    pub fn name(&self, prefix: &str) -> String {
        format!("{prefix}-{:05}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// Creates a Sandbox and sees it become Ready.
    pub async fn claim(&self, name: &str, pool: &str) -> Result<Sample> {
        self.labelled_claim(name, pool, &json!({})).await
    }

    /// The same, where the floor starts a pod too.
    pub async fn claim_and_start(&self, name: &str, pool: &str) -> Result<Sample> {
        self.labelled_claim(name, pool, &json!({STARTS: "true"})).await
    }

    async fn labelled_claim(&self, name: &str, pool: &str, labels: &Value) -> Result<Sample> {
        let metadata = json!({"name": name, "labels": labels});
        let sandbox = json!({"metadata": metadata, "spec": {"poolRef": pool, "keepAlive": true}});
        self.sandboxes.create(&from(sandbox)?).await
    }

    /// Creates a Task of one trivial command and sees it succeed.
    pub async fn task(&self, sandbox: &str) -> Result<Sample> {
        self.labelled_task(sandbox, &json!({})).await
    }

    async fn labelled_task(&self, sandbox: &str, labels: &Value) -> Result<Sample> {
        let step = json!({"name": "run", "type": "Command", "command": ["true"]});
        // Waiting for its turn is free; the timeout is that of the run.
        let spec = json!({"sandboxRef": sandbox, "timeout": "60s", "steps": [step]});
        let metadata = json!({"name": self.name("task"), "labels": labels});
        self.tasks.create(&from(json!({"metadata": metadata, "spec": spec}))?).await
    }

    /// Creates a Sandbox and a Task for it at the same time, and sees both come to their end.
    pub async fn together(&self, sandbox: &str, pool: &str) -> Result<Sample> {
        let labels = json!({TOGETHER: "true"});
        let (claim, task) = tokio::try_join!(self.claim(sandbox, pool), self.labelled_task(sandbox, &labels))?;
        Ok(Sample { sent: claim.sent.min(task.sent), seen: claim.seen.max(task.seen) })
    }

    /// Waits until there are exactly so many Sandboxes, and all of them say that there is no pod for them.
    pub async fn has_waiting(&self, count: usize) -> Result<()> {
        let hint = "see the operator's log";
        self.has(count, "Sandboxes wait for a pod", hint, |sandbox: &Sandbox| {
            let conditions = sandbox.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| condition.reason == "PoolEmpty")
        })
        .await
    }

    /// Deletes all Tasks.
    pub async fn delete_tasks(&self) -> Result<()> {
        self.api::<Task>().delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        Ok(())
    }

    /// Deletes Sandboxes.
    pub async fn delete_sandboxes(&self, names: &[String]) -> Result<()> {
        let api = self.api::<Sandbox>();
        let deletions = names.iter().map(|name| {
            let api = api.clone();
            async move { api.delete(name, &DeleteParams::default()).await.map(drop) }
        });
        stream::iter(deletions).buffer_unordered(DELETIONS_AT_ONCE).try_collect::<()>().await?;
        Ok(())
    }

    /// Waits until there are exactly so many pods, those being deleted included, and all of them Ready.
    pub async fn has_pods(&self, count: usize) -> Result<()> {
        let hint = format!("see `kubectl get pods,wp -n {}`, or choose fewer with --burst-max and --parallel", self.ns);
        self.has(count, "pods are Ready", &hint, is_ready).await
    }

    /// Waits until there are exactly so many pools, and all say that they are full: nothing is left to be written then.
    pub async fn has_full_pools(&self, pools: usize) -> Result<()> {
        let is_full = |pool: &WarmPool| pool.status.as_ref().is_some_and(|s| s.ready == pool.spec.replicas);
        self.has(pools, "pools say that they are full", "see the operator's log", is_full).await
    }

    /// Waits until there are exactly so many pods, whatever their state.
    pub async fn has_only(&self, count: usize) -> Result<()> {
        self.has(count, "pods are left", "see the log of kwok", |_: &Pod| true).await
    }

    async fn has<K>(&self, count: usize, what: &str, hint: &str, is_as_wanted: impl Fn(&K) -> bool) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let (store, writer) = reflector::store::<K>();
        let changes = watcher(self.api::<K>(), watcher::Config::default());
        let mut changes = Box::pin(changes.default_backoff().reflect(writer));
        let as_wanted = || store.state().iter().filter(|object| is_as_wanted(object)).count();
        let all_are = async {
            let mut complete = false;
            while let Some(change) = changes.next().await {
                // Until the first list is in, the store is empty.
                complete |= matches!(change, Ok(watcher::Event::InitDone));
                if complete && store.len() == count && as_wanted() == count {
                    return;
                }
            }
        };
        let limit = DEADLINE + Duration::from_secs(2) * u32::try_from(count).unwrap_or_default();
        timeout(limit, all_are)
            .await
            .with_context(|| format!("{} of {count} {what} after {limit:?}; {hint}", as_wanted()))
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    pod.meta().deletion_timestamp.is_none() && conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Clients of which each does one thing after the other for so long.
pub async fn window<F, W>(clients: impl IntoIterator<Item = F>, length: Duration) -> Result<Block>
where
    F: Fn() -> W + Send + 'static,
    W: Future<Output = Result<Sample>> + Send,
{
    let deadline = Instant::now() + length;
    let mut working = JoinSet::new();
    for client in clients {
        working.spawn(async move {
            let mut samples = Vec::new();
            while Instant::now() < deadline {
                samples.push(client().await?);
            }
            Ok(samples)
        });
    }
    Ok(Block::window(all(working).await?, length, deadline))
}

/// Waits for all of them; the first failure is that of all.
pub async fn all(mut work: JoinSet<Result<Vec<Sample>>>) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    while let Some(done) = work.join_next().await {
        samples.extend(done.context("a client of the benchmark panicked")??);
    }
    Ok(samples)
}

/// A pool of so many small pods, whose steps are run as `executor` says.
pub fn pool(name: &str, executor: &Value, replicas: usize) -> Value {
    let mut spec = json!({"replicas": replicas, "template": {"spec": {"containers": [container()]}}});
    if !executor.is_null() {
        spec["executor"] = executor.clone();
    }
    json!({"apiVersion": "arl.infra.io/v1alpha1", "kind": "WarmPool", "metadata": {"name": name}, "spec": spec})
}
