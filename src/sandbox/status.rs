//! The status of a Sandbox that follows from what was observed and decided. Pure.

use arl_crds::{
    SandboxPhase, SandboxStatus,
    condition::{self, Truth, Wanted},
    reason::{EventReason, SandboxReason},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{observe::Observed, plan::Decision, setup};
use crate::pod::{self, Pod};

/// What the status should be.
pub(super) fn status(observed: &Observed, decision: &Decision, now: Timestamp) -> SandboxStatus {
    let mut status = observed.status().cloned().unwrap_or_default();
    let generation = observed.sandbox().metadata.generation;
    let conditions = match decision {
        Decision::Wait(reason) => {
            status.arrival = Some(observed.row.arrival.number);
            Some((SandboxPhase::Pending, waiting(observed, *reason)))
        }
        Decision::Claim(_) => Some((SandboxPhase::Pending, waiting(observed, SandboxReason::Claiming))),
        Decision::Hold { phase, idle_since, .. } => decision.held(observed).map(|pod| {
            let earlier = observed.is_of_earlier_template(pod);
            status.setup = setup::record(observed, None, now);
            let usable = hold(&mut status, pod, *idle_since, now).unwrap_or_else(|| allocated(&status, pod, earlier));
            (*phase, usable)
        }),
        Decision::SetUp(_) => decision.held(observed).map(|pod| {
            status.setup = setup::record(observed, None, now);
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let usable = hold(&mut status, pod, None, now).unwrap_or_else(|| setup::going_on(observed, name));
            (SandboxPhase::Pending, usable)
        }),
        Decision::Release(reason) => {
            status.setup = setup::record(observed, Some(*reason), now);
            status.idle_since = Some(MicroTime(now));
            Some((SandboxPhase::Released, released(&status, *reason, observed)))
        }
        Decision::MakeSetup | Decision::Released | Decision::Expire => None,
    };
    match conditions {
        Some((phase, ready)) => {
            status.phase = Some(phase);
            status.conditions = condition::merge(&status.conditions, vec![ready], generation, now);
            status.observed_generation = generation;
        }
        None if *decision == Decision::Released => {
            status.conditions = condition::of_generation(&status.conditions, generation);
            status.observed_generation = generation;
        }
        None => {}
    }
    status
}

fn ready(truth: Truth, reason: SandboxReason, message: String) -> Wanted {
    Wanted { type_: "Ready", truth, reason: reason.as_str(), message }
}

fn waiting(observed: &Observed, reason: SandboxReason) -> Wanted {
    let pool = observed.pool_name();
    let message = match reason {
        SandboxReason::PoolNotFound => {
            format!(
                "WarmPool {pool} does not exist in this namespace, or is being deleted; create it, or correct poolRef in a new Sandbox"
            )
        }
        SandboxReason::PoolEmpty => format!(
            "WarmPool {pool} has no ready pod for this Sandbox yet; it waits, first come first served; if it waits often, raise \
             the pool's replicas (with 0 and no scaling no pod comes); if pods fail, see kubectl describe warmpool {pool}"
        ),
        SandboxReason::PoolAtLimit => format!(
            "WarmPool {pool} has as many pods as its scaling.maxPods allows; this Sandbox waits, first come first served, until one is \
             given up; delete Sandboxes that are no longer needed, or raise scaling.maxPods"
        ),
        SandboxReason::ClaimRefused => {
            let message = observed.refusal.as_ref().map(|refusal| refusal.message.as_str()).unwrap_or_default();
            let message = format!(
                "WarmPool {pool} has a ready pod, and the API server does not let it be claimed: {message}; another pod is tried, and \
                 the same again later"
            );
            let said = observed.status().and_then(|s| s.conditions.iter().find(|c| c.reason == reason.as_str()));
            // Other numbers alone are not worth a write.
            said.filter(|said| condition::is_alike(&said.message, &message))
                .map_or(message, |said| said.message.clone())
        }
        _ => format!(
            "a pod of WarmPool {pool} is being claimed; one that changed meanwhile, or went to another Sandbox, is not waited for: the next \
             is tried"
        ),
    };
    ready(Truth::False, reason, message)
}

/// Records its pod, and says what keeps that from being used, if anything does.
fn hold(status: &mut SandboxStatus, pod: &Pod, idle_since: Option<Timestamp>, now: Timestamp) -> Option<Wanted> {
    let executor = pod.executor_status();
    let count = executor.map_or(0, |c| c.restart_count);
    if status.pod_uid.is_none() {
        status.pod_name.clone_from(&pod.metadata.name);
        status.pod_uid.clone_from(&pod.metadata.uid);
        status.container = Some(pod.executor().to_owned());
        status.allocated_at = Some(MicroTime(now));
        status.restarts_before = Some(count).filter(|n| *n > 0);
    }
    if let Some(at) = idle_since {
        status.idle_since = Some(MicroTime(at));
    }
    status.pod_ip.clone_from(&pod.status.pod_ip);
    let restarts = count.saturating_sub(status.restarts_before.unwrap_or(0));
    status.restarts = Some(restarts).filter(|n| *n > 0);

    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let container = pod.executor();
    if pod.running_container().is_none() {
        let failed = pod.failed_restart().map(|why| format!(", and the last attempt to start it again failed ({why})"));
        let how = pod.last_executor_end().map(|end| format!(" ({})", end.description())).unwrap_or_default();
        if pod.executor_is_over() {
            let policy = pod.executor_policy();
            let message = format!(
                "container {container} of pod {name} has ended{how}, and with {policy} it is not started again; its \
                 processes and its files outside volumes are lost; delete this Sandbox, and have the template say restartPolicy Always"
            );
            return Some(ready(Truth::False, SandboxReason::ContainerEnded, message));
        }
        let message = format!(
            "container {container} of pod {name} is not running{how}{}; its processes and its files outside volumes are lost; Tasks \
             wait until it runs again",
            failed.unwrap_or_default()
        );
        return Some(ready(Truth::False, SandboxReason::ContainerRestarting, message));
    }
    if !pod.is_ready() {
        let message = format!("pod {name} is not ready: {}; Tasks wait until it is", pod.why_not_ready());
        return Some(ready(Truth::False, SandboxReason::PodNotReady, message));
    }
    None
}

fn allocated(status: &SandboxStatus, pod: &Pod, of_earlier_template: bool) -> Wanted {
    let (name, container) = (pod.metadata.name.as_deref().unwrap_or_default(), pod.executor());
    let restarted = match status.restarts.unwrap_or(0) {
        ..=0 => String::new(),
        n => {
            let times = if n == 1 { String::new() } else { format!(" {n} times") };
            format!(
                "; container {container} was started again{times}, which lost its processes and its files outside volumes"
            )
        }
    };
    let earlier = if of_earlier_template { "; it was made from an earlier template than the pool has now" } else { "" };
    ready(Truth::True, SandboxReason::Allocated, format!("pod {name} is allocated{earlier}{restarted}"))
}

fn released(status: &SandboxStatus, reason: SandboxReason, observed: &Observed) -> Wanted {
    let pod = status.pod_name.as_deref().unwrap_or("of this Sandbox");
    let message = if reason == SandboxReason::TasksFinished {
        format!(
            "its Tasks have finished, so pod {pod} is deleted; set keepAlive or ttlSecondsAfterFinished to keep a Sandbox longer"
        )
    } else if let Some(setup) = status.setup.as_ref().filter(|_| reason == SandboxReason::SetupFailed) {
        setup::why_failed(setup)
    } else {
        let lost = pod::how_lost(observed.pod().or(observed.given_away.as_ref()));
        format!("pod {pod} {}; {}; the workspace is lost: create another Sandbox", lost.message, lost.advice)
    };
    ready(Truth::False, reason, message)
}

/// What a person would want to know of the step from `before` to `after`.
pub(super) fn events(before: Option<&SandboxStatus>, after: &SandboxStatus) -> Vec<(EventReason, String)> {
    let said = |status: &SandboxStatus| status.conditions.first().map(|c| c.message.clone()).unwrap_or_default();
    let reason = |status: &SandboxStatus| status.conditions.first().map(|c| c.reason.clone());
    let mut events = Vec::new();
    if before.and_then(|s| s.pod_uid.as_ref()) != after.pod_uid.as_ref() {
        events.push((EventReason::Claimed, format!("claimed: {}", said(after))));
    }
    if before.and_then(|s| s.restarts).unwrap_or(0) < after.restarts.unwrap_or(0) {
        events.push((EventReason::ContainerRestarted, said(after)));
    }
    let phase_changed = before.and_then(|s| s.phase) != after.phase;
    match after.phase {
        Some(SandboxPhase::Released) if phase_changed => events.push((EventReason::Released, said(after))),
        Some(SandboxPhase::Pending) if after.pod_uid.is_none() && before.and_then(reason) != reason(after) => {
            events.push((EventReason::Waiting, said(after)));
        }
        _ => {}
    }
    events
}

#[cfg(test)]
mod tests;
