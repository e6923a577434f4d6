//! The process that runs steps, and the way to it.

use std::path::Path;

use arl_agent::frame::FROM_AGENT_MAX;

use crate::{job::Job, peer::Peer};

/// A process that runs one step at a time.
pub struct Worker {
    /// Its id.
    pub pid: i32,
    /// The way to it.
    pub peer: Peer,
    cancelled: bool,
}

impl Worker {
    /// Starts one, which notes what steps print in the volume at `directory`.
    pub fn start(directory: &Path) -> std::io::Result<Self> {
        let (pid, peer) = Peer::start("step", directory, 2 * FROM_AGENT_MAX)?;
        Ok(Self { pid, peer, cancelled: false })
    }

    /// Whether it still waits: one that the user's code killed since its last step is seen here.
    pub fn is_there(&mut self) -> bool {
        self.peer.read();
        self.peer.is_open()
    }

    /// Gives it a step to run.
    pub fn give(&mut self, job: &Job) {
        self.peer.send(job);
        self.peer.flush();
    }

    /// Asks it to end the step; it may have, so that the request is left over and it can take no other step.
    pub fn cancel(&mut self) {
        self.cancelled = true;
        // Any message does; while a step runs it reads no other.
        self.peer.send(&true);
    }

    /// Whether it was asked to end its step.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }
}
