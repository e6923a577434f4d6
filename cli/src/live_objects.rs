//! The pools, Sandboxes and Tasks of a namespace, kept as they change by one watch a kind.

use std::{fmt::Debug, hash::Hash, sync::Arc};

use arl_crds::{Sandbox, SandboxPhase, Task, WarmPool};
use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Resource,
    api::ListParams,
    runtime::{
        WatchStreamExt,
        reflector::{self, Lookup, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, task::AbortHandle};

use crate::{
    connect::Connection,
    failure::Failure,
    listing::{self, without_outputs},
    screen::Objects,
};

/// They end with this.
#[derive(Debug)]
pub struct LiveObjects {
    pools: Store<WarmPool>,
    sandboxes: Store<Sandbox>,
    tasks: Store<Task>,
    changes: watch::Receiver<()>,
    watches: [AbortHandle; 3],
}

impl LiveObjects {
    /// All that are there now, and each change from now on.
    pub async fn watch(connection: &Connection) -> Result<Self, Failure> {
        let (sender, changes) = watch::channel(());
        let sender = Arc::new(sender);
        let (pools, of_pools) = follow(connection, &sender, |_: &mut WarmPool| ()).await?;
        let (sandboxes, of_sandboxes) = follow(connection, &sender, |_: &mut Sandbox| ()).await?;
        let (tasks, of_tasks) = follow(connection, &sender, without_outputs).await?;
        let gone = |_| Failure::ours("the watch has ended");
        pools.wait_until_ready().await.map_err(gone)?;
        sandboxes.wait_until_ready().await.map_err(gone)?;
        tasks.wait_until_ready().await.map_err(gone)?;
        Ok(Self { pools, sandboxes, tasks, changes, watches: [of_pools, of_sandboxes, of_tasks] })
    }

    /// Told of each change, several at once where they come fast.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.clone()
    }

    /// They as they are now, by name.
    pub fn now(&self) -> Objects {
        let sandboxes = sorted(&self.sandboxes);
        let is_pending = |sandbox: &&Sandbox| {
            let phase = sandbox.status.as_ref().and_then(|status| status.phase);
            phase.is_none_or(|phase| phase == SandboxPhase::Pending)
        };
        let waiting = sandboxes.iter().filter(is_pending).cloned().collect();
        Objects {
            pools: Some(sorted(&self.pools)),
            sandboxes: Some(sandboxes),
            tasks: Some(sorted(&self.tasks)),
            waiting,
        }
    }
}

impl Drop for LiveObjects {
    fn drop(&mut self) {
        self.watches.iter().for_each(AbortHandle::abort);
    }
}

fn sorted<K>(store: &Store<K>) -> Vec<K>
where
    K: Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone + 'static,
{
    let mut objects: Vec<K> = store.state().iter().map(|object| K::clone(object)).collect();
    objects.sort_by(|a, b| a.meta().name.cmp(&b.meta().name));
    objects
}

async fn follow<K>(
    connection: &Connection,
    sender: &Arc<watch::Sender<()>>,
    strip: impl FnMut(&mut K) + Send + 'static,
) -> Result<(Store<K>, AbortHandle), Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Lookup<DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
    <K as Lookup>::DynamicType: Hash + Eq + Clone,
{
    let api = connection.api::<K>();
    listing::allowed(&api, &ListParams::default()).await?;
    let (store, writer) = reflector::store();
    let sender = Arc::clone(sender);
    let events = watcher(api, watcher::Config::default()).modify(strip);
    let watching = async move {
        let mut events = std::pin::pin!(reflector::reflector(writer, events.default_backoff()));
        while let Some(event) = events.next().await {
            if event.is_ok() {
                sender.send_replace(());
            }
        }
    };
    Ok((store, tokio::spawn(watching).abort_handle()))
}
