//! An output on its way: read from its pipe as far as there is room, and kept.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    os::fd::AsFd,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::buffer::Buffer;

/// What is read at once.
pub const READ: usize = 64 * 1024;

/// More than the buffers of a terminal hold. How much they do cannot be asked for: only the last of them tells.
const TERMINAL_MAX: u64 = 64 * 1024;

/// An output.
#[derive(Default)]
pub struct Stream {
    /// Where it comes from, as long as somebody has the other end.
    pub pipe: Option<File>,
    /// What is kept of it.
    pub buffer: Buffer,
    /// What the pipe held when the process ended: that much is read in any case.
    owed: u64,
    is_terminal: bool,
}

impl Stream {
    /// One that comes from `pipe`.
    pub fn new(pipe: Option<File>) -> Self {
        Self { pipe, ..Self::default() }
    }

    /// One that comes from a terminal.
    pub fn of_terminal(terminal: File) -> Self {
        Self { pipe: Some(terminal), is_terminal: true, ..Self::default() }
    }

    /// How much may be read now, where the slowest client has taken it up to `acknowledged`; without a client it is never held up.
    pub fn room(&self, acknowledged: Option<u64>, share: usize) -> usize {
        let Some(acknowledged) = acknowledged else { return READ };
        let ahead = usize::try_from(self.buffer.end() - acknowledged).unwrap_or(usize::MAX);
        share.saturating_sub(ahead).min(READ)
    }

    /// Reads once as much as there is room for, and keeps it, or nothing of it.
    pub fn read(&mut self, acknowledged: Option<u64>, share: usize, keeps: bool, scratch: &mut [u8]) {
        let room = self.room(acknowledged, share).min(scratch.len());
        let Some(file) = self.pipe.as_mut().filter(|_| room > 0) else { return };
        match file.read(&mut scratch[..room]) {
            Ok(read @ 1..) => {
                self.owed = self.owed.saturating_sub(read as u64);
                if keeps {
                    // What is not acknowledged is kept even where the share has become smaller.
                    let ahead = acknowledged.map_or(0, |from| self.buffer.end() - from);
                    let needed = usize::try_from(ahead).unwrap_or(usize::MAX).saturating_add(read);
                    self.buffer.push(&scratch[..read], if acknowledged.is_some() { share.max(needed) } else { share });
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            // A terminal says so with an error.
            _ => self.pipe = None,
        }
    }

    /// The process has ended.
    pub fn ended(&mut self) {
        let held = |pipe| if self.is_terminal { Some(TERMINAL_MAX) } else { rustix::io::ioctl_fionread(pipe).ok() };
        self.owed = self.pipe.as_ref().and_then(held).unwrap_or_default();
    }

    /// Whether all was read that is to be; `is_late`: other processes are no longer waited for.
    pub fn is_read(&self, is_late: bool) -> bool {
        let Some(pipe) = &self.pipe else { return true };
        is_late && (self.owed == 0 || (self.is_terminal && !is_readable(pipe)))
    }
}

fn is_readable(pipe: &File) -> bool {
    let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
