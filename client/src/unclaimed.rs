//! Sandboxes that nobody has got yet.

use arl_crds::Sandbox as SandboxObject;
use kube::api::PostParams;

use crate::{client::Client, error::Error};

/// A Sandbox that was created and is not ready: nobody else knows of it, so that it goes where the claim is given up.
pub(crate) struct Unclaimed {
    client: Client,
    name: String,
    is_claimed: bool,
}

impl Unclaimed {
    /// Creates it. A claim that is given up meanwhile does not stop that: whether the API server has the request already is not known.
    pub(crate) async fn create(client: Client, object: SandboxObject) -> Result<Self, Error> {
        let creating = tokio::spawn(async move {
            let name = object.metadata.name.clone().unwrap_or_default();
            let created = client.sandboxes().create(&PostParams::default(), &object).await;
            created.map_err(Error::api("create", format!("Sandbox {name}")))?;
            Ok(Self { client, name, is_claimed: false })
        });
        creating.await.unwrap_or_else(|error| Err(Error::Interrupted(error.to_string())))
    }

    /// Somebody has it now.
    pub(crate) fn claimed(mut self) {
        self.is_claimed = true;
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if !self.is_claimed {
            let (sandboxes, name) = (self.client.sandboxes(), std::mem::take(&mut self.name));
            tokio::spawn(async move {
                if let Err(error) = sandboxes.delete(&name, &kube::api::DeleteParams::default()).await {
                    tracing::warn!(sandbox = name, %error, "a Sandbox that was not claimed in time is left");
                }
            });
        }
    }
}
