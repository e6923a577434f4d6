//! The way to what drives a session.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::state::Command;
use crate::{error::Error, stream::Place};

#[derive(Clone, Debug)]
pub(crate) struct Link {
    place: Arc<Place>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Link {
    pub(super) fn new(place: Place, commands: mpsc::UnboundedSender<Command>) -> Self {
        Self { place: Arc::new(place), commands }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn send(&self, command: Command) {
        // What drives the session ends only once there is no link to it.
        let _ = self.commands.send(command);
    }

    pub(super) fn lost(&self) -> Error {
        Error::Unreachable { pod: self.place.pod.clone(), message: "the session has ended".into() }
    }
}
