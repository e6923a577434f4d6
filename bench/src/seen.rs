//! Creating an object and seeing, by a watch, what becomes of it.

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use arl_crds::{Sandbox, SandboxPhase, Task, TaskState};
use futures::{StreamExt, pin_mut};
use kube::{
    Api, Resource, ResourceExt,
    api::PostParams,
    runtime::{WatchStreamExt, watcher},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use crate::stats::Sample;

/// The longest an operation may take: it only tells "slow" from "never".
pub const DEADLINE: Duration = Duration::from_mins(5);

type End = Result<Instant, String>;
type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<End>>>>;

/// A kind whose objects come to an end that can be seen.
pub trait Ends: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + 'static {
    /// None while it is on its way; Err says how it ended otherwise than wanted.
    fn end(&self) -> Option<Result<(), String>>;
}

impl Ends for Sandbox {
    fn end(&self) -> Option<Result<(), String>> {
        let status = self.status.as_ref()?;
        match status.phase? {
            SandboxPhase::Ready | SandboxPhase::Bound => Some(Ok(())),
            SandboxPhase::Pending => None,
            SandboxPhase::Released => Some(Err(format!("it was released: {:?}", status.conditions))),
        }
    }
}

impl Ends for Task {
    fn end(&self) -> Option<Result<(), String>> {
        let status = self.status.as_ref()?;
        match status.state? {
            TaskState::Succeeded => Some(Ok(())),
            TaskState::Pending | TaskState::Running => None,
            TaskState::Failed => Some(Err(format!("it failed: {:?}", status.conditions))),
        }
    }
}

/// The watch of a namespace's objects of a kind.
pub struct Seen<K> {
    api: Api<K>,
    waiting: Waiting,
    watch: JoinHandle<()>,
}

impl<K> Drop for Seen<K> {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl<K: Ends> Seen<K> {
    /// Starts to watch.
    pub fn watch(api: Api<K>) -> Self {
        let waiting = Waiting::default();
        let watch = tokio::spawn(follow(api.clone(), Arc::clone(&waiting)));
        Self { api, waiting, watch }
    }

    /// Creates an object and waits until the watch shows its end.
    pub async fn create(&self, object: &K) -> Result<Sample> {
        let name = object.name_any();
        let what = || format!("{} {name}", K::kind(&()));
        let (sender, end) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), sender);
        let sent = Instant::now();
        self.api.create(&PostParams::default(), object).await.with_context(|| format!("{} was not created", what()))?;
        let end = timeout(DEADLINE, end)
            .await
            .map_err(|_| anyhow!("{} did not end within {DEADLINE:?}; see the operator's log", what()))?
            .with_context(|| format!("the watch for {} ended", what()))?;
        let seen = end.map_err(|how| anyhow!("{}: {how}; see the operator's log", what()))?;
        Ok(Sample { sent, seen })
    }
}

async fn follow<K: Ends>(api: Api<K>, waiting: Waiting) {
    let events = watcher(api, watcher::Config::default()).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        let arrived = Instant::now();
        match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                let Some(end) = object.end() else { continue };
                let waiter = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&object.name_any());
                if let Some(waiter) = waiter {
                    // Whoever gave up waiting has said so.
                    let _gone = waiter.send(end.map(|()| arrived));
                }
            }
            Ok(_) => {}
            Err(error) => eprintln!("the watch of {} starts again: {error}", K::plural(&())),
        }
    }
}
