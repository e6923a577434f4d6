//! `step`: runs one step, for the supervisor at the other end of its standard input, and reaps all that the step starts.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use arl_agent::{
    frame::{self, Frames, TO_AGENT_MAX},
    message::{Action, Excerpt, Step, StepEnd},
};
use minicbor::{Decode, Encode};

use crate::{command, file};

/// What the supervisor asks for.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub struct Job {
    /// The step.
    #[n(0)]
    pub step: Step,
    /// How long it may take, in milliseconds.
    #[n(1)]
    pub remaining_ms: u64,
    /// Where to note what it prints meanwhile.
    #[n(2)]
    pub partial: String,
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
    /// The supervisor asked for its end, or is no more.
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
}

impl Done {
    /// For an end without outputs.
    pub fn without_output(end: StepEnd) -> Self {
        let (stdout, stderr) = (Excerpt::default(), Excerpt::default());
        Self { outcome: Outcome::Ended(end), stdout, stderr, survivors: Vec::new() }
    }
}

/// Does what the job on standard input says, answers there, and stays as long as the step left processes behind.
pub fn step() -> Result<(), String> {
    let control = std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    let mut control = File::from(control);
    let job = receive(&mut control)?;
    let deadline = Instant::now() + Duration::from_millis(job.remaining_ms);
    let partial = PathBuf::from(&job.partial);
    let running = match prepare(&job.step) {
        Err(end) => Err(end),
        Ok(()) => match &job.step.action {
            Action::File { path, content } => {
                let written = file::replace(Path::new(path), content.as_bytes());
                Err(written.map_or_else(StepEnd::NotWritten, |()| StepEnd::Written))
            }
            Action::Command(arguments) => command::start(arguments, &job.step.env),
        },
    };
    match running {
        Err(end) => answer(&mut control, &Done::without_output(end)),
        Ok(mut command) => {
            let done = command.follow(&control, deadline, &partial);
            answer(&mut control, &done)?;
            drop(control);
            command.outlive();
            Ok(())
        }
    }
}

fn prepare(step: &Step) -> Result<(), StepEnd> {
    let Some(directory) = &step.work_dir else { return Ok(()) };
    std::env::set_current_dir(directory).map_err(|error| match &step.action {
        Action::Command(_) => StepEnd::NotExecutable { code: 126, words: format!("workDir {directory}: {error}") },
        Action::File { .. } => StepEnd::NotWritten(format!("workDir {directory}: {error}")),
    })
}

/// Reads the job and not a byte more: the next one is the word to end.
fn receive(control: &mut File) -> Result<Job, String> {
    let mut frame = vec![0; 4];
    control
        .read_exact(&mut frame)
        .map_err(|error| format!("called without a job, which the supervisor gives: {error}"))?;
    let length = frame.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    frame.resize(4 + length.min(TO_AGENT_MAX), 0);
    control.read_exact(&mut frame[4..]).map_err(|error| error.to_string())?;
    let mut frames = Frames::new(TO_AGENT_MAX);
    frames.push(&frame);
    frames.take().map_err(|error| error.to_string())?.ok_or_else(|| "a job that is too long".into())
}

fn answer(control: &mut File, done: &Done) -> Result<(), String> {
    control.write_all(&frame::encode(done)).map_err(|error| error.to_string())
}
