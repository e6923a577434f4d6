//! One watch per kind for all who wait: list, then watch, resumed where it broke.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use kube::{
    Api, Resource, ResourceExt,
    core::Status,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, task::AbortHandle, time::Instant};

use crate::{error::Error, guarded::Guarded};

/// An object as the watch has it.
#[derive(Clone, Debug)]
pub(crate) enum Seen<K> {
    /// The watch has not told of it yet.
    Unknown,
    /// The same, and a list that has ended since it is waited for did not have it.
    Unlisted,
    /// Its newest version.
    There(Arc<K>),
    /// It was there, and was deleted.
    Deleted(Arc<K>),
    /// It is there, and this version cannot read it; why.
    Unreadable(Arc<str>),
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
    pub(crate) fn start(api: Api<Guarded<K>>, config: watcher::Config) -> Self {
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

/// So many refusals in a row are taken for an answer where a list succeeded before: with what is waited between them, half a minute's.
const REFUSALS_MAX: u32 = 6;
/// The next attempt comes sooner than this.
const ATTEMPTS_APART: Duration = Duration::from_secs(60);

/// Refusals in a row. One alone may be that of a credential that is being renewed, or of an authorizer that is out of reach.
#[derive(Default)]
struct Refusals {
    has_worked: bool,
    count: u32,
    last: Option<Instant>,
}

impl Refusals {
    fn after_a_list() -> Self {
        Self { has_worked: true, ..Self::default() }
    }

    /// Notes one; whether it is an answer. A watch that works need not tell of anything: it shows by the time until the next.
    fn is_answer(&mut self) -> bool {
        let before = self.last.replace(Instant::now());
        let is_in_a_row = before.is_some_and(|before| before.elapsed() < ATTEMPTS_APART);
        self.count = if is_in_a_row { self.count + 1 } else { 1 };
        !self.has_worked || self.count >= REFUSALS_MAX
    }
}

async fn follow<K>(api: Api<Guarded<K>>, config: watcher::Config, entries: Arc<Mutex<Entries<K>>>)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut events = watcher(api, config).default_backoff().boxed();
    let (mut listed, mut refusals) = (BTreeSet::new(), Refusals::default());
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                listed.insert(object.name_any());
                there(&entries, object);
            }
            Ok(watcher::Event::InitDone) => {
                for (name, sender) in &*lock(&entries) {
                    let now = match &*sender.borrow() {
                        Seen::There(object) if !listed.contains(name) => Seen::Deleted(Arc::clone(object)),
                        Seen::Unreadable(_) if !listed.contains(name) => Seen::Unlisted,
                        Seen::Unknown | Seen::Unlisted => Seen::Unlisted,
                        _ => continue,
                    };
                    sender.send_replace(now);
                }
                listed.clear();
                refusals = Refusals::after_a_list();
            }
            Ok(watcher::Event::Apply(object)) => there(&entries, object),
            Ok(watcher::Event::Delete(object)) => {
                if let Some(sender) = lock(&entries).get(&object.name_any()) {
                    sender.send_replace(match object.0 {
                        Ok(object) => Seen::Deleted(Arc::new(object)),
                        Err(_) => Seen::Unlisted,
                    });
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the watch broke; it goes on where it was");
                if let Some(status) = refusal(error)
                    && refusals.is_answer()
                {
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

/// The error of one who waits for an object that this version cannot read.
pub(crate) fn unreadable(object: String, why: &str) -> Error {
    Error::api("read", object)(kube::Error::SerdeError(serde::de::Error::custom(why)))
}

fn there<K: Resource>(entries: &Mutex<Entries<K>>, object: Guarded<K>) {
    if let Some(sender) = lock(entries).get(&object.name_any()) {
        sender.send_replace(match object.0 {
            Ok(object) => Seen::There(Arc::new(object)),
            Err(unreadable) => Seen::Unreadable(unreadable.error.into()),
        });
    }
}
