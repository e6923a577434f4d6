//! What a Task should do now. Pure.

use std::time::Duration;

use arl_crds::{Blame, ExecutorMode, reason::TaskReason};
use jiff::Timestamp;

use super::{
    decision::{Decision, Plan, Verdict, finish},
    deletion,
    observe::Observed,
    status, waiting,
};
use crate::{
    clock::after,
    pod::{Cause, Pod, RAISE_MEMORY, Terminated, how_lost},
    runs::{Ended, Leftovers, RunControl, RunEnd, RunView, SHORT_TASK, StepEnd},
};

/// A plain exec's KILL, or a run whose end is not known, may be the first sign of a container's or a pod's end. The kubelet
/// looks once a second and was seen to report more than 5 s late on a very busy node.
const GRACE: Duration = Duration::from_secs(10);
/// A container that has ended is waited for this long: the kubelet starts it again after up to 10, 20 and 40 s.
/// <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-restarts>
const COMES_BACK: Duration = Duration::from_secs(60);
/// The exit code of a command that was killed: 128 + SIGKILL.
const KILLED: i32 = 137;
/// A later step that runs longer than this is shown to.
const SHORT_STEP: Duration = Duration::from_secs(1);

/// Decides.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan {
    if observed.row.state().is_finished() {
        return deletion::expiry(observed, now);
    }
    let sandbox = &observed.row.task.spec.sandbox_ref;
    if observed.sandbox_deleted() {
        let message = format!("Sandbox {sandbox} was deleted; create the Task again for another one");
        return deletion::ending_with_sandbox(observed, now)
            .unwrap_or_else(|| finish(TaskReason::SandboxDeleted, message));
    }
    if observed.was_started() {
        return started(observed, now);
    }
    if observed.is_cancelled() {
        return finish(TaskReason::Cancelled, format!("{} before the Task started", deletion::why_cancelled(observed)));
    }
    if let Some(invalid) = &observed.row.invalid {
        return finish(TaskReason::InvalidSpec, invalid.to_string());
    }
    waiting::plan(observed, now)
}

/// A Task that may have started a step.
fn started(observed: &Observed, now: Timestamp) -> Plan {
    let Some(run) = &observed.run else { return unfollowed(observed, now) };
    match &run.ended {
        Some(ended) => ended_run(observed, run, ended, now),
        None => in_flight(observed, run, now),
    }
}

/// It is on record as started, and this process has not followed it yet.
fn unfollowed(observed: &Observed, now: Timestamp) -> Plan {
    if let Some(until) = comes_back_until(observed, now) {
        return Plan { decision: Decision::Rest, look_again: Some(until) };
    }
    let target = observed.pod.as_deref().and_then(Pod::target);
    match (target, pod_lost(observed).or_else(|| container_restarted(observed))) {
        (Some(target), _) if target.mode == ExecutorMode::Agent => Decision::Start(target).into(),
        (_, Some(verdict)) => Decision::Finish(verdict).into(),
        (None, None) if observed.has_agent() => Decision::Rest.into(),
        _ => {
            let message = "the operator was restarted while the Task ran; which steps ran, and how they ended, is not known; look into \
                           the workspace and create the Task again if it is safe to repeat";
            let verdict = Verdict::new(TaskReason::Interrupted, message).blamed(Blame::Infrastructure);
            Decision::Finish(verdict).into()
        }
    }
}

fn in_flight(observed: &Observed, run: &RunView, now: Timestamp) -> Plan {
    if let Some(verdict) = pod_lost(observed) {
        return Decision::Finish(verdict).into();
    }
    if let Some(until) = comes_back_until(observed, now) {
        return Plan { decision: Decision::Rest, look_again: Some(until) };
    }
    if container_restarted(observed).is_some() {
        return Decision::Ask(RunControl::Settle).into();
    }
    if observed.row.started_at().is_some() && status::reachability_changed(observed, run, now) {
        return Decision::Record.into();
    }
    let unheard_at = status::unheard_at(run).filter(|at| *at > now);
    if observed.is_cancelled() {
        return Plan { decision: Decision::Ask(RunControl::Cancel), look_again: unheard_at };
    }
    let Some(started_at) = run.started_at else {
        // One that is on record as running goes on in the pod, whatever keeps this process from hearing of it.
        if observed.row.started_at().is_some() {
            return Plan { decision: Decision::Rest, look_again: unheard_at };
        }
        return unstarted(run, now);
    };
    let shown_at = match run.step_started_at {
        _ if observed.is_behind() => Some(now),
        _ if observed.row.started_at().is_none() => Some(after(started_at, SHORT_TASK)),
        Some(at) if observed.shows_another_step(run) => Some(after(at, SHORT_STEP)),
        _ => None,
    };
    match shown_at {
        Some(at) if at <= now => Decision::Record.into(),
        at => Plan { decision: Decision::Rest, look_again: at.into_iter().chain(unheard_at).min() },
    }
}

/// Nothing was heard of the run yet.
fn unstarted(run: &RunView, now: Timestamp) -> Plan {
    let shown_at = after(run.begun_at, waiting::CONNECTING);
    match run.obstacle {
        None if now < shown_at => Plan { decision: Decision::Rest, look_again: Some(shown_at) },
        _ => Decision::Wait(TaskReason::SandboxNotReady).into(),
    }
}

fn ended_run(observed: &Observed, run: &RunView, ended: &Ended, now: Timestamp) -> Plan {
    let cause = || pod_lost(observed).or_else(|| container_restarted(observed));
    let unless_explained = |verdict: Verdict| match cause() {
        Some(cause) => Decision::Finish(cause).into(),
        None => at_latest(after(ended.at, GRACE), now, verdict),
    };
    let timeout = &observed.row.task.spec.timeout;
    let timeout_field =
        if observed.row.setup_of.is_some() { "the Sandbox's spec.setup.timeout" } else { "spec.timeout" };
    let verdict = match &ended.end {
        RunEnd::Completed if is_exec_kill(run) => return unless_explained(of_steps(run)),
        RunEnd::Completed => of_steps(run),
        RunEnd::Lost(message) => {
            let message = format!("{message}; a step may have run, and its end is not known");
            let verdict = Verdict::new(TaskReason::Interrupted, message);
            // The connection that such a run was on ended without a word of how the command did. An agent can be killed by what it runs.
            let verdict =
                if run.target.mode == ExecutorMode::Exec { verdict.blamed(Blame::Infrastructure) } else { verdict };
            return unless_explained(with_remains(verdict, &ended.left));
        }
        RunEnd::NotSent => {
            let is_over = observed.pod.as_ref().is_some_and(|pod| pod.executor_is_over());
            let cause = pod_lost(observed).or_else(|| container_restarted(observed).filter(|_| is_over));
            return match cause {
                Some(cause) => Decision::Finish(cause).into(),
                None => Plan { decision: Decision::BeginAgain, look_again: Some(now) },
            };
        }
        RunEnd::NotStarted(message) => match cause() {
            Some(cause) => cause,
            None => Verdict::new(TaskReason::StartError, message),
        },
        RunEnd::TimedOut => Verdict::new(
            TaskReason::TimedOut,
            format!("not done within {timeout}; raise {timeout_field} if it needs longer"),
        ),
        // Another operator asked for it, and what the agent answers comes here too.
        RunEnd::Cancelled if !observed.is_cancelled() => {
            let verdict =
                Verdict::new(TaskReason::Interrupted, "it was ended by another operator, which did not say why");
            return unless_explained(with_remains(verdict.blamed(Blame::Infrastructure), &ended.left));
        }
        RunEnd::Cancelled => Verdict::new(TaskReason::Cancelled, deletion::why_cancelled(observed)),
    };
    Decision::Finish(with_remains(verdict, &ended.left)).into()
}

/// What is left in the pod, in words; a pod with processes that cannot be ended is given up.
fn with_remains(mut verdict: Verdict, left: &Leftovers) -> Verdict {
    match left {
        Leftovers::None => {}
        Leftovers::Unknown => verdict.message.push_str("; processes that the step started may still run in the pod"),
        Leftovers::Survivors(message) => {
            verdict.message = format!("{}; {message}, so the pod is given up: use another Sandbox", verdict.message);
            verdict.gives_up_pod = true;
        }
    }
    verdict
}

/// Plain exec says the same of a command that was killed and of one whose container was.
fn is_exec_kill(run: &RunView) -> bool {
    run.target.mode == ExecutorMode::Exec && run.last_step == Some(StepEnd::Exited(KILLED))
}

/// The end, once it is late enough that the kubelet would have told of a deeper cause.
fn at_latest(late: Timestamp, now: Timestamp, verdict: Verdict) -> Plan {
    if now >= late {
        return Decision::Finish(verdict).into();
    }
    Plan { decision: Decision::Rest, look_again: Some(late) }
}

/// The end of a Task whose pod is no more.
fn pod_lost(observed: &Observed) -> Option<Verdict> {
    if observed.pod.as_ref().is_some_and(|pod| pod.is_alive()) {
        return None;
    }
    let name = observed.sandbox.as_ref().and_then(|s| s.sandbox.status.as_ref()?.pod_name.clone()).unwrap_or_default();
    let lost = how_lost(observed.pod.as_deref().or(observed.given_away.as_ref()));
    let message = format!("pod {name} {}; {}; the workspace is lost: use another Sandbox", lost.message, lost.advice);
    let reason = if lost.cause == Cause::OutOfMemory { TaskReason::OOMKilled } else { TaskReason::PodLost };
    Some(Verdict::new(reason, message).blamed(lost.blame()))
}

/// Until when the container is waited for that has ended and is to be started again: the pod has the results on record.
fn comes_back_until(observed: &Observed, now: Timestamp) -> Option<Timestamp> {
    let pod = observed.pod.as_deref().filter(|pod| pod.is_alive())?;
    let is_awaited = observed.has_agent() && !observed.is_cancelled();
    // Not from when the pod was last ready: it may have been kept from that by another container.
    let until = after(pod.down_since?, COMES_BACK);
    (is_awaited && !pod.executor_is_over() && until > now).then_some(until)
}

/// The end of a Task whose container is another one than it was started in, or ended.
fn container_restarted(observed: &Observed) -> Option<Verdict> {
    let pod = observed.pod.as_deref()?;
    let recorded = observed.row.status().and_then(|s| s.container_id.as_deref());
    let started_in = recorded.or_else(|| observed.run.as_ref().map(|run| run.target.container_id.as_str()))?;
    if pod.running_container() == Some(started_in) {
        return None;
    }
    let ended = pod.end_of(started_in);
    let name = pod.executor();
    let how = ended.map_or_else(|| "ended".to_owned(), Terminated::description);
    let then = match pod.failed_restart() {
        _ if pod.executor_is_over() => {
            format!("is not started again ({}): use another Sandbox", pod.executor_policy())
        }
        _ if pod.running_container().is_some() => "was started again".to_owned(),
        Some(failed) => format!("could not be started again ({failed}): use another Sandbox"),
        None => "has not been started again yet".to_owned(),
    };
    let (reason, advice) = match ended {
        Some(end) if end.is_out_of_memory() => (TaskReason::OOMKilled, RAISE_MEMORY),
        Some(end) if end.ended_with_its_node() => (TaskReason::ContainerRestarted, "see kubectl get nodes"),
        Some(end) if end.was_signalled() => {
            let advice =
                "a liveness probe that fails ends it like this: see kubectl describe pod; else kubectl logs --previous";
            (TaskReason::ContainerRestarted, advice)
        }
        _ => (TaskReason::ContainerRestarted, "see kubectl logs --previous"),
    };
    let verdict = Verdict::new(reason, format!("container {name} {how} while the Task ran, and {then}; {advice}"));
    let is_the_nodes = ended.is_some_and(Terminated::ended_with_its_node);
    Some(if is_the_nodes { verdict.blamed(Blame::Infrastructure) } else { verdict })
}

/// The verdict on a run whose last step says how it ended.
fn of_steps(run: &RunView) -> Verdict {
    let (reason, message) = match &run.last_step {
        Some(StepEnd::Exited(0) | StepEnd::Written) => (TaskReason::Succeeded, "all steps succeeded".to_owned()),
        Some(StepEnd::Exited(code)) => (TaskReason::StepFailed, format!("a command exited with code {code}")),
        Some(StepEnd::NotWritten(message) | StepEnd::NotExecutable { message, .. }) => {
            (TaskReason::StepFailed, message.clone())
        }
        Some(StepEnd::OutOfMemory(code)) => {
            let (what, then) = match *code {
                KILLED => ("the command", String::new()),
                code => ("a process of the command", format!(", and the command then exited with code {code}")),
            };
            (TaskReason::OOMKilled, format!("{what} was killed for lack of memory{then}; {RAISE_MEMORY}"))
        }
        Some(StepEnd::StartError(message)) => (TaskReason::StartError, message.clone()),
        Some(StepEnd::NotDelivered(message)) => {
            return Verdict::new(TaskReason::StartError, message).blamed(Blame::Infrastructure);
        }
        None => (TaskReason::Interrupted, "the run ended without saying how".to_owned()),
    };
    Verdict::new(reason, message)
}

#[cfg(test)]
mod tests;
