//! Messages with descriptors: from the supervisor to a keeper.

use std::{
    collections::VecDeque,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use arl_agent::frame::{Frames, TO_AGENT_MAX};
use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    },
};

use super::job::Command;

/// The most descriptors that come with a message.
pub const DESCRIPTORS_MAX: usize = 3;
const READ: usize = 16 * 1024;

/// Sends as much of `bytes` as there is room for, and `descriptors` with the first of them; returns how much it was.
pub fn send(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> std::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOBIG.into());
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}

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
        let (mut bytes, mut space) =
            ([0; READ], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))]);
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let read = match recvmsg(&self.stream, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => message.bytes,
            Err(Errno::INTR) => return,
            Err(_) => 0,
        };
        self.open &= read > 0;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
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
