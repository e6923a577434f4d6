//! Standard input on its way to a process: received in order, each byte once, never more than there is room for.

use std::{
    collections::VecDeque,
    fs::File,
    io::{ErrorKind, Write},
    os::fd::{AsFd, BorrowedFd},
};

use arl_agent::message::live::WINDOW;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A client that has so much more on its way than it knows to have arrived may wait to hear of that, whatever room there is.
pub const UNTOLD_MAX: u64 = WINDOW as u64 / 4 * 3;

/// Input that was received and not yet written.
#[derive(Debug)]
pub struct Input {
    /// The way to the process, until it is closed.
    pipe: Option<File>,
    queue: VecDeque<u8>,
    received: u64,
    granted: u64,
    /// Where it ends, once that is known.
    end: Option<u64>,
    /// What closes it; a terminal is not closed but told.
    terminal: bool,
}

/// What a terminal takes for the end of input.
const END_OF_TRANSMISSION: u8 = 4;

impl Input {
    /// For a process that reads from `pipe`, with room for `room` bytes.
    pub fn new(pipe: File, terminal: bool, room: usize) -> Self {
        Self { pipe: Some(pipe), queue: VecDeque::new(), received: 0, granted: room as u64, end: None, terminal }
    }

    /// How many bytes were received, and up to where there is room.
    pub fn room(&self) -> (u64, u64) {
        (self.received, self.granted)
    }

    /// How many bytes wait here, or may still be sent.
    pub fn promised(&self) -> usize {
        self.queue.len().saturating_add(usize::try_from(self.granted - self.received).unwrap_or(usize::MAX))
    }

    /// Whether somebody may still read it.
    pub fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Whether all of it was received and passed on.
    pub fn is_complete(&self) -> bool {
        self.end == Some(self.received) && self.queue.is_empty()
    }

    /// What to wait for: room for what is to be written, or that nobody reads it any more. A terminal is waited for where it is
    /// read.
    pub fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let flags = if self.queue.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
        self.pipe.as_ref().filter(|_| !self.terminal || !flags.is_empty()).map(|pipe| (pipe.as_fd(), flags))
    }

    /// Takes bytes that belong at `offset`; what was received before is passed over. False: they are not what may come now.
    pub fn push(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let until = offset.saturating_add(bytes.len() as u64);
        if offset > self.received || until > self.granted || self.end.is_some_and(|end| until > end) {
            return false;
        }
        let known = usize::try_from(self.received - offset).unwrap_or(usize::MAX);
        let mut new = bytes.get(known..).unwrap_or_default();
        self.received += new.len() as u64;
        if self.queue.is_empty() {
            let written = self.write_now(new);
            new = &new[written..];
        }
        if self.pipe.is_some() {
            self.queue.extend(new);
        }
        true
    }

    /// There is no more behind `offset`. False: that cannot be.
    pub fn close(&mut self, offset: u64) -> bool {
        if offset != self.received || self.end.is_some_and(|end| end != offset) {
            return false;
        }
        if self.end.is_none() && self.terminal && self.pipe.is_some() {
            self.queue.push_back(END_OF_TRANSMISSION);
        }
        self.end = Some(offset);
        true
    }

    /// Something has happened at the other end while nothing is to be written: a pipe that nobody reads any more is closed.
    pub fn look(&mut self) {
        let Some(pipe) = self.pipe.as_ref().filter(|_| self.queue.is_empty() && !self.terminal) else { return };
        let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
        if poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
            self.pipe = None;
        }
    }

    /// Writes as much as there is room for. True: that was the last of all, and the other end reads the end of it.
    pub fn write(&mut self) -> bool {
        while self.pipe.is_some() && !self.queue.is_empty() {
            let mut queue = std::mem::take(&mut self.queue);
            let written = self.write_now(queue.as_slices().0);
            queue.drain(..written);
            self.queue = queue;
            if written == 0 {
                break;
            }
        }
        if self.pipe.is_none() {
            self.queue = VecDeque::new();
        } else if self.queue.is_empty() && self.end.is_some() && !self.terminal {
            self.pipe = None;
            return true;
        }
        false
    }

    /// Writes what there is room for; a pipe that nobody reads is closed.
    fn write_now(&mut self, bytes: &[u8]) -> usize {
        let Some(pipe) = &mut self.pipe else { return 0 };
        loop {
            match pipe.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(written) if written > 0 || bytes.is_empty() => return written,
                _ => {
                    self.pipe = None;
                    return 0;
                }
            }
        }
    }

    /// Nobody will read it any more.
    pub fn shut(&mut self) {
        (self.pipe, self.queue) = (None, VecDeque::new());
    }

    /// Makes room, once there is a quarter of `room` more than before, or enough for a message in any case: one for each byte would be many.
    pub fn grant(&mut self, room: usize) {
        let until = self.received + room.saturating_sub(self.queue.len()) as u64;
        if until >= self.granted + (room as u64 / 4).clamp(1, UNTOLD_MAX) {
            self.granted = until;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        /// However a client cuts and repeats it, each byte arrives once and in order, and no more is held than was granted.
        #[test]
        fn fuzz_input_arrives_once(pieces in vec((0..300_u64, 0..80_usize), 0..30), room in 1..100_usize) {
            let (mut reader, writer) = std::io::pipe().unwrap();
            let mut input = Input::new(File::from(std::os::fd::OwnedFd::from(writer)), false, room);
            let byte = |at: u64| u8::try_from(at % 251).unwrap();
            for (offset, length) in pieces {
                let bytes: Vec<u8> = (offset..offset + length as u64).map(byte).collect();
                let (received, granted) = input.room();
                let fits = offset <= received && offset + length as u64 <= granted;
                prop_assert_eq!(input.push(offset, &bytes), fits);
                prop_assert!(input.queue.len() <= room);
                input.write();
                prop_assert!(input.is_open());
                input.grant(room);
            }
            let total = input.room().0;
            prop_assert!(!input.write() && !input.close(total + 1) && input.close(total));
            prop_assert!(input.write());
            prop_assert!(input.is_complete());
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            prop_assert_eq!(read, (0..total).map(byte).collect::<Vec<_>>());
        }
    }
}
