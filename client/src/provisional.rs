//! Objects that were created for a caller who has not got yet what they are for: they go where the caller leaves before.

use std::fmt::Debug;

use arl_crds::labels::REQUEST_ID;
use futures::{FutureExt, future::BoxFuture};
use kube::{Api, Resource, ResourceExt, api::PostParams};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use crate::{
    client::Client,
    deletion::{delays, delete, is_unanswered},
    error::Error,
};

/// An object that is deleted when this is dropped, unless it is [kept](Self::keep).
pub(crate) struct Provisional {
    uid: String,
    deletion: Option<BoxFuture<'static, ()>>,
    deletions: TaskTracker,
    /// Those who wait for deletions wait for the decision too.
    _undecided: TaskTrackerToken,
}

impl Client {
    /// Waits until everything is deleted that was created through this client, or a clone of it, for a call that was given up or failed. To be
    /// called by a program that is about to end; deletions go on by themselves.
    pub async fn settled(&self) {
        self.inner.deletions.wait().await;
    }

    /// Creates an object, and tries it again for some 15 s where the API server is busy. A caller who leaves meanwhile does not stop that:
    /// whether the API server has the request already is not known.
    pub(crate) async fn create<K>(&self, api: Api<K>, mut object: K) -> Result<Provisional, Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static,
    {
        let client = self.clone();
        let creating = self.inner.deletions.spawn(async move {
            let (name, request) = (object.name_any(), format!("{:016x}", fastrand::u64(..)));
            object.annotations_mut().insert(REQUEST_ID.to_owned(), request.clone());
            match post(&api, &object, &request).await {
                Ok(uid) => Ok(Provisional::new(&client, uid.clone(), remove(api, name, uid))),
                Err(error) => {
                    if is_unanswered(&error) {
                        client.inner.deletions.spawn(remove_ours(api, name.clone(), request));
                    }
                    Err(Error::api("create", format!("{} {name}", K::kind(&())))(error))
                }
            }
        });
        creating.await.unwrap_or_else(|error| Err(Error::Interrupted(error.to_string())))
    }
}

impl Provisional {
    fn new(client: &Client, uid: String, deletion: impl Future<Output = ()> + Send + 'static) -> Self {
        let deletions = client.inner.deletions.clone();
        Self { uid, deletion: Some(deletion.boxed()), _undecided: deletions.token(), deletions }
    }

    pub(crate) fn uid(&self) -> &str {
        &self.uid
    }

    /// The caller has what it is for.
    pub(crate) fn keep(mut self) {
        self.deletion = None;
    }
}

impl Drop for Provisional {
    fn drop(&mut self) {
        if let Some(deletion) = self.deletion.take() {
            self.deletions.spawn(deletion);
        }
    }
}

/// Returns the uid of what it creates. Where it is said to be there already, an attempt that was not answered may have created it.
async fn post<K>(api: &Api<K>, object: &K, request: &str) -> Result<String, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    let mut delays = delays();
    loop {
        let error = match api.create(&PostParams::default(), object).await {
            Ok(created) => return Ok(created.uid().unwrap_or_default()),
            Err(error) => error,
        };
        match code(&error) {
            Some(409) => {
                let ours = uid_of_ours(api, &object.name_any(), request).await.ok().flatten();
                return ours.ok_or(error);
            }
            Some(429 | 503 | 504) => match delays.next() {
                Some(delay) => sleep_until(Instant::now() + delay).await,
                None => return Err(error),
            },
            _ => return Err(error),
        }
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// The uid of an object, where this request created it.
async fn uid_of_ours<K>(api: &Api<K>, name: &str, request: &str) -> Result<Option<String>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let found = api.get_metadata_opt(name).await?;
    let ours = found.filter(|found| found.annotations().get(REQUEST_ID).is_some_and(|of| of == request));
    Ok(ours.and_then(|found| found.uid()))
}

async fn remove<K>(api: Api<K>, name: String, uid: String)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    if let Err(error) = delete(&api, &name, Some(uid)).await {
        tracing::warn!(kind = %K::kind(&()), name, %error, "what was created for a call that was given up is left");
    }
}

/// Removes what a request created that was not answered.
async fn remove_ours<K>(api: Api<K>, name: String, request: String)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    match uid_of_ours(&api, &name, &request).await {
        Ok(Some(uid)) => remove(api, name, uid).await,
        Ok(None) => {}
        Err(error) => tracing::warn!(name, %error, "whether a request that was not answered created it is not known"),
    }
}
