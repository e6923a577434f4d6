//! Until when a keeper is waited for. It runs beside the user's code, which may have stopped it.

use std::time::{Duration, Instant};

use arl_agent::message::live::Cause;

use crate::tree;

/// How long a keeper may take to end a process and all that it started after the grace, and one more second to report it.
const ENDING: Duration = tree::PATIENCE.saturating_add(Duration::from_secs(1));
/// How long a call may go on that was given up: it may wait for a slow file system.
const CALL_ENDING: Duration = Duration::from_secs(60);

/// When a keeper is given up that has not reported the end, and what then ended the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limit(Option<(Instant, Cause)>);

impl Limit {
    /// The process ends after `timeout`, if there is one.
    pub fn timeout(timeout: Option<Duration>, grace_ms: u64) -> Self {
        let due = timeout.and_then(|timeout| Instant::now().checked_add(timeout.saturating_add(ending(grace_ms))));
        Self(due.map(|due| (due, Cause::TimedOut)))
    }

    /// It was asked to end now.
    pub fn killed(&mut self, grace_ms: u64, cause: Cause) {
        self.shorten(ending(grace_ms), cause);
    }

    /// It is a call that was given up.
    pub fn aborted(&mut self) {
        self.shorten(CALL_ENDING, Cause::Killed);
    }

    /// The first of all is the one that counts.
    fn shorten(&mut self, left: Duration, cause: Cause) {
        let due = Instant::now().checked_add(left).map(|due| (due, cause));
        self.0 = self.0.into_iter().chain(due).min_by_key(|(due, _)| *due);
    }

    /// When it passes.
    pub fn due(self) -> Option<Instant> {
        self.0.map(|(due, _)| due)
    }

    /// Whether it has passed, and what ended the process.
    pub fn passed(self) -> Option<Cause> {
        self.0.filter(|(due, _)| Instant::now() >= *due).map(|(_, cause)| cause)
    }
}

fn ending(grace_ms: u64) -> Duration {
    Duration::from_millis(grace_ms).saturating_add(ENDING)
}
