//! Messages with descriptors, as a keeper gets them from the supervisor.

use std::{
    collections::VecDeque,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use arl_agent::frame::{Frames, TO_AGENT_MAX};

use super::job::Command;
use crate::passing;

const READ: usize = 16 * 1024;

/// What has arrived from the supervisor.
pub struct Inbox {
    stream: UnixStream,
    frames: Frames,
    descriptors: VecDeque<OwnedFd>,
    open: bool,
}

impl Inbox {
    /// The supervisor is at the other end of `stream`.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, frames: Frames::new(2 * TO_AGENT_MAX), descriptors: VecDeque::new(), open: true }
    }

    /// Whether the supervisor is there.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// To wait for what arrives.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Reads once, and waits for it where nothing has arrived.
    pub fn read(&mut self) {
        let mut bytes = [0; READ];
        let Some((read, descriptors)) = passing::receive(&self.stream, &mut bytes) else { return };
        self.open &= read > 0;
        self.descriptors.extend(descriptors);
        self.frames.push(&bytes[..read]);
    }

    /// The next message.
    pub fn take(&mut self) -> Option<Command> {
        let message = self.frames.take();
        self.open &= message.is_ok();
        message.ok().flatten()
    }

    /// The descriptors that came with the job that was taken last.
    pub fn descriptors(&mut self) -> Vec<OwnedFd> {
        self.descriptors.drain(..).collect()
    }

    /// Sends an answer.
    pub fn answer(&mut self, bytes: &[u8]) {
        use std::io::Write;
        self.open &= self.stream.write_all(bytes).is_ok();
    }
}
