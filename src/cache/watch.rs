//! Watches: what the API server reports goes into a table, and each change to whoever it concerns.

use std::{fmt::Debug, mem, sync::Arc, time::Duration};

use arl_client::guarded::{Guarded, Unreadable};
use futures::{StreamExt, stream::BoxStream};
use jiff::Timestamp;
use kube::{
    Api, Resource,
    runtime::{WatchStreamExt, utils::Backoff, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::{
    listing::Listing,
    table::{Change, Row, Table},
    tables::{Cache, Tables},
    wake::{Wake, distinct},
};
use crate::{clock::Clock, metrics::Metrics, object::Key, texts::watch_failed};

/// A watch that failed is tried again after this long at most. The library's own 30 s would leave everybody waiting for half a
/// minute after an API server's restart of ten seconds.
const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// The library's back-off, bounded.
#[derive(Default)]
pub(super) struct Patience(watcher::DefaultBackoff);

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|delay| delay.min(RECONNECT_MAX))
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// Objects of a list that are in memory at once where the API server does not stream lists, as before Kubernetes 1.32. An object in
/// etcd has 1.5 MiB at most, and takes about twice that while it is parsed: a page of the library's 500 could take the process down.
const PAGE: u32 = 8;

/// Follows a kind. A list is streamed where that is possible: then one object is in memory at once, however many there are.
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists>
fn follow<K>(api: &Api<K>, config: watcher::Config) -> BoxStream<'static, watcher::Result<watcher::Event<K>>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher(api.clone(), config).backoff(Patience::default()).boxed()
}

/// Whether a watch was refused for its way to list: an older API server, or one with the feature switched off.
fn has_no_streaming_lists(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status))
        if [400, 422].contains(&status.code) && status.message.contains("sendInitialEvents"))
}

/// How the objects of a kind become rows of a table, and whom they wake. `crate::triggers` has it for each kind.
pub trait Source: Sized + Row + Send + Sync + 'static {
    /// The kind as the API has it.
    type Object: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static;

    /// The row for an object that was seen now.
    fn row(object: Self::Object, now: Timestamp) -> Self;

    /// The table for the rows.
    fn table(tables: &mut Tables) -> &mut Table<Self>;

    /// Who has to look after a change.
    fn wakes(change: &Change<Self>, tables: &Tables) -> Vec<Wake>;

    /// Counts what a change shows.
    fn measure(_change: &Change<Self>, _tables: &Tables, _metrics: &Metrics) {}

    /// Brings up to date which Sandbox is to claim which pod; returns the Sandboxes whose turn it newly is.
    fn pair(_change: &Change<Self>, _tables: &mut Tables) -> Vec<Key> {
        Vec::new()
    }

    /// Whom a list wakes because an object that they rest on is not in it: that it is missing is no change, and none may ever come.
    fn unseen(_tables: &Tables) -> Vec<Wake> {
        Vec::new()
    }

    /// Who says of an object by its name that it is not there, or cannot be read.
    fn named_by(_key: &Key, _tables: &Tables) -> Vec<Wake> {
        Vec::new()
    }

    /// Keeps what must outlive the row.
    fn remember(_change: &Change<Self>, _tables: &mut Tables, _clock: &Clock) {}
}

/// Where changes go.
pub struct Watch {
    /// The tables.
    pub cache: Arc<Cache>,
    /// The wall clock.
    pub clock: Clock,
    /// What is counted of changes.
    pub metrics: Arc<Metrics>,
    /// Told of everyone who has to look.
    pub wake: Arc<dyn Fn(Wake) + Send + Sync>,
}

impl Watch {
    /// Follows one kind for ever; `synced` becomes true when the first list is in.
    pub async fn run<S: Source>(
        self: Arc<Self>,
        api: Api<Guarded<S::Object>>,
        config: watcher::Config,
        synced: watch::Sender<bool>,
    ) {
        let mut events = follow(&api, config.clone().streaming_lists());
        let mut listing = Listing::default();
        let (kind, mut is_failing, mut is_listing) = (S::Object::kind(&()), false, true);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    let is_synced = matches!(event, watcher::Event::InitDone);
                    is_listing = match event {
                        watcher::Event::Init => true,
                        watcher::Event::InitDone => false,
                        _ => is_listing,
                    };
                    // A list that never comes to its end is of no use.
                    if is_failing && !is_listing {
                        self.cache.outages.works(&kind);
                        is_failing = false;
                    }
                    self.take::<S>(event, &mut listing);
                    if is_synced {
                        synced.send_replace(true);
                    }
                }
                Err(error) if has_no_streaming_lists(&error) => {
                    tracing::info!(%kind, page = PAGE, "the API server does not stream lists; they are read in pages");
                    events = follow(&api, config.clone().page_size(PAGE));
                }
                Err(error) => {
                    let broke = matches!(error, watcher::Error::WatchFailed(_) | watcher::Error::WatchError(_));
                    let was_open = broke && !is_listing;
                    let said = watch_failed(&error);
                    tracing::warn!(%kind, error = said, "watch failed; trying again");
                    self.cache.outages.failed(&kind, &said, was_open);
                    is_failing = true;
                }
            }
        }
    }

    /// Takes over what the answer to a write says, without waiting for the watch to say it too: what is decided next is
    /// decided on it. Only of an object that is there: its deletion may have been seen meanwhile.
    pub fn learn<S: Source>(&self, object: S::Object) {
        let row = S::row(object, self.clock.now());
        let mut tables = self.cache.write();
        let table = S::table(&mut tables);
        if table.precedes(&row) {
            let change = table.learn(row);
            self.tell(&change, &mut tables);
        }
    }

    pub(super) fn take<S: Source>(&self, event: watcher::Event<Guarded<S::Object>>, listing: &mut Listing<S>) {
        match event {
            watcher::Event::Init => {
                *listing = Listing::default();
                // What was answered before the list was asked for is in it.
                S::table(&mut self.cache.write()).take_ahead();
            }
            watcher::Event::InitApply(object) => {
                let key = Key::of(&object);
                // What cannot be read is as if it were not there.
                let Some(object) = readable::<S>(object) else { return listing.leave_out(key) };
                let row = S::row(object, self.clock.now());
                let present = S::table(&mut self.cache.write()).get(&row.key()).cloned();
                listing.add(row, present.as_deref());
            }
            watcher::Event::InitDone => {
                let mut tables = self.cache.write();
                let named = listing.replace_unread(S::table(&mut tables));
                for change in mem::take(listing).take_over(S::table(&mut tables)) {
                    self.tell(&change, &mut tables);
                }
                let named = named.iter().flat_map(|key| S::named_by(key, &tables));
                for wake in named.chain(S::unseen(&tables)) {
                    (self.wake)(wake);
                }
            }
            watcher::Event::Apply(object) => {
                let key = Key::of(&object);
                let object = readable::<S>(object);
                self.set_unread::<S>(&key, object.is_none());
                match object {
                    Some(object) => self.apply_newer(S::row(object, self.clock.now())),
                    None => self.delete::<S>(&key, None),
                }
            }
            watcher::Event::Delete(object) => {
                let key = Key::of(&object);
                self.set_unread::<S>(&key, false);
                self.delete::<S>(&key, super::table::version(object.meta()));
            }
        }
    }

    /// A single change may be older than what was learned.
    fn apply_newer<S: Source>(&self, row: S) {
        let mut tables = self.cache.write();
        let table = S::table(&mut tables);
        if !table.has_same(&row) || table.precedes(&row) {
            let change = table.apply(row);
            self.tell(&change, &mut tables);
        } else {
            table.confirm(&row);
        }
    }

    fn delete<S: Source>(&self, key: &Key, version: Option<i64>) {
        let mut tables = self.cache.write();
        let change = Change { version, ..S::table(&mut tables).delete(key) };
        self.tell(&change, &mut tables);
    }

    fn set_unread<S: Source>(&self, key: &Key, is_unread: bool) {
        let mut tables = self.cache.write();
        if S::table(&mut tables).set_unread(key, is_unread) {
            for wake in S::named_by(key, &tables) {
                (self.wake)(wake);
            }
        }
    }

    fn tell<S: Source>(&self, change: &Change<S>, tables: &mut Tables) {
        S::remember(change, tables, &self.clock);
        S::measure(change, tables, &self.metrics);
        let mut wakes: Vec<Wake> = S::pair(change, tables).into_iter().map(Wake::Sandbox).collect();
        wakes.extend(S::wakes(change, tables));
        for wake in distinct(wakes) {
            (self.wake)(wake);
        }
    }
}

/// The object, if it can be read.
fn readable<S: Source>(object: Guarded<S::Object>) -> Option<S::Object> {
    let key = Key::of(&object);
    let warn = |unreadable: Unreadable| {
        tracing::warn!(kind = %S::Object::kind(&()), object = %key, error = unreadable.error, "this object cannot be read and is left out; correct or delete it");
    };
    object.0.map_err(warn).ok()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::future::Either;
    use kube::{Client, client::Body};
    use serde_json::json;
    use tokio::sync::mpsc;
    use tower::service_fn;

    use super::*;
    use crate::cache::TaskRow;

    /// What a watch asks of an API server that streams lists or does not, until it is synced.
    async fn asked_of_one_that(streams_lists: bool) -> Vec<String> {
        let (ask, mut asked) = mpsc::unbounded_channel();
        let api = service_fn(move |request: http::Request<Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let bookmark = json!({ "type": "BOOKMARK", "object": {
                "apiVersion": "arl.infra.io/v1alpha1", "kind": "Task",
                "metadata": { "resourceVersion": "1", "annotations": { "k8s.io/initial-events-end": "true" } } } });
            let why = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch";
            let refused = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid", "code": 422, "message": why });
            let list = json!({ "apiVersion": "arl.infra.io/v1alpha1", "kind": "TaskList", "metadata": { "resourceVersion": "1" }, "items": [] });
            let (is_streamed, is_watch) = (query.contains("sendInitialEvents=true"), query.contains("watch=true"));
            ask.send(query).unwrap();
            let (code, body) = match () {
                () if is_streamed && streams_lists => (200, bookmark),
                () if is_streamed => (422, refused),
                () if is_watch => return Either::Left(std::future::pending()),
                () => (200, list),
            };
            let body = Body::from(format!("{body}\n").into_bytes());
            Either::Right(std::future::ready(Ok::<_, Infallible>(
                http::Response::builder().status(code).body(body).unwrap(),
            )))
        });
        let watch = Arc::new(Watch {
            cache: Arc::default(),
            clock: Clock::new(|| Timestamp::UNIX_EPOCH),
            metrics: Metrics::unread(),
            wake: Arc::new(|_| {}),
        });
        let (synced, mut is_synced) = tokio::sync::watch::channel(false);
        let tasks = Api::namespaced(Client::new(api, "ns"), "ns");
        let follows = tokio::spawn(watch.run::<TaskRow>(tasks, watcher::Config::default(), synced));
        let in_time = tokio::time::timeout(Duration::from_secs(60), is_synced.wait_for(|synced| *synced)).await;
        in_time.expect("a list comes in").unwrap();
        follows.abort();
        std::iter::from_fn(|| asked.try_recv().ok()).collect()
    }

    /// Objects have up to 1.5 MiB each.
    #[tokio::test(start_paused = true)]
    async fn few_objects_of_a_list_are_in_memory_at_once_whatever_the_api_server_can_do() {
        let asked = asked_of_one_that(true).await;
        assert!(asked.iter().all(|query| query.contains("watch=true")), "one object after the other: {asked:?}");
        let asked = asked_of_one_that(false).await;
        let lists: Vec<_> = asked.iter().filter(|query| !query.contains("watch=true")).collect();
        assert!(!lists.is_empty() && lists.iter().all(|query| query.contains("limit=8")), "{asked:?}");
    }
}
