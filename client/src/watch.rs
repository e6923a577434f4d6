//! One watch per kind for all who wait: list, then watch, resumed where it broke.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::StreamExt;
use kube::{
    Api, Resource, ResourceExt,
    core::Status,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, task::AbortHandle};

use crate::error::Error;

/// An object as the watch has it.
#[derive(Clone, Debug)]
pub(crate) enum Seen<K> {
    /// The watch has not told of it yet.
    Unknown,
    /// Its newest version.
    There(Arc<K>),
    /// It was there, and was deleted.
    Deleted(Arc<K>),
    /// The caller may not watch objects of this kind.
    Refused(Box<Status>),
}

type Entries<K> = BTreeMap<String, watch::Sender<Seen<K>>>;

/// The objects of one kind that somebody waits for.
#[derive(Debug)]
pub(crate) struct Watch<K> {
    entries: Arc<Mutex<Entries<K>>>,
    work: AbortHandle,
}

fn lock<K>(entries: &Mutex<Entries<K>>) -> MutexGuard<'_, Entries<K>> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K> Watch<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// Of the objects that this selects.
    pub(crate) fn start(api: Api<K>, config: watcher::Config) -> Self {
        let entries = Arc::new(Mutex::new(Entries::new()));
        let work = tokio::spawn(follow(api, config, Arc::clone(&entries))).abort_handle();
        Self { entries, work }
    }

    /// The versions of an object from now on. To be asked for before the object is created: then none is missed.
    pub(crate) fn object(&self, name: &str) -> watch::Receiver<Seen<K>> {
        let mut entries = lock(&self.entries);
        entries.retain(|_, sender| sender.receiver_count() > 0);
        entries.entry(name.to_owned()).or_insert_with(|| watch::Sender::new(Seen::Unknown)).subscribe()
    }
}

/// Looks at an object now and at each version that comes, until `take` has what it looks for; `None` where the watch ended before.
pub(crate) async fn first<K, T>(
    mut seen: watch::Receiver<Seen<K>>,
    mut take: impl FnMut(&Seen<K>) -> Option<T>,
) -> Option<T> {
    loop {
        let taken = take(&seen.borrow_and_update());
        if taken.is_some() {
            return taken;
        }
        seen.changed().await.ok()?;
    }
}

impl<K> Drop for Watch<K> {
    fn drop(&mut self) {
        self.work.abort();
    }
}

async fn follow<K>(api: Api<K>, config: watcher::Config, entries: Arc<Mutex<Entries<K>>>)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut events = watcher(api, config).default_backoff().boxed();
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                listed.insert(object.name_any());
                there(&entries, object);
            }
            Ok(watcher::Event::InitDone) => {
                for (name, sender) in &*lock(&entries) {
                    let gone = match &*sender.borrow() {
                        Seen::There(object) if !listed.contains(name) => Arc::clone(object),
                        _ => continue,
                    };
                    sender.send_replace(Seen::Deleted(gone));
                }
                listed.clear();
            }
            Ok(watcher::Event::Apply(object)) => there(&entries, object),
            Ok(watcher::Event::Delete(object)) => {
                if let Some(sender) = lock(&entries).get(&object.name_any()) {
                    sender.send_replace(Seen::Deleted(Arc::new(object)));
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the watch broke; it goes on where it was");
                if let Some(status) = refusal(error) {
                    for sender in lock(&entries).values() {
                        sender.send_replace(Seen::Refused(status.clone()));
                    }
                }
            }
        }
    }
}

/// What the API server says to a caller who lacks the right to list or watch.
fn refusal(error: watcher::Error) -> Option<Box<Status>> {
    watch_answer(error).filter(|status| matches!(status.code, 401 | 403))
}

/// What the API server answered where a watch fails by its answer, and not for want of one.
pub fn watch_answer(error: watcher::Error) -> Option<Box<Status>> {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    let (InitialListFailed(kube::Error::Api(status))
    | WatchStartFailed(kube::Error::Api(status))
    | WatchFailed(kube::Error::Api(status))
    | WatchError(status)) = error
    else {
        return None;
    };
    Some(status)
}

/// The error of one who waits for something that the caller may not watch.
pub(crate) fn refused(objects: &str, status: &Status) -> Error {
    Error::api("watch", objects)(kube::Error::Api(Box::new(status.clone())))
}

fn there<K: Resource>(entries: &Mutex<Entries<K>>, object: K) {
    if let Some(sender) = lock(entries).get(&object.name_any()) {
        sender.send_replace(Seen::There(Arc::new(object)));
    }
}
