//! The versions of one object, as they come.

use std::fmt::Debug;

use arl_client::watch_answer;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Resource,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;

use crate::{connect::Connection, failure::Failure};

/// They go on over broken watches.
pub struct Versions<K> {
    what: String,
    watch: BoxStream<'static, watcher::Result<Option<K>>>,
}

impl<K> Versions<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    /// Of the object of this name.
    pub fn of(connection: &Connection, name: &str) -> Self {
        let watch = watcher::watch_object(connection.api::<K>(), name).default_backoff().boxed();
        Self { what: format!("{} {name}", K::kind(&())), watch }
    }

    /// The next; none where it is not there. A call that is given up loses none.
    pub async fn next(&mut self) -> Result<Option<K>, Failure> {
        loop {
            match self.watch.try_next().await {
                Ok(version) => return Ok(version.flatten()),
                Err(error) => {
                    if let Some(refused) = refused(error) {
                        return Err(Failure::api(&format!("watch {}", self.what), &refused));
                    }
                    // It goes on where it was.
                }
            }
        }
    }
}

/// Why a watch will not come again by itself.
fn refused(error: watcher::Error) -> Option<kube::Error> {
    watch_answer(error).filter(|status| matches!(status.code, 401 | 403 | 404)).map(kube::Error::Api)
}
