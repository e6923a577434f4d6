//! Claims of Sandboxes.

mod adopt;
mod failure;
mod name;
mod waiting;

use std::{collections::BTreeMap, future::IntoFuture, sync::Arc, time::Duration};

use arl_crds::{Sandbox as SandboxObject, SandboxSpec, Setup, reason::SandboxReason};
use futures::{
    FutureExt,
    future::{BoxFuture, pending},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

pub use self::name::name_for;
use crate::{
    awaited::{Awaited, BY_SOMEBODY, deleted, is_allocated, not_ready, ready, ready_condition},
    client::Client,
    error::{Error, Fault, is_missing},
    object_name::check_name,
    pool,
    provisional::Provisional,
    sandbox::{Sandbox, ttl_seconds},
    session::{PATIENCE, Session},
    snapshot::{Archive, Snapshot},
    stream::Place,
    watch::{Seen, first},
};

/// How long a Sandbox may be idle, where the claim says nothing else: a program that is killed leaves none for ever.
pub const IDLE_TTL: Duration = Duration::from_secs(3600);
/// How long a claim waits, where it says nothing else.
pub const WAIT: Duration = Duration::from_secs(300);
/// A claim that adopts tries so often to create the Sandbox or to take that which is there, where that goes meanwhile.
const ADOPTIONS: u32 = 4;

/// A claim of a Sandbox; await it.
#[derive(Clone, Debug)]
#[must_use = "a claim does nothing until it is awaited"]
pub struct Claim {
    client: Client,
    pool: String,
    name: Option<String>,
    adopts: bool,
    labels: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
    setup: Option<Setup>,
    keep: bool,
    idle_ttl: Duration,
    wait: Duration,
    files: Option<(Snapshot, Archive)>,
}

impl Client {
    /// A claim of a Sandbox from this pool, to be awaited.
    pub fn claim(&self, pool: impl Into<String>) -> Claim {
        Claim::new(self.clone(), pool.into())
    }

    /// A Sandbox that was claimed before, by whomever.
    ///
    /// # Errors
    /// [`Error::NoSandbox`] where it is not there, [`Error::NotReady`] where it has no pod that can be used. That is not waited for.
    pub async fn open(&self, name: &str) -> Result<Sandbox, Error> {
        check_name("Sandbox", name)?;
        let found = self.sandboxes().get(name).await;
        let object = found.map_err(|error| absence(name, &self.inner.namespace, error))?;
        if object.metadata.deletion_timestamp.is_some() {
            return Err(deleted(name, BY_SOMEBODY.into()));
        }
        if is_allocated(&object) {
            return Claim::new(self.clone(), object.spec.pool_ref.clone()).sandbox(&object);
        }
        let unserved = || ("Unserved".into(), "no operator has looked at it; is one running?".into());
        Err(not_ready(name, ready_condition(&object).unwrap_or_else(unserved)))
    }
}

fn absence(name: &str, namespace: &str, error: kube::Error) -> Error {
    if is_missing(&error) {
        return Error::NoSandbox { sandbox: name.to_owned(), namespace: namespace.to_owned() };
    }
    Error::api("get", format!("Sandbox {name}"))(error)
}

impl Claim {
    fn new(client: Client, pool: String) -> Self {
        let (name, labels, env) = (None, BTreeMap::new(), BTreeMap::new());
        let (adopts, keep, setup, files) = (false, true, None, None);
        Self { client, pool, name, adopts, labels, env, setup, keep, idle_ttl: IDLE_TTL, wait: WAIT, files }
    }

    /// Gives the Sandbox this name; otherwise it has one that nothing else has.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Adds a label to the Sandbox.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Gives every live process and every command step of the Sandbox a variable; one that a command names itself wins. Not for secrets:
    /// whoever may read Sandboxes reads it.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Runs these steps once in its pod before it is ready, which [`Claim::wait`] bounds too; where one fails, so does the claim.
    pub fn setup(mut self, setup: Setup) -> Self {
        self.setup = Some(setup);
        self
    }

    /// Keeps the Sandbox after its first Task, which is what a claim does where nothing else is said.
    pub fn keep(mut self) -> Self {
        self.keep = true;
        self
    }

    /// Releases the Sandbox once the first Task that [`Sandbox::task`] ran in it has finished, and no other that it runs is left. Where this
    /// program is killed before, the Sandbox goes after its idle time.
    pub fn release_after_task(mut self) -> Self {
        self.keep = false;
        self
    }

    /// Deletes the Sandbox once it has been idle for so long; whole seconds, rounded up.
    pub fn idle_ttl(mut self, ttl: Duration) -> Self {
        self.idle_ttl = ttl;
        self
    }

    /// Puts the files of a snapshot into it; where that fails, so does the claim. [`Claim::wait`] is not for this.
    pub fn snapshot(mut self, snapshot: Snapshot, archive: impl Into<Archive>) -> Self {
        self.files = Some((snapshot, archive.into()));
        self
    }

    /// Waits no longer for it.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    async fn claim(mut self) -> Result<Sandbox, Error> {
        if self.adopts && self.name.is_none() {
            return Err(Error::Usage("a claim adopts a Sandbox by its name: give it one".into()));
        }
        let begun = Instant::now();
        for _ in 0..ADOPTIONS {
            match (self.clone().provisionally().await, &self.name) {
                (Ok((sandbox, provisional)), _) => {
                    provisional.keep();
                    return Ok(sandbox);
                }
                (Err(error), Some(name)) if self.adopts(&error) => {
                    if let Some(sandbox) = self.clone().existing(name).await? {
                        return Ok(sandbox);
                    }
                }
                (Err(error), _) => return Err(error),
            }
            self.wait = self.wait.saturating_sub(begun.elapsed());
        }
        let message = format!("somebody deleted it each of the {ADOPTIONS} times that it was found there");
        Err(deleted(&self.name.unwrap_or_default(), message))
    }

    /// Claims it for a caller who may still give it up.
    pub(crate) async fn provisionally(self) -> Result<(Sandbox, Provisional), Error> {
        let name = self.name.clone().unwrap_or_else(|| name_for(&self.pool));
        let mut last = None;
        let (object, provisional) = match timeout(self.wait, self.obtain(&name, &mut last)).await {
            Ok(obtained) => obtained?,
            Err(_) => return Err(self.not_ready(&name, last.as_deref()).await),
        };
        let claimed = self.sandbox(&object)?;
        if let Some((snapshot, archive)) = &self.files {
            claimed.files().restore_from(snapshot, archive).await?;
        }
        Ok((claimed, provisional))
    }

    /// Creates the object and waits until it is ready.
    async fn obtain(
        &self,
        name: &str,
        last: &mut Option<Arc<SandboxObject>>,
    ) -> Result<(Arc<SandboxObject>, Provisional), Error> {
        let spec = SandboxSpec {
            pool_ref: self.pool.clone(),
            keep_alive: self.keep,
            ttl_seconds_after_finished: Some(ttl_seconds(self.idle_ttl)),
            env: self.env.clone(),
            setup: self.setup.clone(),
        };
        let mut object = SandboxObject::new(name, spec);
        object.metadata.labels = Some(self.labels.clone().into_iter().chain(self.client.labels()).collect());
        let seen = self.client.watched_sandboxes().object(name);
        let provisional = self.client.create(self.client.sandboxes(), object).await?;
        let awaited = Awaited { name, uid: provisional.uid(), has_pool: false };
        match self.ready_or_hopeless(seen, awaited, last).await {
            Ok(object) => Ok((object, provisional)),
            Err(error) => Err(self.with_outputs(error, last.as_deref()).await),
        }
    }

    async fn ready_or_hopeless(
        &self,
        seen: watch::Receiver<Seen<SandboxObject>>,
        awaited: Awaited<'_>,
        last: &mut Option<Arc<SandboxObject>>,
    ) -> Result<Arc<SandboxObject>, Error> {
        tokio::select! {
            ready = self.ready(seen.clone(), awaited, last) => ready,
            (reason, message) = self.hopeless(seen.clone()) => {
                Err(Error::NotReady { sandbox: awaited.name.to_owned(), reason, message, fault: Fault::Usage })
            }
            never = self.tell(seen.clone()) => match never {},
        }
    }

    /// See [`ready`]. An operator that has not heard of a new pool yet says that there is none.
    async fn ready(
        &self,
        seen: watch::Receiver<Seen<SandboxObject>>,
        awaited: Awaited<'_>,
        last: &mut Option<Arc<SandboxObject>>,
    ) -> Result<Arc<SandboxObject>, Error> {
        let outcome = ready(seen.clone(), awaited, last).await;
        let is_not_found = |reason: &str| reason == SandboxReason::PoolNotFound.as_str();
        if matches!(&outcome, Err(Error::NotReady { reason, .. }) if is_not_found(reason))
            && matches!(self.client.pools().get_opt(&self.pool).await, Ok(Some(_)))
        {
            return ready(seen, Awaited { has_pool: true, ..awaited }, last).await;
        }
        outcome
    }

    /// Resolves where the pool is empty and will stay so, with the pool's reason and message.
    async fn hopeless(&self, seen: watch::Receiver<Seen<SandboxObject>>) -> (String, String) {
        let is_empty = |object: &SandboxObject| {
            ready_condition(object).is_some_and(|(reason, _)| reason == SandboxReason::PoolEmpty.as_str())
        };
        let empty = first(seen, |sandbox| match sandbox {
            Seen::There(object) if is_empty(object) => Some(()),
            _ => None,
        });
        match empty.await {
            Some(()) => pool::until_hopeless(&self.client, &self.pool).await,
            None => pending().await,
        }
    }

    fn sandbox(&self, object: &SandboxObject) -> Result<Sandbox, Error> {
        let name = object.metadata.name.clone().unwrap_or_default();
        let status = object.status.as_ref();
        let pod = status.and_then(|status| status.pod_name.clone().zip(status.pod_uid.clone()));
        let Some((pod, pod_uid)) = pod else {
            return Err(Error::PodLost {
                pod: format!("of Sandbox {name}"),
                message: "it is not on record".into(),
                fault: Fault::Infrastructure,
            });
        };
        if !arl_crds::name::is_name(&pod) {
            return Err(Error::Usage(format!("Sandbox {name} says that its pod is {pod:?}, which no pod is called")));
        }
        let container = status.and_then(|status| status.container.clone());
        let namespace = self.client.inner.namespace.clone();
        let place = Place { namespace, pod, pod_uid, sandbox: Some(name.clone()), container };
        let session = Session::new(self.client.inner.kube.0.clone(), place, PATIENCE);
        let session = session.with_env(object.spec.env.clone());
        let uid = object.metadata.uid.clone();
        Ok(Sandbox::new(self.client.clone(), name, uid, self.pool.clone(), session, self.keep))
    }
}

impl IntoFuture for Claim {
    type Output = Result<Sandbox, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.claim().boxed()
    }
}
