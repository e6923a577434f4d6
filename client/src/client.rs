//! The way to a namespace of a cluster.

use std::sync::{Arc, OnceLock};

use arl_crds::{Sandbox as SandboxObject, Task as TaskObject, WarmPool, labels};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Config, Resource,
    api::{DeleteParams, ListParams},
    runtime::watcher,
};

use tokio_util::task::TaskTracker;

use crate::{
    connection::connect,
    deletion,
    error::Error,
    guarded::Guarded,
    notices::Notices,
    object_name::{check_name, check_run_id},
    watch::Watch,
};

/// The value of `app.kubernetes.io/managed-by` on all that a client creates.
pub const MANAGER: &str = "arl-client";
pub use arl_crds::labels::RUN_ID;

/// A client for one namespace. Clones share its watches.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) kube: Kube,
    pub(crate) namespace: String,
    pub(crate) run_id: String,
    pub(crate) notices: Notices,
    sandboxes: OnceLock<Watch<SandboxObject>>,
    tasks: OnceLock<Watch<TaskObject>>,
    pools: OnceLock<Watch<WarmPool>>,
    /// Of what was created for calls that were given up.
    pub(crate) deletions: TaskTracker,
}

/// kube's client says nothing of itself.
pub(crate) struct Kube(pub(crate) kube::Client);

impl std::fmt::Debug for Kube {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("kube::Client")
    }
}

impl Client {
    /// By the kubeconfig of the environment, or in a pod by its ServiceAccount; in the namespace that this names.
    pub async fn from_environment() -> Result<Self, Error> {
        let config = Config::infer().await.map_err(|error| Error::Config(error.to_string()))?;
        let namespace = config.default_namespace.clone();
        let client = connect(config).map_err(|error| Error::Config(error.to_string()))?;
        Ok(Self::new(client, namespace))
    }

    /// Through a client of kube's, such as [`connect`](crate::connect) makes, in this namespace. What it creates carries a new run id.
    pub fn new(client: kube::Client, namespace: impl Into<String>) -> Self {
        let run_id = format!("{:016x}", fastrand::u64(..));
        Self::with_run(client, namespace.into(), run_id)
    }

    /// The same as part of a run that began before.
    ///
    /// # Errors
    /// [`Error::Usage`] where the id cannot be the value of a label.
    pub fn in_run(
        client: kube::Client,
        namespace: impl Into<String>,
        run_id: impl Into<String>,
    ) -> Result<Self, Error> {
        let run_id = run_id.into();
        check_run_id(&run_id)?;
        Ok(Self::with_run(client, namespace.into(), run_id))
    }

    fn with_run(client: kube::Client, namespace: String, run_id: String) -> Self {
        let (sandboxes, tasks, pools) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let deletions = TaskTracker::new();
        // It can be waited for at any time.
        deletions.close();
        let inner = Inner {
            kube: Kube(client),
            namespace,
            run_id,
            notices: Notices::default(),
            sandboxes,
            tasks,
            pools,
            deletions,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The run that everything belongs to that this client creates: the value of the label [`RUN_ID`].
    pub fn run_id(&self) -> &str {
        &self.inner.run_id
    }

    /// The same as [`Sandbox::release`](crate::Sandbox::release) for who has not kept more of it than this.
    pub async fn release(&self, name: &str, uid: Option<&str>) -> Result<(), Error> {
        check_name("Sandbox", name)?;
        let deleted = deletion::delete(&self.sandboxes(), name, uid.map(Into::into)).await;
        deleted.map_err(Error::api("delete", format!("Sandbox {name}")))
    }

    /// Deletes the Sandboxes, Tasks and pools that a run left; returns how many Sandboxes there were.
    ///
    /// # Errors
    /// [`Error::Usage`] where no run can have this id, before anything is asked for.
    pub async fn reap(&self, run_id: &str) -> Result<usize, Error> {
        check_run_id(run_id)?;
        let selector = ListParams::default().labels(&format!("{RUN_ID}={run_id}"));
        let what = format!("what run {run_id} left");
        let tasks = self.tasks().delete_collection(&DeleteParams::default(), &selector).await;
        tasks.map_err(Error::api("delete", what.as_str()))?;
        let names = self.sandboxes().list_metadata(&selector).await.map_err(Error::api("list", what.as_str()))?;
        for metadata in names.items.iter().map(|object| &object.metadata) {
            let name = metadata.name.as_deref().unwrap_or_default();
            self.release(name, metadata.uid.as_deref()).await?;
        }
        self.reap_pools(&selector).await?;
        Ok(names.items.len())
    }

    async fn reap_pools(&self, selector: &ListParams) -> Result<(), Error> {
        let pools = match self.pools().list_metadata(selector).await {
            Ok(pools) => pools,
            // Who may not see pools has made none.
            Err(kube::Error::Api(status)) if status.code == 403 => return Ok(()),
            Err(error) => return Err(Error::api("list", "the pools of a run")(error)),
        };
        for metadata in pools.items.into_iter().map(|object| object.metadata) {
            self.delete_pool_of(&metadata.name.unwrap_or_default(), metadata.uid).await?;
        }
        Ok(())
    }

    pub(crate) fn sandboxes(&self) -> Api<SandboxObject> {
        Api::namespaced(self.inner.kube.0.clone(), &self.inner.namespace)
    }

    pub(crate) fn tasks(&self) -> Api<TaskObject> {
        Api::namespaced(self.inner.kube.0.clone(), &self.inner.namespace)
    }

    pub(crate) fn pools(&self) -> Api<WarmPool> {
        Api::namespaced(self.inner.kube.0.clone(), &self.inner.namespace)
    }

    pub(crate) fn guarded<K>(&self) -> Api<Guarded<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.inner.kube.0.clone(), &self.inner.namespace)
    }

    /// Begins once a claim waits for a pool that is empty.
    pub(crate) fn watched_pools(&self) -> &Watch<WarmPool> {
        self.inner.pools.get_or_init(|| Watch::start(self.guarded(), watcher::Config::default()))
    }

    pub(crate) fn watched_sandboxes(&self) -> &Watch<SandboxObject> {
        self.inner.sandboxes.get_or_init(|| Watch::start(self.guarded(), self.selector()))
    }

    pub(crate) fn watched_tasks(&self) -> &Watch<TaskObject> {
        self.inner.tasks.get_or_init(|| Watch::start(self.guarded(), self.selector()))
    }

    fn selector(&self) -> watcher::Config {
        watcher::Config::default().labels(&format!("{RUN_ID}={}", self.inner.run_id))
    }

    /// The labels of all that is created.
    pub(crate) fn labels(&self) -> [(String, String); 2] {
        [(RUN_ID, self.inner.run_id.as_str()), (labels::MANAGED_BY, MANAGER)].map(|(k, v)| (k.to_owned(), v.to_owned()))
    }
}
