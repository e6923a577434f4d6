//! What keeps an idle pod from becoming ready, in the words a person needs.

use std::time::Duration;

use arl_crds::reason::WarmPoolReason;
use jiff::Timestamp;

use super::late;
use crate::{
    clock::after,
    pod::{ContainerStatus, Pod, Waiting},
};

/// A container that was started again counts as steady when it has run for as often this long, up to the time after which the
/// kubelet forgets too.
const STEADY: Duration = Duration::from_secs(60);
const STEADY_MAX: Duration = Duration::from_secs(600);
/// One that was started again once may have had an accident.
const RESTARTS: i32 = 2;

/// A pod's problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) reason: WarmPoolReason,
    pub(super) message: String,
}

/// The problem of a pod that is alive, if it has one now; `said` is the newest thing that its Events say of it.
pub(super) fn of(pod: &Pod, said: Option<&str>, now: Timestamp) -> Option<Problem> {
    waiting(pod).or_else(|| unsteady(pod, now)).or_else(|| unschedulable(pod)).or_else(|| {
        let message = late::of(pod, said, now)?;
        Some(Problem { reason: WarmPoolReason::PodsLate, message })
    })
}

/// When a pod that is left as it is has another problem than now, or none.
pub(super) fn changes_at(pod: &Pod, now: Timestamp) -> Option<Timestamp> {
    let steady = pod.status.container_statuses.iter().filter_map(steady_at);
    steady.chain(late::times(pod)).filter(|at| *at > now).min()
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

fn waiting(pod: &Pod) -> Option<Problem> {
    let of = |statuses: &'_ [ContainerStatus], is_init: bool| {
        statuses.iter().find_map(|container| {
            let waiting = container.state.waiting.as_ref()?;
            let (reason, advice) = cause(waiting, is_init)?;
            let said = if waiting.message.is_empty() { &waiting.reason } else { &waiting.message };
            let message = format!("pod {}, container {}: {said}; {advice}", name(pod), container.name);
            Some(Problem { reason, message })
        })
    };
    of(&pod.status.init_container_statuses, true).or_else(|| of(&pod.status.container_statuses, false))
}

fn cause(waiting: &Waiting, is_init: bool) -> Option<(WarmPoolReason, &'static str)> {
    Some(match waiting.reason.as_str() {
        "ImagePullBackOff" | "ErrImagePull" | "ErrImageNeverPull" | "InvalidImageName" | "RegistryUnavailable" => (
            WarmPoolReason::ImagePullBackOff,
            "check the image's name and tag, the registry, and spec.template.spec.imagePullSecrets",
        ),
        "CrashLoopBackOff" if is_init => {
            (WarmPoolReason::CrashLoopBackOff, "this init container has to end with exit code 0; see kubectl logs -c")
        }
        "CrashLoopBackOff" => (WarmPoolReason::CrashLoopBackOff, KEEP_RUNNING),
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "PreCreateHookError"
        | "PreStartHookError"
        | "PostStartHookError" => (WarmPoolReason::CreateContainerError, "correct what the message names"),
        _ => return None,
    })
}

const KEEP_RUNNING: &str = "its command must keep running, such as [\"sleep\", \"infinity\"]; see kubectl logs";

/// A container that crashes again and again looks well between two crashes.
fn unsteady(pod: &Pod, now: Timestamp) -> Option<Problem> {
    let container = pod.status.container_statuses.iter().find(|c| {
        let has_ended =
            c.state.terminated.is_some() && c.restart_count >= RESTARTS && pod.spec.restart_policy != "Never";
        has_ended || steady_at(c).is_some_and(|at| at > now)
    })?;
    let ended = container.state.terminated.as_ref().or(container.last_state.terminated.as_ref());
    let how = ended.map_or_else(|| "ended".to_owned(), crate::pod::Terminated::description);
    let message = format!(
        "pod {}, container {}: it {how} and is started again and again; {KEEP_RUNNING} --previous",
        name(pod),
        container.name
    );
    Some(Problem { reason: WarmPoolReason::CrashLoopBackOff, message })
}

fn steady_at(container: &ContainerStatus) -> Option<Timestamp> {
    let since = container.state.running.as_ref()?.started_at.as_ref()?.0;
    container.last_state.terminated.as_ref()?;
    let times = u32::try_from(container.restart_count).ok().filter(|_| container.restart_count >= RESTARTS)?;
    Some(after(since, STEADY.saturating_mul(times).min(STEADY_MAX)))
}

fn unschedulable(pod: &Pod) -> Option<Problem> {
    let scheduled = pod.condition("PodScheduled").filter(|c| c.status == "False" && c.reason == "Unschedulable")?;
    let advice = "lower the template's requests, or add nodes that fit it";
    let message = format!("pod {}: {}; {advice}", name(pod), scheduled.message);
    Some(Problem { reason: WarmPoolReason::Unschedulable, message })
}

#[cfg(test)]
mod tests;
