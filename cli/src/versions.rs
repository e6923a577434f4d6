//! The versions of one object, as they come.

use std::fmt::Debug;

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Resource,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;

use tokio::time::Instant;

use crate::{connect::Connection, failure::Failure, print, progress::SILENCE_MAX};

/// They go on over broken watches.
pub struct Versions<K> {
    what: String,
    watch: BoxStream<'static, watcher::Result<Option<K>>>,
    has_worked: bool,
    failing: WatchFailures,
}

impl<K> Versions<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    /// Of the object of this name.
    pub fn of(connection: &Connection, name: &str) -> Self {
        let watch = watcher::watch_object(connection.api::<K>(), name).default_backoff().boxed();
        let what = format!("{} {name}", K::kind(&()));
        Self { what, watch, has_worked: false, failing: WatchFailures::default() }
    }

    /// The next; none where it is not there. A call that is given up loses none.
    pub async fn next(&mut self) -> Result<Option<K>, Failure> {
        loop {
            let error = match self.watch.try_next().await {
                Ok(version) => {
                    self.has_worked = true;
                    self.failing.is_over();
                    return Ok(version.flatten());
                }
                Err(error) => error,
            };
            if is_final(&error, self.has_worked) {
                return Err(failure("watch", &self.what, &error));
            }
            // It goes on where it was.
            self.failing.of(&self.what, &error);
        }
    }
}

/// Whether a watch will not come again by itself: for what the API server answers, or where there never was an answer.
fn is_final(error: &watcher::Error, has_worked: bool) -> bool {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status))
        | WatchError(status) => matches!(status.code, 401 | 403 | 404),
        _ => !has_worked,
    }
}

/// Why a watch of this failed; `first` is what it does first.
pub fn failure(first: &str, what: &str, error: &watcher::Error) -> Failure {
    let watch = format!("watch {what}");
    match error {
        watcher::Error::InitialListFailed(error) => Failure::api(&format!("{first} {what}"), error),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => Failure::api(&watch, error),
        watcher::Error::WatchError(status) => Failure::api(&watch, &kube::Error::Api(status.clone())),
        watcher::Error::NoResourceVersion => Failure::ours(format!("cannot {watch}: {error}")),
    }
}

/// A watch that fails for a while: it goes on by itself, but nothing new is seen meanwhile.
#[derive(Debug, Default)]
pub struct WatchFailures {
    since: Option<Instant>,
    is_told: bool,
}

impl WatchFailures {
    /// It works.
    pub fn is_over(&mut self) {
        *self = Self::default();
    }

    /// It failed. That is said once it has for long.
    pub fn of(&mut self, what: &str, error: &watcher::Error) {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= SILENCE_MAX && !self.is_told {
            self.is_told = true;
            print::note(format!("waiting: {}", failure("watch", what, error).message));
        }
    }
}
