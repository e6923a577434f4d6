//! The way to what drives a session.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc;

use super::state::Command;
use crate::{error::Error, stream::Place};

#[derive(Clone, Debug)]
pub(crate) struct Link {
    place: Arc<Place>,
    commands: mpsc::UnboundedSender<Command>,
    opened: Arc<AtomicU64>,
}

impl Link {
    pub(super) fn new(place: Place, commands: mpsc::UnboundedSender<Command>) -> Self {
        Self { place: Arc::new(place), commands, opened: Arc::default() }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// A number for what is opened: of the same process two may be asked for.
    pub(super) fn next_number(&self) -> u64 {
        self.opened.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn send(&self, command: Command) {
        // What drives the session ends only once there is no link to it.
        let _ = self.commands.send(command);
    }

    pub(super) fn lost(&self) -> Error {
        Error::Unreachable { pod: self.place.pod.clone(), message: "the session has ended".into() }
    }
}
