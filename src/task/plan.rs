//! What a Task should do now. Pure.

use std::time::Duration;

use arl_crds::reason::TaskReason;
use jiff::Timestamp;

use super::observe::Observed;
use crate::{
    object::{Key, Uid},
    pod::Pod,
    runs::{RunEnd, RunView, StepEnd, Target},
};

/// A command killed by KILL, or a broken connection, may be the first sign of a container's or a pod's end. The kubelet looks
/// once a second and was seen to report more than 5 s late on a very busy node.
const GRACE: Duration = Duration::from_secs(10);
/// 128 + SIGKILL.
const KILLED: i32 = 137;

/// How a Task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) reason: TaskReason,
    pub(super) message: String,
}

/// What the Task is about.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    /// Nothing to do until something changes or is due.
    Rest,
    /// It is not its turn, because.
    Wait(TaskReason),
    /// Its steps are run here.
    Start(Target),
    /// It is over.
    Finish(Verdict),
    /// It finished long ago: the object goes.
    Expire,
}

/// What to do, in full.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) decision: Decision,
    pub(super) look_again: Option<Timestamp>,
}

impl From<Decision> for Plan {
    fn from(decision: Decision) -> Self {
        Self { decision, look_again: None }
    }
}

fn finish(reason: TaskReason, message: impl Into<String>) -> Plan {
    Decision::Finish(Verdict { reason, message: message.into() }).into()
}

/// Decides.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan {
    if observed.row.state().is_finished() {
        return expiry(observed, now);
    }
    let sandbox = &observed.row.task.spec.sandbox_ref;
    if observed.sandbox_deleted() {
        return finish(
            TaskReason::SandboxDeleted,
            format!("Sandbox {sandbox} was deleted; create the Task again for another one"),
        );
    }
    if observed.was_started() {
        return started(observed, now);
    }
    if observed.row.task.spec.cancel {
        return finish(TaskReason::Cancelled, "spec.cancel was set before the Task started");
    }
    if let Some(invalid) = &observed.row.invalid {
        return finish(TaskReason::InvalidSpec, invalid.to_string());
    }
    waiting(observed)
}

fn waiting(observed: &Observed) -> Plan {
    let Some(sandbox) = &observed.sandbox else {
        return Decision::Wait(TaskReason::SandboxNotFound).into();
    };
    if sandbox.is_released() {
        let name = &observed.row.task.spec.sandbox_ref;
        return finish(
            TaskReason::SandboxReleased,
            format!("Sandbox {name} has given up its pod; create the Task again for another one"),
        );
    }
    if observed.behind.is_some() {
        return Decision::Wait(TaskReason::Queued).into();
    }
    match observed.pod.as_deref().and_then(target) {
        Some(target) => Decision::Start(target).into(),
        None => Decision::Wait(TaskReason::SandboxNotReady).into(),
    }
}

/// Where to run, if the pod can take it now.
fn target(pod: &Pod) -> Option<Target> {
    if !pod.is_alive() || !pod.is_ready() {
        return None;
    }
    Some(Target {
        pod: Key::of(pod),
        pod_uid: Uid::of(pod),
        container: pod.executor().to_owned(),
        container_id: pod.running_container()?.to_owned(),
    })
}

/// A Task that may have started a step.
fn started(observed: &Observed, now: Timestamp) -> Plan {
    let end = observed.run.as_ref().and_then(|run| run.end.as_ref());
    let completed = matches!(end, Some((RunEnd::Completed, _)));
    let killed = observed.run.as_ref().and_then(|run| run.last_step.as_ref()) == Some(&StepEnd::Exited(KILLED));
    if (!completed || killed)
        && let Some(verdict) = lost(observed)
    {
        return Decision::Finish(verdict).into();
    }
    let Some(run) = &observed.run else {
        return finish(
            TaskReason::Interrupted,
            "the operator was restarted while the Task ran; which steps ran, and how they ended, is not known; look into the \
             workspace and create the Task again if it is safe to repeat",
        );
    };
    match &run.end {
        None if observed.row.task.spec.cancel => finish(
            TaskReason::Cancelled,
            "spec.cancel was set; processes that the step started may still run in the pod",
        ),
        None => Decision::Rest.into(),
        Some((RunEnd::TimedOut, _)) => finish(
            TaskReason::TimedOut,
            format!(
                "not done within {}; processes that the step started may still run in the pod; raise spec.timeout if it needs longer",
                observed.row.task.spec.timeout
            ),
        ),
        Some((RunEnd::Broken(words), at)) => unless_explained(*at + GRACE, now, || {
            let message = format!(
                "the connection to the pod was lost ({words}); the step may still run, and its end is not known"
            );
            Verdict { reason: TaskReason::Interrupted, message }
        }),
        Some((RunEnd::Completed, at)) if killed => unless_explained(*at + GRACE, now, || of_steps(run)),
        Some((RunEnd::Completed, _)) => Decision::Finish(of_steps(run)).into(),
    }
}

/// The end, once it is late enough that the kubelet would have told of a deeper cause.
fn unless_explained(late: Timestamp, now: Timestamp, verdict: impl FnOnce() -> Verdict) -> Plan {
    if now >= late {
        return Decision::Finish(verdict()).into();
    }
    Plan { decision: Decision::Rest, look_again: Some(late) }
}

/// What the pod says against the run.
fn lost(observed: &Observed) -> Option<Verdict> {
    let name = observed.sandbox.as_ref().and_then(|s| s.sandbox.status.as_ref()?.pod_name.clone()).unwrap_or_default();
    let Some(pod) = observed.pod.as_ref().filter(|pod| pod.is_alive()) else {
        let message = format!("pod {name} was deleted, evicted, or ended; the workspace is lost: use another Sandbox");
        return Some(Verdict { reason: TaskReason::PodLost, message });
    };
    let started_in = observed.row.status().and_then(|s| s.container_id.as_deref());
    if started_in.is_none() || pod.running_container() == started_in {
        return None;
    }
    let container = pod.executor_status();
    let ended = container.and_then(|c| c.state.terminated.as_ref().or(c.last_state.terminated.as_ref()));
    let name = pod.executor();
    Some(match ended {
        Some(end) if end.reason == "OOMKilled" => Verdict {
            reason: TaskReason::OOMKilled,
            message: format!(
                "container {name} reached its memory limit and was started again; raise the limit in the pool's template"
            ),
        },
        _ => Verdict {
            reason: TaskReason::ContainerRestarted,
            message: format!(
                "container {name} ended while the Task ran and was started again; see kubectl logs --previous"
            ),
        },
    })
}

/// The verdict on a run whose last step says how it ended.
fn of_steps(run: &RunView) -> Verdict {
    let (reason, message) = match &run.last_step {
        Some(StepEnd::Exited(0) | StepEnd::Written) => (TaskReason::Succeeded, "all steps succeeded".to_owned()),
        Some(StepEnd::Exited(code)) => (TaskReason::StepFailed, format!("a command exited with code {code}")),
        Some(StepEnd::NotWritten(words)) => (TaskReason::StepFailed, words.clone()),
        Some(StepEnd::StartError(words)) => (TaskReason::StartError, words.clone()),
        None => (TaskReason::Interrupted, "the run ended without saying how".to_owned()),
    };
    Verdict { reason, message }
}

fn expiry(observed: &Observed, now: Timestamp) -> Plan {
    let own = observed.row.task.spec.ttl_seconds_after_finished;
    let ttl = own.map(|s| Duration::from_secs(u64::try_from(s).unwrap_or(0))).or(observed.finished_ttl);
    let completed = observed.row.status().and_then(|s| s.completed_at.as_ref());
    match ttl.zip(completed) {
        Some((ttl, at)) if at.0 + ttl <= now => Decision::Expire.into(),
        Some((ttl, at)) => Plan { decision: Decision::Rest, look_again: Some(at.0 + ttl) },
        None => Decision::Rest.into(),
    }
}

#[cfg(test)]
mod tests;
