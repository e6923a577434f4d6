//! The supervisor's end of a keeper.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use arl_agent::frame::{self, FROM_AGENT_MAX};

use super::job::{Command, Job, Report};
use crate::{passing, peer::Peer};

/// A process that keeps one live process at a time, or does one file call.
pub struct Keeper {
    /// Its number.
    pub pid: i32,
    peer: Peer,
}

impl Keeper {
    /// Starts one.
    pub fn start(directory: &Path) -> std::io::Result<Self> {
        let (pid, peer) = Peer::start("live", directory, FROM_AGENT_MAX)?;
        Ok(Self { pid, peer })
    }

    /// Whether it still waits: one that was killed since its last job is seen here.
    pub fn is_there(&mut self) -> bool {
        self.read();
        self.peer.is_open()
    }

    /// Gives it a job with descriptors; fails where it is gone.
    pub fn give(&mut self, job: Job, descriptors: &[OwnedFd]) -> std::io::Result<()> {
        let frame = frame::encode(&Command::Job(job));
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let sent = passing::send(self.peer.output(), &frame, &descriptors)?;
        self.peer.send_frames(&frame[sent..]);
        self.peer.flush();
        Ok(())
    }

    /// Sends it a request about its job.
    pub fn send(&mut self, command: &Command) {
        self.peer.send(command);
        self.peer.flush();
    }

    /// The way to it.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What it reports, once there is something to read.
    pub fn read(&mut self) {
        self.peer.flush();
        self.peer.read();
    }

    /// The next report.
    pub fn take(&mut self) -> Option<Report> {
        self.peer.take()
    }
}
