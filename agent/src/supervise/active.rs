//! The run in progress: one at a time, one step at a time.

use std::time::{Duration, Instant};

use arl_agent::message::{RunEnd, RunMessage, Start, StepEnd};

use crate::{
    command::GRACE,
    job::{Done, Job, Outcome},
    tree,
};

/// How long a worker may take to end everything at its deadline or on request, and one more second to report it.
const ENDING: Duration = GRACE.saturating_add(tree::PATIENCE).saturating_add(Duration::from_secs(1));

/// A run that ends sooner than this is not announced before: one message less on its way to the operator.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(50);

/// The run in progress.
pub struct Active {
    /// What is to be done.
    pub start: Start,
    index: usize,
    started: Instant,
    step_started: Instant,
    cancelled: bool,
    announced: bool,
    /// When the worker must have answered.
    limit: Instant,
}

/// What follows from the end of a step.
pub enum Next {
    /// The next one is to be started.
    Step,
    /// The run has ended.
    End(RunEnd),
}

impl Active {
    /// A run that starts now.
    pub fn new(start: Start) -> Self {
        let now = Instant::now();
        Self { start, index: 0, started: now, step_started: now, cancelled: false, announced: false, limit: now }
    }

    /// The message that it was started.
    pub fn started(&self) -> RunMessage {
        RunMessage::Started { run: self.start.run.clone(), ago_us: micros(self.started.elapsed()) }
    }

    fn remaining(&self) -> Duration {
        Duration::from_millis(self.start.timeout_ms).saturating_sub(self.started.elapsed())
    }

    /// The step whose turn it is, which begins now.
    pub fn next_job(&mut self, home: &str) -> Result<Job, StepEnd> {
        let Some(step) = self.start.steps.get(self.index).cloned() else {
            return Err(StepEnd::StartError("there is no such step".into()));
        };
        self.step_started = Instant::now();
        let remaining = self.remaining();
        self.limit = Instant::now() + remaining + ENDING;
        Ok(Job {
            step,
            remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
            run: self.start.run.clone(),
            home: home.to_owned(),
            index: u32::try_from(self.index).unwrap_or(u32::MAX),
        })
    }

    /// Notes that it is to end.
    pub fn cancel(&mut self) {
        self.cancelled = true;
        self.limit = self.limit.min(Instant::now() + ENDING);
    }

    /// When it needs attention: to announce it, or to give its worker up.
    pub fn due(&self) -> Instant {
        if self.announced { self.limit } else { self.limit.min(self.started + ANNOUNCE_AFTER) }
    }

    /// Whether the worker has not answered in time.
    pub fn is_overdue(&self) -> bool {
        Instant::now() >= self.limit
    }

    /// The message that it was started, once, when it is due.
    pub fn announcement(&mut self) -> Option<RunMessage> {
        if self.announced || self.started.elapsed() < ANNOUNCE_AFTER {
            return None;
        }
        self.announced = true;
        Some(self.started())
    }

    /// The message about a step that has ended, and what comes then.
    pub fn ended(&mut self, done: Done) -> (RunMessage, Next, Vec<String>) {
        let (end, next) = match done.outcome {
            Outcome::Ended(end) => {
                let last = self.index + 1 >= self.start.steps.len();
                let next = if !end.is_success() || last {
                    Next::End(RunEnd::Completed)
                } else if self.cancelled {
                    Next::End(RunEnd::Cancelled)
                } else if self.remaining().is_zero() {
                    Next::End(RunEnd::TimedOut)
                } else {
                    Next::Step
                };
                (end, next)
            }
            Outcome::TimedOut => (StepEnd::Stopped, Next::End(RunEnd::TimedOut)),
            Outcome::Cancelled => (StepEnd::Stopped, Next::End(RunEnd::Cancelled)),
        };
        let message = RunMessage::Step {
            run: self.start.run.clone(),
            index: u32::try_from(self.index).unwrap_or(u32::MAX),
            started_us: micros(self.step_started - self.started),
            ended_us: micros(self.started.elapsed()),
            end,
            stdout: done.stdout,
            stderr: done.stderr,
        };
        self.index += 1;
        (message, next, done.survivors)
    }

    /// How the run ends whose worker was lost.
    pub fn lost(&self) -> RunEnd {
        if self.cancelled {
            RunEnd::Cancelled
        } else if self.remaining().is_zero() {
            RunEnd::TimedOut
        } else {
            RunEnd::Interrupted("the agent's process that ran the step was killed".into())
        }
    }
}

/// A time as messages have it.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
