//! What the agent's messages about a run mean.
//!
//! They come from a place where the user's code runs: sizes are bounded, order is checked, times are held to reason.

use std::{ops::ControlFlow, time::Duration};

use arl_agent::{
    message::{self, FromAgent},
    output::Output,
};
use arl_client::stream::MESSAGE_MAX;
use arl_crds::text::printable;
use jiff::Timestamp;

use super::{limit::PATIENCE, sent::Sent};
use crate::runs::{Leftovers, Report, RunEnd, StepEnd, StepRun};

/// What an agent means that does not say how a command exited that ran out of memory.
const KILLED: i32 = 137;
/// The most processes that are named.
const NAMED_MAX: usize = 8;

/// Takes what the agent says of a run; breaks with its end.
pub(super) fn take(
    message: FromAgent,
    run: &Sent,
    report: &Report,
    now: Timestamp,
) -> ControlFlow<(RunEnd, Leftovers)> {
    match message {
        FromAgent::Started { ago_us, .. } => begin(report, run, now - within(ago_us, run)),
        FromAgent::Step { index, started_us, ended_us, end, stdout, stderr, .. } => {
            let (started, ended) = (within(started_us, run), within(ended_us, run));
            begin(report, run, now - ended);
            let outputs = (Output::try_from(stdout), Output::try_from(stderr));
            if let (Ok(stdout), Ok(stderr)) = outputs {
                let step = StepReport { index: index as usize, started, ended, end, stdout, stderr };
                end_step(report, step, run.steps);
            }
        }
        FromAgent::Ended { end, survivors, .. } => {
            forget_unbegun(report);
            let left = if matches!(end, message::RunEnd::Abandoned(_)) { Leftovers::Unknown } else { left(&survivors) };
            let end = match run_end(end) {
                RunEnd::Completed if !is_told(report, run.steps) => {
                    RunEnd::Lost("the agent does not say how every step ended".into())
                }
                end => end,
            };
            return ControlFlow::Break((end, left));
        }
        FromAgent::Unknown { .. } => {
            let message = "the pod has no record of the run; code in the sandbox may have removed it";
            return ControlFlow::Break((RunEnd::Lost(message.into()), Leftovers::Unknown));
        }
        FromAgent::Hello { .. } | FromAgent::Refused(_) | FromAgent::Pong | FromAgent::Live(_) => {}
    }
    ControlFlow::Continue(())
}

/// A time span that a run of this Task can have.
fn within(micros: u64, run: &Sent) -> Duration {
    Duration::from_micros(micros).min(run.timeout + PATIENCE)
}

/// What is said takes its time to arrive, so that of several estimates the earliest is the best, what is on record among them.
fn begin(report: &Report, run: &Sent, at: Timestamp) {
    let known = report.lock().started_at;
    match known {
        None => {
            let at = run.started_at.map_or(at, |recorded| recorded.min(at));
            report.lock().steps.push(StepRun::new(at));
            report.started(at);
        }
        Some(known) if at < known => report.lock().start_earlier(known.duration_since(at)),
        Some(_) => {}
    }
}

struct StepReport {
    index: usize,
    started: Duration,
    ended: Duration,
    end: message::StepEnd,
    stdout: Output,
    stderr: Output,
}

/// The step in progress ends, and the next one begins. What was heard before, on an earlier stream, is passed over.
fn end_step(report: &Report, report_of_step: StepReport, steps: usize) {
    let mut progress = report.lock();
    let Some(run_started) = progress.started_at else { return };
    let is_current = progress.steps.len() == report_of_step.index + 1;
    let earliest = progress.steps.iter().rev().find_map(|step| step.ended_at).unwrap_or(run_started);
    let Some(step) = progress.steps.last_mut().filter(|step| is_current && step.ended_at.is_none()) else { return };
    let ended_at = earliest.max(run_started + report_of_step.ended);
    let end = step_end(report_of_step.end);
    let goes_on = end.as_ref().is_some_and(StepEnd::is_success) && report_of_step.index + 1 < steps;
    *step = StepRun {
        started_at: (run_started + report_of_step.started).clamp(earliest, ended_at),
        ended_at: Some(ended_at),
        end,
        stdout: report_of_step.stdout,
        stderr: report_of_step.stderr,
    };
    progress.bound();
    drop(progress);
    if goes_on {
        report.begin_step(ended_at);
    }
}

/// Whether it is known how each step ended, up to one that failed. A full volume, or code in the sandbox, may have spoilt the
/// record, and the steps that are left of it must not pass for all.
fn is_told(report: &Report, steps: usize) -> bool {
    let progress = report.lock();
    let last = progress.steps.last().and_then(|step| step.end.as_ref());
    last.is_some_and(|end| !end.is_success() || progress.steps.len() == steps)
}

/// A step whose turn it was when the run ended, and which was not started.
fn forget_unbegun(report: &Report) {
    let mut progress = report.lock();
    if progress.steps.last().is_some_and(|step| step.ended_at.is_none()) {
        progress.steps.pop();
    }
}

fn step_end(end: message::StepEnd) -> Option<StepEnd> {
    Some(match end {
        message::StepEnd::Exited(code) => StepEnd::Exited(code.clamp(0, 255)),
        message::StepEnd::NotExecutable { code, message } => {
            StepEnd::NotExecutable { code: code.clamp(126, 127), message: bounded(&message) }
        }
        message::StepEnd::OutOfMemory(code) => StepEnd::OutOfMemory(code.unwrap_or(KILLED).clamp(1, 255)),
        message::StepEnd::Written => StepEnd::Written,
        message::StepEnd::NotWritten(message) => StepEnd::NotWritten(bounded(&message)),
        message::StepEnd::StartError(message) => StepEnd::StartError(bounded(&message)),
        message::StepEnd::Stopped => return None,
    })
}

fn run_end(end: message::RunEnd) -> RunEnd {
    match end {
        message::RunEnd::Completed => RunEnd::Completed,
        message::RunEnd::TimedOut => RunEnd::TimedOut,
        message::RunEnd::Cancelled => RunEnd::Cancelled,
        message::RunEnd::Interrupted(message) | message::RunEnd::Abandoned(message) => RunEnd::Lost(bounded(&message)),
        message::RunEnd::Forgotten => RunEnd::Lost("its result was dropped as one that is on record".into()),
    }
}

fn left(survivors: &[String]) -> Leftovers {
    if survivors.is_empty() {
        return Leftovers::None;
    }
    let named: Vec<String> = survivors.iter().take(NAMED_MAX).map(|name| bounded(name)).collect();
    let more = survivors.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Leftovers::Survivors(format!("these processes could not be ended: {}{more}", named.join(", ")))
}

fn bounded(message: &str) -> String {
    printable(message, MESSAGE_MAX)
}

#[cfg(test)]
mod tests;
