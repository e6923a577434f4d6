//! Deletions, which are tried again.

use std::{fmt::Debug, time::Duration};

use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until};

/// Between attempts to create or delete something; milliseconds.
const DELAYS: [u64; 6] = [250, 500, 1_000, 2_000, 4_000, 8_000];

/// The pauses between attempts, of some 15 s in all.
pub(crate) fn delays() -> impl Iterator<Item = Duration> + Send {
    DELAYS.into_iter().map(Duration::from_millis)
}

/// Deletes an object, and tries it again for some 15 s where the API server does not answer. One that is gone is deleted.
pub(crate) async fn delete<K>(api: &Api<K>, name: &str, uid: Option<String>) -> Result<(), kube::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let is_of_any_uid = uid.is_none();
    let preconditions = uid.map(|uid| Preconditions { uid: Some(uid), resource_version: None });
    let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
    let mut delays = delays();
    loop {
        match api.delete(name, &parameters).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 && !is_of_any_uid => {
                return Ok(());
            }
            Err(error) => match delays.next().filter(|_| is_unanswered(&error)) {
                Some(delay) => sleep_until(Instant::now() + delay).await,
                None => return Err(error),
            },
        }
    }
}

/// Whether a request may have had its effect, or may have it when it is made again.
pub(crate) fn is_unanswered(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}
