//! `step`: runs steps, one after the other, for the supervisor at the other end of its standard input, and reaps all that they
//! start. Once a step leaves processes behind, it stays with those and runs no other.

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    os::fd::AsFd,
    path::Path,
    time::{Duration, Instant},
};

use arl_agent::{
    frame::{self, Frames, TO_AGENT_MAX},
    message::{Action, StepEnd},
};

use crate::{
    command, file,
    job::{Done, Job},
    records::{Partial, Records},
};

/// Runs the jobs on standard input, answers there, and stays as long as there are processes that a step left behind.
/// What steps print is noted in the volume at `directory`.
pub fn step(directory: &Path) -> Result<(), String> {
    let control = std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    let mut control = File::from(control);
    let mut records = None;
    while let Some(job) = receive(&mut control)? {
        let deadline = Instant::now() + Duration::from_millis(job.remaining_ms);
        let running = match enter(&job) {
            Err(end) => Err(end),
            Ok(()) => match &job.step.action {
                Action::File { path, content } => {
                    let written = file::write(path, content.as_bytes());
                    Err(written.map_or_else(StepEnd::NotWritten, |()| StepEnd::Written))
                }
                Action::Command(arguments) => command::start(arguments, &job.step.env),
            },
        };
        match running {
            Err(end) => answer(&mut control, &Done::without_output(end))?,
            Ok(mut command) => {
                let mut note = |partial: Partial| {
                    // For whoever follows the step, and for the case that the container dies: a full volume must not end a step.
                    let partial = Partial { index: Some(job.index), ..partial };
                    let open = records.take().or_else(|| Records::open(directory).ok());
                    records = open.filter(|records| records.write_partial(&job.run, &partial).is_ok());
                };
                let done = command.follow(&control, deadline, &mut note);
                answer(&mut control, &done)?;
                if !done.is_free {
                    drop(control);
                    command.outlive();
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Goes where the step is to run, which may not be where the one before ran.
fn enter(job: &Job) -> Result<(), StepEnd> {
    // Empty is what a template renders where a value is unset.
    let work_dir = job.step.work_dir.as_deref().filter(|directory| !directory.is_empty());
    let directory = work_dir.map_or_else(|| Path::new(&job.home).to_owned(), |named| Path::new(&job.home).join(named));
    std::env::set_current_dir(&directory).map_err(|error| {
        let what = if work_dir.is_some() { "workDir" } else { "the container's working directory" };
        let message = format!("{what} {}: {error}", directory.display());
        match &job.step.action {
            Action::Command(_) => StepEnd::NotExecutable { code: 126, message },
            Action::File { path, .. } => StepEnd::NotWritten(format!("{path} cannot be written: {message}")),
        }
    })
}

/// Reads a job and not a byte more: what comes while its step runs is the request to end it. None, where there will be no more.
fn receive(control: &mut File) -> Result<Option<Job>, String> {
    let mut frame = vec![0; 4];
    match control.read_exact(&mut frame) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        other => other.map_err(|error| format!("no job can be read, which the supervisor gives: {error}"))?,
    }
    let length = frame.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    frame.resize(4 + length.min(TO_AGENT_MAX), 0);
    control.read_exact(&mut frame[4..]).map_err(|error| error.to_string())?;
    let mut frames = Frames::new(TO_AGENT_MAX);
    frames.push(&frame);
    let job = frames.take().map_err(|error| error.to_string())?;
    job.map(Some).ok_or_else(|| "a job that is too long".into())
}

fn answer(control: &mut File, done: &Done) -> Result<(), String> {
    control.write_all(&frame::encode(done)).map_err(|error| error.to_string())
}
