//! How processes end, and what they leave.

use std::time::{Duration, SystemTime};

use arl_agent::message::{
    error::{Error as Remote, Kind},
    live::{Cause, End, Output, Status},
};

use crate::error::Error;

/// Bytes of an output that are not there any more, because nobody followed the process while it printed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Of which output.
    pub output: Output,
    /// The first byte.
    pub from: u64,
    /// The byte after the last.
    pub until: u64,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The code that it exited with, or 128 and the number of the signal that ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What ended it, if that was not itself.
    pub cause: Option<Cause>,
    /// Processes that it started and that could not be ended.
    pub survivors: Vec<String>,
    /// When it was started, by this machine's clock.
    pub started_at: SystemTime,
    /// When it ended.
    pub ended_at: SystemTime,
}

impl Exit {
    pub(super) fn of(end: End) -> Result<Self, Error> {
        let (code, signal) = match end.status {
            Status::Exited(code) => (code, None),
            Status::Signalled(signal) => (signal.saturating_add(128), Some(signal)),
            Status::Lost(message) => {
                let message = format!("how the process ended is not known: {message}");
                return Err(Error::Remote(Remote::new(Kind::Lost, message)));
            }
        };
        let now = SystemTime::now();
        let ago = |micros| now.checked_sub(Duration::from_micros(micros)).unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(Self {
            code,
            signal,
            cause: end.cause,
            survivors: end.survivors,
            started_at: ago(end.started_ago_us),
            ended_at: ago(end.ended_ago_us),
        })
    }

    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.code == 0 && self.cause.is_none()
    }
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub exit: Exit,
    /// What it printed on standard output, up to [`Command::keep`](crate::Command::keep).
    pub stdout: Vec<u8>,
    /// What it printed on standard error, up to [`Command::keep`](crate::Command::keep).
    pub stderr: Vec<u8>,
    /// How many bytes it printed, standard output and standard error.
    pub printed: [u64; 2],
    /// What it printed and is not there any more. Behind the thousandth, the last one reaches to the end of those that follow.
    pub gaps: Vec<Gap>,
}

impl Finished {
    /// Standard output as text.
    pub fn stdout_text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// Standard error as text.
    pub fn stderr_text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.stderr)
    }

    /// Whether some of the output is not there.
    pub fn is_truncated(&self) -> bool {
        self.printed != [self.stdout.len() as u64, self.stderr.len() as u64]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An agent may say anything.
    #[test]
    fn a_signal_of_any_number_has_a_code() {
        for (signal, code) in [(9, 137), (i32::MAX, i32::MAX), (i32::MIN, i32::MIN + 128)] {
            let end = End {
                status: Status::Signalled(signal),
                cause: None,
                stdout: 0,
                stderr: 0,
                started_ago_us: u64::MAX,
                ended_ago_us: u64::MAX,
                survivors: Vec::new(),
            };
            assert_eq!(Exit::of(end).unwrap().code, code);
        }
    }
}
