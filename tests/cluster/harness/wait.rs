//! Waiting for what is expected, by watching: a test goes on the moment it holds, and fails at a generous deadline.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use arl_crds::{Sandbox, SandboxPhase, Task, TaskState, WarmPool, labels};
use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::World;

/// Nothing in these tests is about absolute speed: a deadline only tells "slow" from "never".
pub const DEADLINE: Duration = Duration::from_mins(10);

/// A kind whose objects live in a namespace and can be watched.
pub trait Kind:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static
{
}

impl<K> Kind for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static
{
}

impl World {
    /// Waits until the objects of a kind, sorted by name, are as wanted.
    pub async fn all<K: Kind>(&self, what: &str, holds: impl FnMut(&[K]) -> bool) -> Vec<K> {
        self.watch(what, watcher::Config::default(), holds).await
    }

    /// Waits until one object exists and is as wanted.
    pub async fn one<K: Kind>(&self, name: &str, what: &str, mut holds: impl FnMut(&K) -> bool) -> K {
        let what = format!("{} {name}: {what}", K::kind(&()));
        let found = self.watch(&what, named(name), |all: &[K]| all.first().is_some_and(&mut holds)).await;
        found.into_iter().next().unwrap()
    }

    /// Waits until no object of this name exists.
    pub async fn gone<K: Kind>(&self, name: &str) {
        let what = format!("{} {name}: gone", K::kind(&()));
        self.watch(&what, named(name), |all: &[K]| all.is_empty()).await;
    }

    /// Waits until the pool has this many ready idle pods and nothing is left to do. A status that is as wanted may be that of
    /// before a claim: the pods are asked first.
    pub async fn pool_is_ready(&self, name: &str, replicas: i32) -> WarmPool {
        let of_pool = |pod: &Pod| pod.labels().get(labels::WARMPOOL).is_some_and(|pool| pool == name);
        self.pods(&format!("{replicas} ready idle pods of {name}"), |pods| {
            let ready = pods.iter().filter(|pod| of_pool(pod) && is_idle(pod) && is_ready(pod)).count();
            i32::try_from(ready).is_ok_and(|ready| ready >= replicas)
        })
        .await;
        self.one(name, &format!("{replicas} ready idle pods"), |pool: &WarmPool| {
            pool.status.as_ref().is_some_and(|s| s.ready == replicas && s.replicas == replicas)
        })
        .await
    }

    /// Waits for a phase of a Sandbox.
    pub async fn phase(&self, name: &str, phase: SandboxPhase) -> Sandbox {
        self.one(name, &format!("{phase:?}"), |s: &Sandbox| s.status.as_ref().is_some_and(|s| s.phase == Some(phase)))
            .await
    }

    /// Waits for a reason on a Sandbox's Ready condition.
    pub async fn sandbox_reason(&self, name: &str, reason: &str) -> Sandbox {
        self.one(name, reason, |s: &Sandbox| {
            s.status.iter().flat_map(|s| &s.conditions).any(|c| c.type_ == "Ready" && c.reason == reason)
        })
        .await
    }

    /// Waits until the Task runs.
    pub async fn running(&self, name: &str) -> Task {
        self.one(name, "Running", |t: &Task| state(t) == Some(TaskState::Running)).await
    }

    /// Waits until the Task is over, well or not.
    pub async fn finished(&self, name: &str) -> Task {
        self.one(name, "finished", |t: &Task| state(t).is_some_and(TaskState::is_finished)).await
    }

    /// Waits until all of these Tasks are over.
    pub async fn all_finished(&self, count: usize) -> Vec<Task> {
        self.all(&format!("{count} finished Tasks"), |tasks: &[Task]| {
            tasks.iter().filter(|t| state(t).is_some_and(TaskState::is_finished)).count() == count
        })
        .await
    }

    /// The pods of the namespace that are not being deleted, once they are as wanted.
    pub async fn pods(&self, what: &str, mut holds: impl FnMut(&[Pod]) -> bool) -> Vec<Pod> {
        let mut seen = Vec::new();
        self.all(what, |pods: &[Pod]| {
            seen = pods.iter().filter(|p| p.metadata.deletion_timestamp.is_none()).cloned().collect();
            holds(&seen)
        })
        .await;
        seen
    }

    async fn watch<K: Kind>(&self, what: &str, config: watcher::Config, mut holds: impl FnMut(&[K]) -> bool) -> Vec<K> {
        let mut seen: Vec<K> = Vec::new();
        let waiting = async {
            let mut by_name = BTreeMap::new();
            let mut complete = false;
            let mut events = pin!(watcher(self.api::<K>(), config).default_backoff());
            while let Some(event) = events.next().await {
                match event {
                    Ok(watcher::Event::Init) => {
                        by_name.clear();
                        complete = false;
                    }
                    Ok(watcher::Event::InitDone) => complete = true,
                    Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                        by_name.insert(object.name_any(), object);
                    }
                    Ok(watcher::Event::Delete(object)) => {
                        by_name.remove(&object.name_any());
                    }
                    // The watch starts again by itself; the deadline bounds it.
                    Err(_) => {}
                }
                seen = by_name.values().cloned().collect();
                if complete && holds(&seen) {
                    return;
                }
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, waiting).await;
        assert!(in_time.is_ok(), "not within {DEADLINE:?}: {what}");
        seen
    }
}

fn named(name: &str) -> watcher::Config {
    watcher::Config::default().fields(&format!("metadata.name={name}"))
}

/// The state of a Task, if it has one yet.
pub fn state(task: &Task) -> Option<TaskState> {
    task.status.as_ref()?.state
}

/// Whether no Sandbox holds the pod.
pub fn is_idle(pod: &Pod) -> bool {
    pod.labels().get(labels::POD_STATE).is_some_and(|s| s == "ready")
}

/// Whether the pod's Ready condition is True.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}
