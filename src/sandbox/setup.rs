//! The setup of a Sandbox: how far it has come, and what is put on record of it. Pure.
//!
//! It is run by a Task of the Sandbox's own, at most once: that Task runs only once its uid is on record here, which nothing rewrites, so
//! that one which is deleted then is never made again.

use arl_crds::{
    SetupStatus, TaskState, TaskStatus,
    condition::{self, Truth, Wanted},
    reason::{SandboxReason, TaskReason},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::observe::Observed;
use crate::{cache::TaskRow, object::Uid};

/// So much of why its Task failed is said on the Sandbox, from its end.
const MESSAGE_MAX: usize = 512;

/// How far the setup of a Sandbox has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is none, or it has succeeded on record.
    Done,
    /// It has succeeded, which is to be put on record before anything follows from it.
    Succeeded,
    /// Its Task is to be made.
    Unmade,
    /// Its Task waits or runs.
    Underway,
    /// Its Task has failed, or is no more.
    Failed,
}

/// How far it has come.
pub(super) fn progress(observed: &Observed) -> Progress {
    if observed.row.is_set_up() {
        return Progress::Done;
    }
    match (observed.row.setup(), observed.setup_task.as_deref()) {
        (Some(recorded), _) if recorded.state == TaskState::Failed => Progress::Failed,
        (None, None) => Progress::Unmade,
        (Some(_), None) => Progress::Failed,
        (_, Some(task)) => match task.state() {
            TaskState::Succeeded => Progress::Succeeded,
            TaskState::Failed => Progress::Failed,
            TaskState::Pending | TaskState::Running => Progress::Underway,
        },
    }
}

/// What is to be on record of it. A Sandbox that gives up its pod for `released` is not set up any more.
pub(super) fn record(observed: &Observed, released: Option<SandboxReason>, now: Timestamp) -> Option<SetupStatus> {
    let recorded = observed.row.setup();
    if let Some(ended) = recorded.filter(|setup| setup.state.is_finished()) {
        return Some(ended.clone());
    }
    let known = observed.setup_task.as_deref().map(of_task).or_else(|| recorded.cloned())?;
    let failed = match released {
        Some(reason) if !known.state.is_finished() => failed(known, reason),
        _ => known,
    };
    let completed_at = failed.state.is_finished().then_some(MicroTime(now));
    Some(SetupStatus { completed_at, ..failed })
}

fn failed(unfinished: SetupStatus, released: SandboxReason) -> SetupStatus {
    let (reason, message) = match released {
        SandboxReason::SetupFailed => {
            (TaskReason::Cancelled.as_str(), "its Task was deleted before its end was on record")
        }
        reason => (reason.as_str(), "the pod was given up before the setup had ended"),
    };
    let (reason, message) = (Some(reason.to_owned()), Some(message.to_owned()));
    SetupStatus { state: TaskState::Failed, reason, message, ..unfinished }
}

fn of_task(row: &TaskRow) -> SetupStatus {
    let status = row.status();
    let state = if row.state().is_finished() { row.state() } else { TaskState::Pending };
    let failure = status.filter(|_| state == TaskState::Failed);
    let why = failure.and_then(|s| condition::find(&s.conditions, "Finished"));
    SetupStatus {
        task: row.task.metadata.name.clone().unwrap_or_default(),
        task_uid: Uid::of(&*row.task).0,
        state,
        step: status.filter(|_| state.is_finished()).and_then(last_step),
        exit_code: status.and_then(|s| s.exit_code),
        reason: why.map(|c| c.reason.clone()),
        message: why.map(|c| tail(&c.message).to_owned()),
        completed_at: None,
    }
}

fn last_step(status: &TaskStatus) -> Option<String> {
    let ran = status.steps.iter().rev().find(|step| step.started_at.is_some()).map(|step| step.name.clone());
    status.step.clone().or(ran)
}

fn tail(message: &str) -> &str {
    &message[message.ceil_char_boundary(message.len().saturating_sub(MESSAGE_MAX))..]
}

/// The condition of a Sandbox that is being set up.
pub(super) fn going_on(observed: &Observed, pod: &str) -> Wanted {
    let message = match observed.setup_task.as_deref().and_then(|row| row.task.metadata.name.as_deref()) {
        Some(task) => {
            format!("pod {pod} is allocated, and Task {task} sets it up; Tasks wait until that has succeeded")
        }
        None => format!("pod {pod} is allocated, and is to be set up; Tasks wait until that has succeeded"),
    };
    Wanted { type_: "Ready", truth: Truth::False, reason: SandboxReason::SettingUp.as_str(), message }
}

/// Why a Sandbox is not what it was to be.
pub(super) fn why_failed(setup: &SetupStatus) -> String {
    let step = setup.step.as_deref().map(|step| format!(", step {step}")).unwrap_or_default();
    let exit = setup.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
    let (reason, message) = (setup.reason.as_deref().unwrap_or_default(), setup.message.as_deref().unwrap_or_default());
    let outputs = setup.step.as_ref().map(|_| format!("; Task {} has the outputs", setup.task)).unwrap_or_default();
    format!(
        "its setup failed ({reason}{step}{exit}): {message}; so the pod was deleted{outputs}; correct spec.setup.steps, or raise \
         spec.setup.timeout, in another Sandbox"
    )
}

#[cfg(test)]
mod tests;
