//! One watch per kind for all who wait: list, then watch, resumed where it broke.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::StreamExt;
use kube::{
    Api, Resource, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, task::AbortHandle};

/// An object as the watch has it.
#[derive(Clone, Debug)]
pub(crate) enum Seen<K> {
    /// The watch has not told of it yet.
    Unknown,
    /// Its newest version.
    There(Arc<K>),
    /// It was there, and was deleted.
    Deleted,
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
    /// Of the objects that this selector takes.
    pub(crate) fn start(api: Api<K>, labels: &str) -> Self {
        let entries = Arc::new(Mutex::new(Entries::new()));
        let config = watcher::Config::default().labels(labels);
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
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                listed.push(object.name_any());
                there(&entries, object);
            }
            Ok(watcher::Event::InitDone) => {
                for (name, sender) in &*lock(&entries) {
                    if matches!(*sender.borrow(), Seen::There(_)) && !listed.contains(name) {
                        sender.send_replace(Seen::Deleted);
                    }
                }
                listed.clear();
            }
            Ok(watcher::Event::Apply(object)) => there(&entries, object),
            Ok(watcher::Event::Delete(object)) => {
                if let Some(sender) = lock(&entries).get(&object.name_any()) {
                    sender.send_replace(Seen::Deleted);
                }
            }
            Err(error) => tracing::debug!(%error, "the watch broke; it goes on where it was"),
        }
    }
}

fn there<K: Resource>(entries: &Mutex<Entries<K>>, object: K) {
    if let Some(sender) = lock(entries).get(&object.name_any()) {
        sender.send_replace(Seen::There(Arc::new(object)));
    }
}
