//! The way to what drives a session.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc;

use super::state::Command;
use crate::{
    error::{Error, Fault},
    stream::Place,
};

/// What takes an agent a moment takes it no longer than this, however busy its node is.
const MOMENT_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub(crate) struct Link {
    place: Arc<Place>,
    commands: mpsc::UnboundedSender<Command>,
    opened: Arc<AtomicU64>,
    released: Arc<AtomicBool>,
    patience: Duration,
}

impl Link {
    pub(super) fn new(place: Place, commands: mpsc::UnboundedSender<Command>, patience: Duration) -> Self {
        Self { place: Arc::new(place), commands, opened: Arc::default(), released: Arc::default(), patience }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// A number for what is opened: of the same process two may be asked for.
    pub(super) fn next_number(&self) -> u64 {
        self.opened.fetch_add(1, Ordering::Relaxed)
    }

    /// The Sandbox was released: its pod may answer for a moment more, and nothing new is begun in it.
    pub(super) fn release(&self) {
        self.released.store(true, Ordering::SeqCst);
    }

    pub(super) fn send(&self, command: Command) {
        // Whoever waits for what is dropped here is told by `lost`.
        if self.released.load(Ordering::SeqCst) && matches!(command, Command::Open { .. } | Command::List(_)) {
            return;
        }
        // What drives the session ends only once there is no link to it.
        let _ = self.commands.send(command);
    }

    /// How long an answer may take that takes an agent a moment: its pod may be out of reach for as long as there is patience for that.
    pub(super) fn answer_max(&self) -> Duration {
        self.patience.saturating_add(MOMENT_MAX)
    }

    /// The error where there is none for longer than that.
    pub(super) fn silent(&self) -> Error {
        let message = "it keeps its stream alive and does not answer".into();
        Error::AgentUnusable { pod: self.place.pod.clone(), message }
    }

    pub(super) fn lost(&self) -> Error {
        if self.released.load(Ordering::SeqCst) {
            let message = "its Sandbox was released".into();
            return Error::PodLost { pod: self.place.pod.clone(), message, fault: Fault::Usage };
        }
        Error::Unreachable { pod: self.place.pod.clone(), message: "the session has ended".into() }
    }
}
