//! A session with one pod: its live processes and files, over one stream that is opened when it is first needed and shared.

mod attempts;
mod converse;
mod driver;
mod fate;
mod flow;
mod handle;
mod link;
mod queue;
mod state;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arl_agent::message::live::{Id, Process as Listed, Request};
use kube::Client;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

pub(crate) use flow::Opening;
pub(crate) use handle::Handle;
pub use handle::Stdin;
pub(crate) use queue::{FlowEvent, is_merged};
#[cfg(test)]
pub(crate) use queue::{MERGED_MAX, SMALL};

use crate::{
    error::Error,
    stream::{Place, with_protocol_v4},
};
use driver::drive;
use link::Link;
use state::Command;

/// How long a pod may be out of reach before what is in progress fails, where the caller says nothing else.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A session with one pod. Clones share its stream, which is closed when the last of them, and of their processes, is dropped.
#[derive(Clone, Debug)]
pub struct Session {
    link: Link,
    env: Arc<BTreeMap<String, String>>,
}

impl Session {
    /// With the agent at `place`. Nothing is opened yet.
    ///
    /// Must be called in a tokio runtime.
    pub fn new(client: Client, place: Place, patience: Duration) -> Self {
        let (commands, received) = mpsc::unbounded_channel();
        tokio::spawn(drive(with_protocol_v4(client), place.clone(), patience, received));
        Self { link: Link::new(place, commands, patience), env: Arc::default() }
    }

    /// Gives every process that it starts these variables, those of its Sandbox; one that a command names itself wins.
    #[must_use]
    pub fn with_env(self, env: BTreeMap<String, String>) -> Self {
        Self { env: Arc::new(env), ..self }
    }

    pub(crate) fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// Where its pod is.
    pub fn place(&self) -> &Place {
        self.link.place()
    }

    /// The processes that run in the pod, and those that have ended and were not waited for.
    pub async fn list(&self) -> Result<Vec<Listed>, Error> {
        let (answer, answered) = oneshot::channel();
        self.link.send(Command::List(answer));
        match timeout(self.link.answer_max(), answered).await {
            Ok(answered) => answered.unwrap_or_else(|_| Err(self.link.lost())),
            Err(_) => Err(self.link.silent()),
        }
    }

    /// Ends a process of the pod and all that it started, whoever follows it: TERM, this grace, KILL. One that is not there is left so.
    pub fn kill(&self, id: u64, grace: Duration) {
        self.link.send(Command::Send(Request::Kill { id: Id(id), grace_ms: millis(grace) }));
    }

    /// Its Sandbox was released: what is asked for from now on fails.
    pub(crate) fn release(&self) {
        self.link.release();
    }

    pub(crate) fn open(&self, id: Id, opening: Opening) -> Handle {
        Handle::open(self.link.clone(), id, opening)
    }
}

/// A new name for a process or call.
pub(crate) fn new_id() -> Id {
    Id(fastrand::u64(..))
}

/// As the agent is told it.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
