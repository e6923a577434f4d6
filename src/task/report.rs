//! The report on a finished Task, and how it is made to fit. Pure.

use std::iter::repeat;

use arl_crds::{
    Step, StepState, StepStatus, StepType, TaskState, TaskStatus, condition::Truth, duration, reason::TaskReason,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{
    decision::Verdict,
    observe::Observed,
    status::{base, untouched, with_conditions},
};
use crate::{
    output,
    runs::{StepEnd, StepRun},
};

/// How much of a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// With outputs that take so much, JSON-encoded.
    Outputs(usize),
    /// The end and its reason, without steps.
    Verdict,
}

/// What a report has; then what to try where the API server calls that too large.
pub(super) const EXTENTS: [Extent; 5] = [
    Extent::Outputs(output::RUN_MAX),
    Extent::Outputs(128 * 1024),
    Extent::Outputs(16 * 1024),
    Extent::Outputs(0),
    Extent::Verdict,
];

/// The exit code of a command that the timeout ended, as timeout(1) has it.
const TIMED_OUT: i32 = 124;

/// The whole status, with all the output that was kept.
pub(super) fn finished(observed: &Observed, verdict: &Verdict, runs: &[StepRun], now: Timestamp) -> TaskStatus {
    let runs_or_none = runs.iter().map(Some).chain(repeat(None));
    let steps: Vec<(&Step, Option<&StepRun>)> = observed.row.task.spec.steps.iter().zip(runs_or_none).collect();
    let mut status = base(observed);
    let succeeded = verdict.reason == TaskReason::Succeeded;
    status.state = Some(if succeeded { TaskState::Succeeded } else { TaskState::Failed });
    let ended_at = ended_at(observed, runs, now).max(status.started_at.as_ref().map_or(Timestamp::MIN, |at| at.0));
    status.blame = verdict.blame;
    status.completed_at = Some(MicroTime(ended_at));
    let took = status.started_at.as_ref().map(|at| ended_at.duration_since(at.0));
    status.duration = took.map(|t| duration::display(std::time::Duration::try_from(t).unwrap_or_default()));
    let reported = |(spec, run): &(&Step, Option<&StepRun>)| match run {
        Some(run) => ended(&spec.name, spec.type_, run, verdict, ended_at),
        None if runs.is_empty() && observed.was_started() => unknown(&spec.name, verdict, ended_at),
        None => untouched(&spec.name, StepState::Skipped),
    };
    let last = steps.iter().rfind(|(_, run)| run.is_some()).or(steps.first());
    status.step = last.filter(|_| observed.was_started()).map(|(spec, _)| spec.name.clone());
    if let Some(command) = steps.iter().rfind(|(spec, run)| run.is_some() && spec.type_ == StepType::Command) {
        let step = reported(command);
        (status.stdout, status.stderr, status.exit_code) = (step.stdout, step.stderr, step.exit_code);
        status.truncated = step.truncated;
    }
    status.steps = steps.iter().map(reported).collect();
    let message = match status.steps.iter().find(|s| s.state == StepState::Failed) {
        Some(step) if verdict.reason == TaskReason::StepFailed => format!("step {}: {}", step.name, verdict.message),
        _ => verdict.message.clone(),
    };
    with_conditions(observed, status, (Truth::True, succeeded.into()), (verdict.reason, &message), now)
}

/// When it ended: in the pod, as far as that was heard, however much later it is noticed. By a clock that was set back, or another operator's, that
/// may be before it was started.
fn ended_at(observed: &Observed, runs: &[StepRun], now: Timestamp) -> Timestamp {
    let heard = observed.run.as_ref().and_then(|run| run.ended.as_ref()).map_or(now, |ended| ended.at);
    runs.last().and_then(|run| run.ended_at).unwrap_or(heard)
}

/// A step that was started.
fn ended(name: &str, type_: StepType, run: &StepRun, verdict: &Verdict, at: Timestamp) -> StepStatus {
    let mut step = untouched(name, StepState::Failed);
    step.started_at = Some(MicroTime(run.started_at));
    step.completed_at = Some(MicroTime(run.ended_at.unwrap_or(at).max(run.started_at)));
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
        Some(StepEnd::NotWritten(_) | StepEnd::StartError(_) | StepEnd::NotDelivered(_)) | None => {}
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

/// Reduces a report; whether anything was left out.
pub(super) fn reduce(status: &mut TaskStatus, extent: Extent) -> bool {
    match extent {
        Extent::Outputs(budget) => fit(status, budget),
        Extent::Verdict => !std::mem::take(&mut status.steps).is_empty(),
    }
}

/// What a mark of what was left out takes at most, JSON-encoded.
const MARK_MAX: usize = 49;

/// Shortens the outputs of `status` until they fit `budget`, JSON-encoded, the copies at the top included. All are held to the
/// same length, the largest that does; what is shorter stays whole. Whether anything was cut.
fn fit(status: &mut TaskStatus, budget: usize) -> bool {
    let texts: Vec<&str> = outputs(status).collect();
    let size = |cap: usize| texts.iter().map(|text| size_of(text, cap)).sum::<usize>();
    // A byte takes one at least, so that no more than the budget is measured at a time.
    let longest = texts.iter().map(|text| text.len()).max().unwrap_or_default();
    let cap = largest(longest, |cap| texts.iter().map(|text| text.len().min(cap)).sum::<usize>() <= budget);
    let cap = largest(cap, |cap| size(cap) <= budget);
    shorten(status, cap)
}

/// The largest number up to `max` for which it holds, where it holds for 0 and for all that are smaller.
fn largest(max: usize, holds: impl Fn(usize) -> bool) -> usize {
    if holds(max) {
        return max;
    }
    let (mut low, mut high) = (0, max);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if holds(middle) { low = middle } else { high = middle }
    }
    low
}

fn outputs(status: &TaskStatus) -> impl Iterator<Item = &str> {
    let steps = status.steps.iter().flat_map(|s| [&s.stdout, &s.stderr]);
    [&status.stdout, &status.stderr].into_iter().chain(steps).flatten().map(String::as_str)
}

/// What `text` takes at most once it is cut to `cap`.
fn size_of(text: &str, cap: usize) -> usize {
    match cap {
        0 => 0,
        _ if text.len() <= cap => encoded(text.as_bytes()),
        _ => {
            let (head, tail) = output::ends(text, cap);
            encoded(head.as_bytes()) + MARK_MAX + encoded(tail.as_bytes())
        }
    }
}

/// What these bytes of a string take in JSON.
fn encoded(bytes: &[u8]) -> usize {
    let size = |byte: &u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    bytes.iter().map(size).sum()
}

fn shorten(status: &mut TaskStatus, cap: usize) -> bool {
    let mut any = false;
    for text in [&mut status.stdout, &mut status.stderr].into_iter().flatten() {
        if cut(text, cap) {
            (status.truncated, any) = (Some(true), true);
        }
    }
    for step in &mut status.steps {
        let mut shortened = false;
        for text in [&mut step.stdout, &mut step.stderr].into_iter().flatten() {
            shortened |= cut(text, cap);
        }
        if shortened {
            (step.truncated, any) = (Some(true), true);
        }
    }
    any
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
    use crate::output::{HEAD, RUN_MAX, TAIL};

    fn fit(whole: &TaskStatus, budget: usize) -> TaskStatus {
        let mut status = whole.clone();
        super::fit(&mut status, budget);
        status
    }

    const MARK: &str = " bytes left out ...]\n";

    fn status(outputs: &[String], copied: bool) -> TaskStatus {
        let step = |(i, text): (usize, &String)| StepStatus {
            stdout: Some(text.clone()),
            stderr: Some("y".repeat(10)),
            ..untouched(&format!("s{i}"), StepState::Succeeded)
        };
        TaskStatus {
            steps: outputs.iter().enumerate().map(step).collect(),
            stdout: outputs.last().filter(|_| copied).cloned(),
            ..TaskStatus::default()
        }
    }

    fn size(status: &TaskStatus) -> usize {
        outputs(status).map(|text| serde_json::to_string(text).unwrap().len() - 2).sum()
    }

    #[test]
    fn outputs_are_made_to_fit_and_say_so() {
        let full = status(&vec!["\u{1}".repeat(60_000); 8], true);
        for budget in [RUN_MAX, 128 * 1024, 16 * 1024, 0] {
            let fitted = fit(&full, budget);
            assert!(size(&fitted) <= budget, "{budget}: {}", size(&fitted));
            assert_eq!((fitted.steps[0].truncated, fitted.truncated), (Some(true), Some(true)));
        }
        let small = TaskStatus { steps: vec![untouched("s", StepState::Succeeded)], ..TaskStatus::default() };
        assert_eq!(fit(&small, RUN_MAX), small);
    }

    #[test]
    fn as_much_is_kept_as_fits() {
        let printed = |unit: &str| unit.repeat(HEAD + TAIL).chars().take(HEAD + TAIL).collect::<String>();
        for (unit, what) in [("x", "letters"), ("a line of text\n", "lines"), ("\"\\", "quotes"), ("\u{1}", "control")]
        {
            for count in [8, 20, 64] {
                let full = status(&vec![printed(unit); count], true);
                let fitted = fit(&full, RUN_MAX);
                let (least, most) = (RUN_MAX - 512 * count.min(16), RUN_MAX);
                assert!((least..=most).contains(&size(&fitted)), "{count} of {what}: {}", size(&fitted));
            }
        }
    }

    #[test]
    fn what_is_short_is_not_cut_for_what_is_long() {
        let mut outputs = vec!["x".repeat(HEAD + TAIL); 20];
        outputs.push("short".repeat(1000));
        let fitted = fit(&status(&outputs, true), RUN_MAX);
        assert_eq!(fitted.steps[20].stdout.as_deref(), Some(outputs[20].as_str()));
        assert_eq!((fitted.stdout.as_ref(), fitted.steps[20].truncated), (outputs.last(), None));
        assert!(fitted.steps[0].stdout.as_ref().unwrap().contains(MARK));
    }

    #[test]
    fn a_task_whose_output_fits_keeps_all_of_it() {
        let full = status(&vec!["x".repeat(HEAD + TAIL - 100); 7], true);
        assert_eq!(fit(&full, RUN_MAX), full);
        let cut = format!("{}\n[... 5000{MARK}{}", "x".repeat(HEAD), "y".repeat(TAIL));
        let cut = status(&[cut], true);
        assert_eq!(fit(&cut, RUN_MAX), cut, "what the stream's own bound left is not cut again");
    }

    #[test]
    fn the_least_that_is_written_is_the_end_and_its_reason() {
        let mut least = status(&["x".repeat(10)], true);
        least.state = Some(TaskState::Failed);
        let left_out = EXTENTS.map(|extent| reduce(&mut least, extent));
        assert_eq!(left_out, [false, false, false, true, true], "where nothing is left out nothing is tried again");
        let (stdout, truncated) = (Some(String::new()), Some(true));
        assert_eq!(least, TaskStatus { state: Some(TaskState::Failed), stdout, truncated, ..TaskStatus::default() });
    }
}
