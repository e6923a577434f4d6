//! What the supervisor and a worker send each other.

use arl_agent::message::{Excerpt, RunId, Step, StepEnd};
use minicbor::{Decode, Encode};

/// What the supervisor asks for.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub struct Job {
    /// The step.
    #[n(0)]
    pub step: Step,
    /// How long it may take, in milliseconds.
    #[n(1)]
    pub remaining_ms: u64,
    /// The run, under whose name what it prints meanwhile is noted.
    #[n(2)]
    pub run: RunId,
    /// The container's working directory, where the step names no other. It is gone to by its name each time: steps may move it
    /// away and make another.
    #[n(3)]
    pub home: String,
    /// Which of the run's steps it is.
    #[n(4)]
    pub index: u32,
}

/// How it went.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// It ended by itself.
    #[n(0)]
    Ended(#[n(0)] StepEnd),
    /// Its time was over.
    #[n(1)]
    TimedOut,
    /// The supervisor asked for its end, or has ended itself.
    #[n(2)]
    Cancelled,
}

/// The answer.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub struct Done {
    /// How it went.
    #[n(0)]
    pub outcome: Outcome,
    /// What it printed.
    #[n(1)]
    pub stdout: Excerpt,
    /// What it printed on standard error.
    #[n(2)]
    pub stderr: Excerpt,
    /// What could not be ended.
    #[n(3)]
    pub survivors: Vec<String>,
    /// Whether nothing is left of the step, so that the process takes another.
    #[n(4)]
    pub is_free: bool,
}

impl Done {
    /// For an end without outputs.
    pub fn without_output(end: StepEnd) -> Self {
        let (stdout, stderr) = (Excerpt::default(), Excerpt::default());
        Self { outcome: Outcome::Ended(end), stdout, stderr, survivors: Vec::new(), is_free: true }
    }
}
