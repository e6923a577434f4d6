//! How a process or a call ended.

use std::time::Duration;

use arl_agent::message::{
    error::Error,
    file::Success,
    live::{Cause, End, Event, Id, Status},
};

/// How it ended.
#[derive(Debug)]
pub enum Outcome {
    /// The process ended.
    Exited { status: Status, cause: Option<Cause>, survivors: Vec<String> },
    /// The call is done.
    Done(Success),
    /// It was not started, or the call failed.
    Failed(Error),
}

impl Outcome {
    /// The event that says so, with how many bytes were printed, and how long ago it was started and ended.
    pub fn event(&self, id: Id, totals: [u64; 2], ago: [Duration; 2]) -> Event {
        match self {
            Self::Failed(error) => Event::Failed { id, error: error.clone() },
            Self::Done(result) => Event::Done { id, result: result.clone() },
            Self::Exited { status, cause, survivors } => {
                let (status, survivors) = (status.clone(), survivors.clone());
                let ([stdout, stderr], [started_ago_us, ended_ago_us]) = (totals, ago.map(micros));
                let end = End { status, cause: *cause, survivors, stdout, stderr, started_ago_us, ended_ago_us };
                Event::Ended { id, end }
            }
        }
    }
}

/// A time as messages have it.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
