//! A client's stream, and the process that was exec'd for it.

use std::{
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use arl_agent::frame::TO_AGENT_MAX;
use nix::poll::PollFlags;

use crate::{passing, peer::Peer};

/// Clients send something every 20 s. A stream that carries nothing for this long has been left behind by a runtime that was
/// restarted.
const SILENCE: Duration = Duration::from_secs(90);

/// A client, from the moment on that the process of its stream is connected.
pub struct Client {
    /// The process: it ends when this is closed, and this is readable when it has ended.
    process: UnixStream,
    /// The stream, once the process has handed it over.
    pub peer: Option<Peer>,
    /// Whether the client has said hello.
    pub greeted: bool,
    heard: Instant,
    open: bool,
}

impl Client {
    /// One whose process will hand over its stream.
    pub fn new(process: UnixStream) -> Self {
        Self { process, peer: None, greeted: false, heard: Instant::now(), open: true }
    }

    /// Whether there is any use in it.
    pub fn is_open(&self) -> bool {
        self.open && Instant::now() < self.due() && self.peer.as_ref().is_none_or(Peer::is_open)
    }

    /// To wait for what the process does.
    pub fn process(&self) -> (BorrowedFd<'_>, PollFlags) {
        (self.process.as_fd(), PollFlags::POLLIN)
    }

    /// The process has handed over its stream, or has ended.
    pub fn look_at_process(&mut self) {
        let Some((_, descriptors)) = passing::receive(&self.process, &mut [0]) else { return };
        match <[OwnedFd; 2]>::try_from(descriptors) {
            Ok([input, output]) if self.peer.is_none() => {
                self.peer = Peer::new(input, Some(output), TO_AGENT_MAX).ok();
                self.open = self.peer.is_some();
            }
            _ => self.open = false,
        }
    }

    /// Reads what the client has sent.
    pub fn read_by(&mut self, scratch: &mut [u8]) {
        if self.peer.as_mut().is_some_and(|peer| peer.read_by(scratch)) {
            self.heard = Instant::now();
        }
    }

    /// When it has been silent for too long.
    pub fn due(&self) -> Instant {
        self.heard + SILENCE
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::fd::AsFd};

    use super::*;

    #[test]
    fn a_stream_is_given_up_when_nothing_was_heard_for_too_long() {
        let (theirs, ours) = UnixStream::pair().unwrap();
        let mut client = Client::new(ours);
        let ((input, mut sender), (_client, output)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
        passing::send(&theirs, &[0], &[input.as_fd(), output.as_fd()]).unwrap();
        client.look_at_process();
        let first_due = client.due();
        assert!(client.peer.is_some() && client.is_open());
        sender.write_all(b"x").unwrap();
        client.read_by(&mut [0; 8]);
        let second_due = client.due();
        assert!(second_due > first_due && client.is_open());
        client.read_by(&mut [0; 8]);
        assert_eq!(client.due(), second_due, "there was nothing to hear");
        client.heard = client.heard.checked_sub(SILENCE).unwrap();
        assert!(!client.is_open());
    }

    #[test]
    fn a_process_that_hands_over_anything_else_is_given_up() {
        for handed_over in [0, 1, 3] {
            let (theirs, ours) = UnixStream::pair().unwrap();
            let mut client = Client::new(ours);
            let input = std::io::stdin();
            passing::send(&theirs, &[0], &vec![input.as_fd(); handed_over]).unwrap();
            client.look_at_process();
            assert!(!client.is_open(), "{handed_over} descriptors");
        }
    }
}
