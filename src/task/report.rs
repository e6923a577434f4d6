//! The report on a finished Task, and how it is made to fit. Pure.

use arl_crds::{
    StepState, StepStatus, StepType, TaskState, TaskStatus, condition::Truth, duration, reason::TaskReason,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{
    observe::Observed,
    plan::Verdict,
    status::{base, untouched, with_conditions},
};
use crate::{
    output::{self, HEAD, TAIL},
    runs::{StepEnd, StepRun},
};

/// What the outputs of a Task may take in its status, JSON-encoded; then what to try where the API server calls that too large.
pub(super) const BUDGETS: [usize; 4] = [512 * 1024, 128 * 1024, 16 * 1024, 0];

/// The exit code of a command that the timeout ended, as timeout(1) has it.
const TIMED_OUT: i32 = 124;

/// The whole status, with all the output that was kept.
pub(super) fn finished(observed: &Observed, verdict: &Verdict, runs: &[StepRun], now: Timestamp) -> TaskStatus {
    let specs = &observed.row.task.spec.steps;
    let mut status = base(observed);
    let succeeded = verdict.reason == TaskReason::Succeeded;
    status.state = Some(if succeeded { TaskState::Succeeded } else { TaskState::Failed });
    status.completed_at = Some(MicroTime(now));
    let took = status.started_at.as_ref().map(|at| now.duration_since(at.0));
    status.duration = took.map(|t| duration::display(std::time::Duration::try_from(t).unwrap_or_default()));
    status.steps = specs
        .iter()
        .enumerate()
        .map(|(i, spec)| match runs.get(i) {
            Some(run) => ended(&spec.name, spec.type_, run, verdict, now),
            None if runs.is_empty() && observed.was_started() => unknown(&spec.name, verdict, now),
            None => untouched(&spec.name, StepState::Skipped),
        })
        .collect();
    status.step = specs.get(runs.len().saturating_sub(1)).filter(|_| observed.was_started()).map(|s| s.name.clone());
    let last_command =
        status.steps.iter().zip(specs).take(runs.len()).rfind(|(_, spec)| spec.type_ == StepType::Command);
    if let Some((step, _)) = last_command {
        let (stdout, stderr, exit_code) = (step.stdout.clone(), step.stderr.clone(), step.exit_code);
        (status.stdout, status.stderr, status.exit_code) = (stdout, stderr, exit_code);
        status.truncated = step.truncated;
    }
    let message = match status.steps.iter().find(|s| s.state == StepState::Failed) {
        Some(step) if verdict.reason == TaskReason::StepFailed => format!("step {}: {}", step.name, verdict.message),
        _ => verdict.message.clone(),
    };
    with_conditions(observed, status, (Truth::True, succeeded.into()), (verdict.reason, &message), now)
}

/// A step that was started.
fn ended(name: &str, type_: StepType, run: &StepRun, verdict: &Verdict, now: Timestamp) -> StepStatus {
    let mut step = untouched(name, StepState::Failed);
    step.started_at = Some(MicroTime(run.started_at));
    step.completed_at = Some(MicroTime(run.ended_at.unwrap_or(now)));
    if type_ == StepType::Command {
        let ((stdout, out_cut), (stderr, err_cut)) = (run.stdout.text(), run.stderr.text());
        (step.stdout, step.stderr) = (Some(stdout), Some(stderr));
        step.truncated = (out_cut || err_cut).then_some(true);
    }
    match &run.end {
        Some(StepEnd::Exited(0) | StepEnd::Written) => {
            step.state = StepState::Succeeded;
            step.exit_code = (type_ == StepType::Command).then_some(0);
            return step;
        }
        Some(StepEnd::Exited(code) | StepEnd::OutOfMemory(code) | StepEnd::NotExecutable { code, .. }) => {
            step.exit_code = Some(*code);
        }
        None if verdict.reason == TaskReason::TimedOut && type_ == StepType::Command => {
            step.exit_code = Some(TIMED_OUT);
        }
        Some(StepEnd::NotWritten(_) | StepEnd::StartError(_)) | None => {}
    }
    step.reason = Some(verdict.reason.as_str().to_owned());
    step.message = Some(verdict.message.clone());
    step
}

/// A step of which nothing is known but that the Task had been started.
fn unknown(name: &str, verdict: &Verdict, now: Timestamp) -> StepStatus {
    let mut step = untouched(name, StepState::Failed);
    step.completed_at = Some(MicroTime(now));
    step.reason = Some(verdict.reason.as_str().to_owned());
    step.message = Some("it may have run; its end is not known".to_owned());
    step
}

/// `status` with its outputs shortened until they fit `budget`, JSON-encoded, the copies at the top included.
pub(super) fn fit(whole: &TaskStatus, budget: usize) -> TaskStatus {
    let (mut cap, mut status) = (HEAD + TAIL, whole.clone());
    while encoded(&status) > budget && cap > 0 {
        cap /= 2;
        // Of the whole each time, so that what is left out is counted once.
        status = whole.clone();
        shorten(&mut status, cap);
    }
    status
}

fn encoded(status: &TaskStatus) -> usize {
    let steps = status.steps.iter().flat_map(|s| [&s.stdout, &s.stderr]);
    let outputs = [&status.stdout, &status.stderr].into_iter().chain(steps).flatten();
    outputs.map(|text| serde_json::to_string(text).map_or(0, |json| json.len())).sum()
}

fn shorten(status: &mut TaskStatus, cap: usize) {
    for text in [&mut status.stdout, &mut status.stderr].into_iter().flatten() {
        if cut(text, cap) {
            status.truncated = Some(true);
        }
    }
    for step in &mut status.steps {
        let mut shortened = false;
        for text in [&mut step.stdout, &mut step.stderr].into_iter().flatten() {
            shortened |= cut(text, cap);
        }
        if shortened {
            step.truncated = Some(true);
        }
    }
}

fn cut(text: &mut String, cap: usize) -> bool {
    match output::shorten(text, cap) {
        Some(_) if cap == 0 => {
            text.clear();
            true
        }
        Some(short) => {
            *text = short;
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_made_to_fit_and_say_so() {
        let step = |i: usize| StepStatus {
            stdout: Some("\u{1}".repeat(60_000)),
            stderr: Some("y".repeat(10)),
            ..untouched(&format!("s{i}"), StepState::Succeeded)
        };
        let full = TaskStatus {
            steps: (0..8).map(step).collect(),
            stdout: Some("\u{1}".repeat(60_000)),
            ..TaskStatus::default()
        };
        for budget in BUDGETS {
            let fitted = fit(&full, budget);
            assert!(encoded(&fitted) <= budget + 2 * 18, "{budget}: {}", encoded(&fitted));
            assert_eq!((fitted.steps[0].truncated, fitted.truncated), (Some(true), Some(true)));
        }
        let small = TaskStatus { steps: vec![untouched("s", StepState::Succeeded)], ..TaskStatus::default() };
        assert_eq!(fit(&small, BUDGETS[0]), small);
    }
}
