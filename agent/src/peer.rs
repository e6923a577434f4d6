//! Whoever is at the other end of a socket or of two pipes: a client, a worker or a keeper. Nobody is waited for.

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::{Command, Stdio},
};

use arl_agent::frame::{self, Frames};
use minicbor::{Decode, Encode};
use nix::poll::PollFlags;

use crate::{children::spawn, limits};

/// One that does not read what it is sent is given up here; a client that comes back gets everything again. It is memory of the
/// container.
const OUTGOING_MAX: usize = 4 * 1024 * 1024;
const READ: usize = 16 * 1024;
/// Memory that is kept for the next messages.
const KEPT: usize = 256 * 1024;

/// Whether a process of the agent's own user is at the other end.
pub fn is_own(stream: &UnixStream) -> bool {
    let peer = rustix::net::sockopt::socket_peercred(stream);
    peer.is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

/// Two ways for messages, or one socket for both.
pub struct Peer {
    input: File,
    /// Where it is not the same as the input.
    output: Option<File>,
    incoming: Frames,
    outgoing: Vec<u8>,
    open: bool,
}

impl Peer {
    /// Starts this program as `role`, to work for this process at the other end of its standard input, with the volume at `directory`;
    /// returns its number too. Messages received have at most `max` bytes.
    pub fn start(role: &str, directory: &Path, max: usize) -> std::io::Result<(i32, Self)> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(role)
            .arg(directory)
            .args(limits::given())
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = spawn(&mut command)?;
        Ok((i32::try_from(child.id()).unwrap_or_default(), Self::new(ours.into(), None, max)?))
    }

    /// Messages received from `input` have at most `max` bytes; what is sent goes to `output`, or back where there is none.
    pub fn new(input: OwnedFd, output: Option<OwnedFd>, max: usize) -> std::io::Result<Self> {
        for end in output.iter().chain([&input]) {
            rustix::io::ioctl_fionbio(end, true)?;
        }
        let (input, output) = (File::from(input), output.map(File::from));
        Ok(Self { input, output, incoming: Frames::new(max).keeping(KEPT), outgoing: Vec::new(), open: true })
    }

    /// Whether there is any use in it.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Where it is sent to.
    pub fn output(&self) -> &File {
        self.output.as_ref().unwrap_or(&self.input)
    }

    /// How many bytes wait to be sent.
    pub fn backlog(&self) -> usize {
        self.outgoing.len()
    }

    /// What to wait for, beside [`Peer::room`].
    pub fn interest(&self) -> (BorrowedFd<'_>, PollFlags) {
        let both = if self.output.is_none() { self.writing() } else { PollFlags::empty() };
        (self.input.as_fd(), PollFlags::POLLIN | both)
    }

    /// What to wait for where there is something left to send to an output of its own.
    pub fn room(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        self.output.as_ref().filter(|_| self.backlog() > 0).map(|output| (output.as_fd(), self.writing()))
    }

    fn writing(&self) -> PollFlags {
        if self.outgoing.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT }
    }

    /// Sends a message, now or when there is room.
    pub fn send<M: Encode<()>>(&mut self, message: &M) {
        if self.open {
            frame::append(message, &mut self.outgoing);
        }
        self.open &= self.outgoing.len() <= OUTGOING_MAX;
    }

    /// Sends frames.
    pub fn send_frames(&mut self, frames: &[u8]) {
        self.outgoing.extend_from_slice(frames);
        self.open &= self.outgoing.len() <= OUTGOING_MAX;
    }

    /// Writes as much as there is room for.
    pub fn flush(&mut self) {
        while self.open && !self.outgoing.is_empty() {
            match self.output().write(&self.outgoing) {
                Ok(written @ 1..) => drop(self.outgoing.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => self.open = false,
            }
        }
        if self.outgoing.is_empty() && self.outgoing.capacity() > KEPT {
            self.outgoing = Vec::new();
        }
    }

    /// Gives back the memory that is kept for the next messages.
    pub fn shrink(&mut self) {
        self.incoming.shrink();
        if self.outgoing.is_empty() {
            self.outgoing = Vec::new();
        }
    }

    /// Reads what has arrived, a bounded amount of it; it is then in [`Peer::take`].
    pub fn read(&mut self) {
        self.read_by(&mut [0; READ]);
    }

    /// The same, as much as there is room for in `buffer`; whether there was anything.
    pub fn read_by(&mut self, buffer: &mut [u8]) -> bool {
        match self.input.read(buffer) {
            Ok(read @ 1..) => {
                self.incoming.push(&buffer[..read]);
                return true;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            _ => self.open = false,
        }
        false
    }

    /// The next message; one that cannot be read ends the connection.
    pub fn take<M: for<'b> Decode<'b, ()>>(&mut self) -> Option<M> {
        let message = self.incoming.take();
        self.open &= message.is_ok();
        message.ok().flatten()
    }

    /// Sends what is left as far as there is room, then no more.
    pub fn close(&mut self) {
        self.flush();
        self.open = false;
    }
}
