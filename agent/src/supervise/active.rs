//! The run in progress: one at a time, one step at a time, each in a process of its own.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use arl_agent::{
    frame::FROM_AGENT_MAX,
    message::{FromAgent, RunEnd, Start, StepEnd},
};

use super::peer::Peer;
use crate::step::{Done, Job, Outcome};

/// How long the process of a step may take to end everything at its deadline or on request.
const ENDING: Duration = Duration::from_secs(5);

/// A run that ends sooner than this is not said to have been started before: one message less on its way to the operator.
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
    /// When the process of the step must have answered.
    limit: Instant,
    /// The process of the step in progress, and the way to it.
    pub process: Option<(i32, Peer)>,
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
        Self {
            start,
            index: 0,
            started: now,
            step_started: now,
            cancelled: false,
            announced: false,
            limit: now,
            process: None,
        }
    }

    /// The word that it was started.
    pub fn started(&self) -> FromAgent {
        FromAgent::Started { run: self.start.run.clone(), ago_us: micros(self.started.elapsed()) }
    }

    fn remaining(&self) -> Duration {
        Duration::from_millis(self.start.timeout_ms).saturating_sub(self.started.elapsed())
    }

    /// Starts the process of the step whose turn it is.
    pub fn start_step(&mut self, partial: &Path) -> Result<(), StepEnd> {
        let Some(step) = self.start.steps.get(self.index).cloned() else {
            return Err(StepEnd::StartError("there is no such step".into()));
        };
        self.step_started = Instant::now();
        let remaining = self.remaining();
        self.limit = Instant::now() + remaining + ENDING;
        let job = Job {
            step,
            remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
            partial: partial.to_string_lossy().into_owned(),
        };
        let process = spawn(&job)
            .map_err(|error| StepEnd::StartError(format!("no process can be started in the container: {error}")))?;
        self.process = Some(process);
        Ok(())
    }

    /// Asks the step in progress to end.
    pub fn cancel(&mut self) {
        self.cancelled = true;
        self.limit = self.limit.min(Instant::now() + ENDING);
        if let Some((_, peer)) = &mut self.process {
            // Any word does; the process listens for nothing else.
            peer.send(&true);
        }
    }

    /// When to look at it again: to announce it, or to give up the process of its step.
    pub fn due(&self) -> Instant {
        if self.announced { self.limit } else { self.limit.min(self.started + ANNOUNCE_AFTER) }
    }

    /// Whether the process of the step has not answered in time.
    pub fn is_overdue(&self) -> bool {
        Instant::now() >= self.limit
    }

    /// The word that it was started, once, when it is due.
    pub fn announcement(&mut self) -> Option<FromAgent> {
        if self.announced || self.started.elapsed() < ANNOUNCE_AFTER {
            return None;
        }
        self.announced = true;
        Some(self.started())
    }

    /// The word on a step that is over, and what comes then.
    pub fn ended(&mut self, done: Done) -> (FromAgent, Next, Vec<String>) {
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
        let message = FromAgent::Step {
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

    /// How the run ends whose step's process was lost.
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

fn spawn(job: &Job) -> std::io::Result<(i32, Peer)> {
    let (ours, theirs) = UnixStream::pair()?;
    let child = Command::new("/proc/self/exe")
        .arg("step")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut peer = Peer::new(ours, 2 * FROM_AGENT_MAX)?;
    peer.send(job);
    peer.flush();
    Ok((i32::try_from(child.id()).unwrap_or_default(), peer))
}

/// A time as messages say it.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
