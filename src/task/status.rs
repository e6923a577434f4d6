//! The status of a Task before its end; at its end `report` makes it. Pure.

use std::{cmp::Ordering, time::Duration};

use arl_crds::{
    Step, StepState, StepStatus, TaskState, TaskStatus,
    condition::{self, STALLED, Truth, Wanted, is_alike},
    reason::{EventReason, TaskReason},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};

use super::observe::Observed;
use crate::{
    clock::after,
    pod::Target,
    runs::{RunView, StepRun},
};

/// A stream that breaks is open again in a moment; a run whose agent cannot be reached for this long says so.
const UNHEARD_OF: Duration = Duration::from_secs(10);

/// What every status of a Task has.
pub(super) fn base(observed: &Observed) -> TaskStatus {
    let recorded = observed.row.status();
    let run = observed.run.as_ref().and_then(|run| Some((run.started_at?, run.target.container_id.clone())));
    let (started_at, container_id) = run.map(|(at, id)| (MicroTime(at), id)).unzip();
    let starts = recorded.and_then(|s| s.started_at.clone()).into_iter().chain(started_at);
    TaskStatus {
        sandbox_uid: observed.sandbox_uid().map(|uid| uid.0),
        arrival: Some(observed.row.arrival.number),
        observed_generation: observed.row.task.metadata.generation,
        started_at: starts.min_by_key(|at| at.0),
        container_id: recorded.and_then(|s| s.container_id.clone()).or(container_id),
        ..TaskStatus::default()
    }
}

/// The two conditions, equal in reason and message.
pub(super) fn with_conditions(
    observed: &Observed,
    mut status: TaskStatus,
    (finished, succeeded): (Truth, Truth),
    (reason, message): (TaskReason, &str),
    now: Timestamp,
) -> TaskStatus {
    let before = observed.row.status().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let wanted = |type_, truth| Wanted { type_, truth, reason: reason.as_str(), message: message.to_owned() };
    let both = vec![wanted("Finished", finished), wanted("Succeeded", succeeded)];
    status.conditions = condition::merge(before, both, status.observed_generation, now);
    if finished == Truth::True {
        // Once the end is on record nothing is left to be kept from.
        status.conditions.retain(|c| c.type_ != STALLED);
    }
    status
}

/// A step that has not been started.
pub(super) fn untouched(name: &str, state: StepState) -> StepStatus {
    StepStatus {
        name: name.to_owned(),
        state,
        exit_code: None,
        stdout: None,
        stderr: None,
        truncated: None,
        started_at: None,
        completed_at: None,
        reason: None,
        message: None,
    }
}

/// The status of a Task that waits since what the others carry fills the memory that there is for it.
pub(super) fn without_room(observed: &Observed, now: Timestamp) -> TaskStatus {
    let message = "too much of what other Tasks of this namespace carry is on its way into their pods; this one goes when there is room";
    waiting_for(observed, TaskReason::Queued, message, now)
}

/// The status of a Task that waits.
pub(super) fn waiting(observed: &Observed, reason: TaskReason, now: Timestamp) -> TaskStatus {
    let sandbox = &observed.row.task.spec.sandbox_ref;
    let message = match reason {
        TaskReason::SandboxNotFound => {
            format!(
                "Sandbox {sandbox} does not exist in this namespace, or is being deleted; create it, or correct sandboxRef in a new Task"
            )
        }
        // Not which: others follow it, and to name each would be a write each time.
        TaskReason::Queued => format!(
            "Sandbox {sandbox} runs one Task at a time, first come first served; Tasks of it that were created earlier come first"
        ),
        _ if observed.sandbox_is_unread => format!(
            "Sandbox {sandbox} is there, but the operator cannot read it, as its log says; see kubectl get sandboxes.arl.infra.io \
             {sandbox} -o yaml, and correct or delete it"
        ),
        _ if observed.obstacle().is_some() => observed.obstacle().unwrap_or_default().to_owned(),
        _ if let Some(run) = &observed.run => {
            let pod = &run.target.pod.name;
            format!("the agent in pod {pod} has not answered yet; if it stays so, see kubectl get nodes")
        }
        _ if observed.waits_for_setup() => {
            format!("Sandbox {sandbox} is not set up yet; see kubectl describe sandboxes.arl.infra.io {sandbox}")
        }
        _ => format!("Sandbox {sandbox} has no ready pod; see kubectl describe sandboxes.arl.infra.io {sandbox}"),
    };
    waiting_for(observed, reason, &message, now)
}

fn waiting_for(observed: &Observed, reason: TaskReason, message: &str, now: Timestamp) -> TaskStatus {
    let mut status = base(observed);
    status.state = Some(TaskState::Pending);
    let unchanged = observed.row.status().filter(|s| {
        // Who is first changes all the time; it is not worth a write to each of those who wait. Nor are other numbers.
        let is_queued = reason == TaskReason::Queued && observed.behind.is_some();
        let says = |c: &Condition| is_queued || is_alike(&c.message, message);
        s.conditions.first().is_some_and(|c| c.reason == reason.as_str() && says(c))
            && s.sandbox_uid == status.sandbox_uid
    });
    match unchanged {
        Some(same) => TaskStatus {
            observed_generation: status.observed_generation,
            conditions: condition::of_generation(&same.conditions, status.observed_generation),
            ..same.clone()
        },
        None => with_conditions(observed, status, (Truth::False, Truth::Unknown), (reason, message), now),
    }
}

/// The status of a Task whose first step is about to start.
pub(super) fn starting(observed: &Observed, target: &Target, now: Timestamp) -> TaskStatus {
    let mut status = base(observed);
    status.started_at = Some(MicroTime(now));
    status.container_id = Some(target.container_id.clone());
    running(observed, status, target, &[], now)
}

/// The status of a Task whose run has come as far as `steps`, the last of which is in progress.
pub(super) fn in_progress(observed: &Observed, target: &Target, steps: &[StepRun], now: Timestamp) -> TaskStatus {
    match observed.row.status() {
        // Of a run that another process began, and of which this one has no report yet, the record says more.
        Some(recorded) if steps.is_empty() && recorded.started_at.is_some() => {
            let message = running_message(observed, target, now);
            let conditions = (Truth::False, Truth::Unknown);
            with_conditions(observed, recorded.clone(), conditions, (TaskReason::Running, &message), now)
        }
        _ => running(observed, base(observed), target, steps, now),
    }
}

/// From when on it is shown that the agent of a run cannot be reached.
pub(super) fn unheard_at(run: &RunView) -> Option<Timestamp> {
    run.obstacle.as_ref().map(|(_, since)| after(*since, UNHEARD_OF))
}

/// Whether the recorded message does not say any more what is so: whether the agent of the run can be reached.
pub(super) fn reachability_changed(observed: &Observed, run: &RunView, now: Timestamp) -> bool {
    let recorded = observed.row.status().and_then(|s| s.conditions.first());
    recorded.is_some_and(|c| c.message != running_message(observed, &run.target, now))
}

fn running_message(observed: &Observed, target: &Target, now: Timestamp) -> String {
    let place = format!("running in container {} of pod {}", target.container, target.pod.name);
    let unheard = observed.run.as_ref().filter(|run| unheard_at(run).is_some_and(|at| at <= now));
    let Some((message, _)) = unheard.and_then(|run| run.obstacle.as_ref()) else { return place };
    let then = if observed.row.task.spec.cancel {
        "it is ended when the pod can be reached again, or is gone"
    } else {
        "it goes on there, and its result counts when the pod can be reached again"
    };
    format!("{place}; {message}; {then}; see kubectl get nodes")
}

fn running(
    observed: &Observed,
    mut status: TaskStatus,
    target: &Target,
    runs: &[StepRun],
    now: Timestamp,
) -> TaskStatus {
    let specs = &observed.row.task.spec.steps;
    let current = runs.len().saturating_sub(1);
    status.state = Some(TaskState::Running);
    status.step = specs.get(current).map(|s| s.name.clone());
    let step = |(i, spec): (usize, &Step)| StepStatus {
        started_at: runs.get(i).map(|run| MicroTime(run.started_at)),
        completed_at: runs.get(i).and_then(|run| run.ended_at).map(MicroTime),
        ..untouched(
            &spec.name,
            match i.cmp(&current) {
                Ordering::Less => StepState::Succeeded,
                Ordering::Equal => StepState::Running,
                Ordering::Greater => StepState::Pending,
            },
        )
    };
    status.steps = specs.iter().enumerate().map(step).collect();
    let message = running_message(observed, target, now);
    with_conditions(observed, status, (Truth::False, Truth::Unknown), (TaskReason::Running, &message), now)
}

/// What a person would want to know of the end of a Task.
pub(super) fn event(status: &TaskStatus) -> Option<(EventReason, String)> {
    let reason = event_reason(status.state)?;
    let condition = status.conditions.first()?;
    let took = status.duration.as_deref().unwrap_or("0ms");
    Some((reason, format!("{} after {took}: {}", condition.reason, condition.message)))
}

/// The Event that a state is worth, if any.
fn event_reason(state: Option<TaskState>) -> Option<EventReason> {
    match state? {
        TaskState::Succeeded => Some(EventReason::TaskSucceeded),
        TaskState::Failed => Some(EventReason::TaskFailed),
        TaskState::Pending | TaskState::Running => None,
    }
}
