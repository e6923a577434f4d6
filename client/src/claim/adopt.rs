//! Claims of a Sandbox that may be there already.

use kube::runtime::{
    wait::{await_condition, conditions::is_deleted},
    watcher,
};
use tokio::time::timeout;

use super::Claim;
use crate::{
    awaited::Awaited,
    error::{Error, Fault},
    sandbox::Sandbox,
    watch::Watch,
};

impl Claim {
    /// Takes the Sandbox of this claim's name where there is one already, whoever created it: as it is, with its files, labels and idle
    /// time. It has to be of the same pool. A claim that fails or is given up deletes it only where it created it.
    pub fn adopt(mut self) -> Self {
        self.adopts = true;
        self
    }

    /// Whether one is there and is to be taken: this is the answer to the creation of another.
    pub(super) fn adopts(&self, error: &Error) -> bool {
        let Error::Api { source, .. } = error else { return false };
        self.adopts && matches!(&**source, kube::Error::Api(status) if status.reason == "AlreadyExists")
    }

    /// The one that is there, once it is ready; none where it goes, or has gone. It has another run's labels, so that this client's watch does not tell of it.
    pub(super) async fn existing(mut self, name: &str) -> Result<Option<Sandbox>, Error> {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let watch = Watch::start(self.client.guarded(), config);
        let seen = watch.object(name);
        let found = self.client.sandboxes().get_opt(name).await;
        let Some(found) = found.map_err(Error::api("get", format!("Sandbox {name}")))? else { return Ok(None) };
        if found.spec.pool_ref != self.pool {
            let (theirs, ours) = (&found.spec.pool_ref, &self.pool);
            return Err(Error::Usage(format!(
                "Sandbox {name} is of pool {theirs}, not {ours}: claim it from that pool, or choose another name"
            )));
        }
        self.keep = found.spec.keep_alive;
        let uid = found.metadata.uid.unwrap_or_default();
        if found.metadata.deletion_timestamp.is_some() {
            return self.gone(name, &uid).await.map(|()| None);
        }
        let awaited = Awaited { name, uid: &uid, has_pool: false };
        let mut last = None;
        match timeout(self.wait, self.ready_or_hopeless(seen, awaited, &mut last)).await {
            Ok(Ok(object)) => self.sandbox(&object).map(Some),
            Ok(Err(Error::NotReady { reason, .. })) if reason == "Deleted" => Ok(None),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.not_ready(name, last.as_deref()).await),
        }
    }

    /// Waits until one that is being deleted is gone.
    async fn gone(&self, name: &str, uid: &str) -> Result<(), Error> {
        match timeout(self.wait, await_condition(self.client.sandboxes(), name, is_deleted(uid))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Error::Interrupted(format!(
                "Sandbox {name} is being deleted, and its end cannot be watched ({error}); claim it again"
            ))),
            Err(_) => Err(Error::NotReady {
                sandbox: name.to_owned(),
                reason: "Deleted".into(),
                message: format!(
                    "it is being deleted, and still there after {:?}; see its finalizers, or choose another name",
                    self.wait
                ),
                fault: Fault::Usage,
            }),
        }
    }
}
