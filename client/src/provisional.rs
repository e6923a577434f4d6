//! Objects that were created for a caller who has not got yet what they are for: they go where the caller leaves before.

use std::fmt::Debug;

use futures::{FutureExt, future::BoxFuture};
use kube::{Api, Resource, ResourceExt, api::PostParams};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use crate::{
    client::{Client, RUN_ID},
    deletion::{delete, is_unanswered},
    error::Error,
};

/// Who chose an object's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamedBy {
    /// The caller: an object of that name may be another's.
    Caller,
    /// This library, at random.
    Chance,
}

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

    /// Creates an object. A caller who leaves meanwhile does not stop that: whether the API server has the request already is not known.
    pub(crate) async fn create<K>(&self, api: Api<K>, object: K, named_by: NamedBy) -> Result<Provisional, Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static,
    {
        let client = self.clone();
        let creating = self.inner.deletions.spawn(async move {
            let name = object.name_any();
            match api.create(&PostParams::default(), &object).await {
                Ok(created) => {
                    let uid = created.uid().unwrap_or_default();
                    Ok(Provisional::new(&client, uid.clone(), remove(api, name, uid)))
                }
                Err(error) => {
                    if is_unanswered(&error) && named_by == NamedBy::Chance {
                        let ours = remove_ours(api, name.clone(), client.run_id().to_owned());
                        client.inner.deletions.spawn(ours);
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

async fn remove<K>(api: Api<K>, name: String, uid: String)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    if let Err(error) = delete(&api, &name, Some(uid)).await {
        tracing::warn!(kind = %K::kind(&()), name, %error, "what was created for a call that was given up is left");
    }
}

/// Removes what a request created that was not answered.
async fn remove_ours<K>(api: Api<K>, name: String, run_id: String)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    match api.get_metadata_opt(&name).await {
        Ok(Some(found)) if found.labels().get(RUN_ID) == Some(&run_id) => {
            remove(api, name, found.uid().unwrap_or_default()).await;
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(name, %error, "whether a request that was not answered created it is not known"),
    }
}
