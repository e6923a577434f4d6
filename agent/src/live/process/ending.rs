//! How a process or a call comes to its end.

use std::time::{Duration, Instant};

use arl_agent::message::{
    error::{Error, Kind},
    live::{Cause, Status},
};

use super::{Process, Work};
use crate::live::{input::Input, job::Command, limit::Limit, outcome::Outcome, stream::Stream};

/// After the end of a process its outputs are read until they are closed, for this long at most: another process may print its last
/// lines. What it printed itself is read however long that takes.
const DRAIN_MAX: Duration = Duration::from_secs(1);

impl Process {
    /// Gives a call up: it finds its input incomplete, and nobody who takes its output.
    pub fn abort(&mut self) {
        self.end_by(0, Cause::Killed);
        self.input.iter_mut().for_each(Input::shut);
        self.outputs.iter_mut().for_each(|output| output.pipe = None);
    }

    /// Has the keeper end it. A keeper that does not is given up.
    pub fn end_by(&mut self, grace_ms: u64, cause: Cause) {
        let kill = Command::Kill { id: self.id, grace_ms, cause };
        self.keeper.iter_mut().for_each(|keeper| keeper.send(&kill));
        if self.is_call() { self.limit.aborted() } else { self.limit.killed(grace_ms, cause) }
    }

    /// What should have ended it by now, where its keeper has not reported that.
    pub fn overdue(&self) -> Option<Cause> {
        self.limit.passed().filter(|_| self.keeper.is_some())
    }

    /// Its end is known.
    pub fn end(&mut self, outcome: Outcome) {
        if self.outcome.is_some() {
            return;
        }
        self.outputs.iter_mut().for_each(Stream::ended);
        self.input.iter_mut().for_each(Input::shut);
        self.outcome = Some((outcome, Instant::now()));
        self.limit = Limit::default();
    }

    /// The keeper is gone without a word, or was given up after what should have ended the process.
    pub fn lost(&mut self, cause: Option<Cause>) {
        let message = match cause {
            None => "the agent's process that kept it was killed",
            Some(_) => "the agent's process that kept it was stopped, and did not end it in time",
        };
        let outcome = match self.work {
            Work::Process { .. } if self.pid.is_some() => {
                Outcome::Exited { status: Status::Lost(message.into()), cause, survivors: Vec::new() }
            }
            _ => Outcome::Failed(Error::new(Kind::Lost, message)),
        };
        self.end(outcome);
    }

    /// When it needs attention.
    pub fn due(&self) -> Option<Instant> {
        let next = match &self.outcome {
            Some((_, ended)) => Some(*ended + DRAIN_MAX).filter(|due| !self.drained && Instant::now() < *due),
            None => self.alone_until(),
        };
        next.into_iter().chain(self.limit.due().filter(|_| self.keeper.is_some())).min()
    }

    fn alone_until(&self) -> Option<Instant> {
        let Work::Process { alone: Some(alone), .. } = self.work else { return None };
        self.alone_since.and_then(|since| since.checked_add(alone))
    }

    /// Whether nobody has followed it for as long as it may go on alone; says so once.
    pub fn is_abandoned(&mut self) -> bool {
        let is_abandoned = self.is_running() && self.alone_until().is_some_and(|due| Instant::now() >= due);
        if is_abandoned {
            self.alone_since = None;
        }
        is_abandoned
    }

    /// Looks whether all was read that is to be.
    pub fn settle(&mut self) {
        let Some((outcome, ended)) = &self.outcome else { return };
        let is_late = ended.elapsed() >= DRAIN_MAX || matches!(outcome, Outcome::Failed(_));
        self.drained |= self.outputs.iter().all(|output| output.is_read(is_late));
        if self.drained && self.keeper.is_none() {
            // Nobody who could print is left.
            self.outputs.iter_mut().for_each(|output| output.pipe = None);
        }
    }
}
