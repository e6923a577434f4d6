//! A session with one pod: its live processes and files, over one stream that is opened when it is first needed and shared.

mod driver;
mod flow;
mod handle;

use std::{sync::Arc, time::Duration};

use arl_agent::message::live::{Id, Process as Listed};
use kube::Client;
use tokio::sync::{mpsc, oneshot};

pub(crate) use flow::{FlowEvent, Opening};
pub(crate) use handle::Handle;
pub use handle::Stdin;

use crate::{
    error::Error,
    stream::{Place, with_protocol_v4},
};
use driver::{Command, drive};

/// How long a pod may be out of reach before what is in progress fails, where the caller says nothing else.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A session with one pod. Clones share its stream, which is closed when the last of them, and of their processes, is dropped.
#[derive(Clone, Debug)]
pub struct Session {
    place: Arc<Place>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Session {
    /// With the agent at `place`. Nothing is opened yet.
    ///
    /// Must be called in a tokio runtime.
    pub fn new(client: Client, place: Place, patience: Duration) -> Self {
        let (commands, received) = mpsc::unbounded_channel();
        tokio::spawn(drive(with_protocol_v4(client), place.clone(), patience, received));
        Self { place: Arc::new(place), commands }
    }

    /// Where its pod is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The processes that run in the pod, and those that have ended and were not waited for.
    pub async fn list(&self) -> Result<Vec<Listed>, Error> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::List(answer));
        answered.await.unwrap_or_else(|_| Err(self.lost()))
    }

    pub(crate) fn open(&self, id: Id, opening: Opening) -> Handle {
        Handle::open(self.clone(), id, opening)
    }

    fn send(&self, command: Command) {
        // A session ends only with its handles.
        let _ = self.commands.send(command);
    }

    fn lost(&self) -> Error {
        Error::Unreachable { pod: self.place.pod.clone(), message: "the session has ended".into() }
    }
}

/// A new name for a process or call.
pub(crate) fn new_id() -> Id {
    Id(fastrand::u64(..))
}
