//! What keeps an idle pod from becoming ready, in the words a person needs.

use std::time::Duration;

use arl_crds::reason::WarmPoolReason;
use jiff::Timestamp;

use super::late;
use crate::{
    clock::after,
    effects::PodEvent,
    pod::{AGENT, ContainerStatus, Pod, Terminated, Waiting},
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

/// The problem of a pod that is alive, if it has one now; `said` is the newest thing that its Events say of it, `start` how long pods of its
/// pool were seen to take to be ready.
pub(super) fn of(pod: &Pod, said: Option<&PodEvent>, start: Duration, now: Timestamp) -> Option<Problem> {
    let late = || {
        let message = late::of(pod, said, start, now)?;
        Some(Problem { reason: WarmPoolReason::PodsLate, message })
    };
    unstartable(pod)
        .or_else(|| unhooked(pod, said))
        .or_else(|| waiting(pod, said))
        .or_else(|| unsteady(pod, said, now))
        .or_else(|| unschedulable(pod))
        .or_else(late)
}

/// When a pod that is left as it is has another problem than now, or none.
pub(super) fn changes_at(pod: &Pod, start: Duration, now: Timestamp) -> Option<Timestamp> {
    let steady = containers(pod).filter_map(|(container, _)| steady_at(container));
    steady.chain(late::times(pod, start)).filter(|at| *at > now).min()
}

/// Whether a pod's Events may say more than its status.
pub(super) fn is_worth_asking(pod: &Pod, start: Duration, now: Timestamp) -> bool {
    let may_be_ended =
        |c: &ContainerStatus| pod.container(&c.name).is_some_and(|spec| spec.has_ending_probe || spec.has_post_start);
    let mut loops = containers(pod).filter(|(c, duty)| is_backing_off(c) || is_unsteady(pod, c, *duty, now));
    late::is_unexplained(pod, start, now) || loops.any(|(c, _)| may_be_ended(c))
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

fn waiting(pod: &Pod, said: Option<&PodEvent>) -> Option<Problem> {
    containers(pod).find_map(|(container, duty)| {
        let waiting = container.state.waiting.as_ref()?;
        let reason = cause(waiting)?;
        let words = if waiting.message.is_empty() { &waiting.reason } else { &waiting.message };
        let ended = container.last_state.terminated.as_ref().filter(|_| reason == WarmPoolReason::CrashLoopBackOff);
        let how = ended.map(|end| format!("it {}; ", duty.how(end))).unwrap_or_default();
        let advice = match reason {
            WarmPoolReason::ImagePullBackOff if container.name == AGENT => CHECK_AGENT_IMAGE,
            WarmPoolReason::ImagePullBackOff => CHECK_IMAGE,
            WarmPoolReason::CrashLoopBackOff => &duty.advice(pod, container, ended, said),
            _ => CORRECT,
        };
        let message = format!("pod {}, container {}: {how}{words}; {advice}", name(pod), container.name);
        Some(Problem { reason, message })
    })
}

/// Whether the operator's own init container, which is the first, fails.
pub(super) fn lacks_agent(pod: &Pod) -> bool {
    let fails = |c: &ContainerStatus| {
        let is_kept = c.state.waiting.as_ref().is_some_and(|waiting| cause(waiting).is_some());
        is_kept || c.state.terminated.as_ref().is_some_and(|end| end.exit_code != 0 && !end.ended_with_its_node())
    };
    pod.status.init_container_statuses.iter().any(|c| c.name == AGENT && fails(c))
}

/// The kubelet backs off from what could not be started as from what crashed, and says why only of the last attempt.
fn unstartable(pod: &Pod) -> Option<Problem> {
    containers(pod).find_map(|(container, _)| {
        let end = ended(container).filter(|end| end.could_not_start())?;
        let message = &end.message;
        let message = format!("pod {}, container {}: {message}; {CORRECT}", name(pod), container.name);
        Some(Problem { reason: WarmPoolReason::CreateContainerError, message })
    })
}

fn is_backing_off(container: &ContainerStatus) -> bool {
    container.state.waiting.as_ref().is_some_and(|w| w.reason == "CrashLoopBackOff")
}

/// How a container ended that does not run now and may be started again.
fn ended(container: &ContainerStatus) -> Option<&Terminated> {
    let before = || container.last_state.terminated.as_ref().filter(|_| is_backing_off(container));
    container.state.terminated.as_ref().or_else(before)
}

/// The containers that are down and that a postStart hook may have brought down. For a moment their status has the hook's words, and then no
/// trace of it.
pub(super) fn may_be_unhooked(pod: &Pod) -> impl Iterator<Item = &str> {
    let is_down = |c: &&ContainerStatus| ended(c).is_some_and(|end| !end.could_not_start());
    let down = containers(pod).map(|(c, _)| c).filter(is_down).map(|c| c.name.as_str());
    down.filter(|name| pod.container(name).is_some_and(|c| c.has_post_start))
}

/// A container whose postStart hook failed, which ends it.
fn unhooked(pod: &Pod, said: Option<&PodEvent>) -> Option<Problem> {
    let said = said?;
    let container = may_be_unhooked(pod).find(|container| said.is_of_the_hook(container))?;
    let message = format!(
        "pod {}, container {container}: its postStart hook fails ({said}); correct the hook in the template",
        name(pod)
    );
    Some(Problem { reason: WarmPoolReason::CreateContainerError, message })
}

/// What is expected of a container.
#[derive(Clone, Copy)]
enum Duty {
    /// To end well before the others start.
    End,
    /// To run as long as the pod.
    Run,
}

/// The containers, in the order in which they start.
fn containers(pod: &Pod) -> impl Iterator<Item = (&ContainerStatus, Duty)> {
    let init = pod.status.init_container_statuses.iter();
    let init = init.map(|c| (c, if pod.goes_on(&c.name) { Duty::Run } else { Duty::End }));
    init.chain(pod.status.container_statuses.iter().map(|c| (c, Duty::Run)))
}

/// What a container waits for, unless it is on its way. Kubelets and runtimes have had more words than these, and will have others.
fn cause(waiting: &Waiting) -> Option<WarmPoolReason> {
    match waiting.reason.as_str() {
        "" | "ContainerCreating" | "PodInitializing" => None,
        "CrashLoopBackOff" => Some(WarmPoolReason::CrashLoopBackOff),
        "RegistryUnavailable" | "SignatureValidationFailed" => Some(WarmPoolReason::ImagePullBackOff),
        image if image.contains("Image") => Some(WarmPoolReason::ImagePullBackOff),
        _ => Some(WarmPoolReason::CreateContainerError),
    }
}

const CHECK_IMAGE: &str = "check the image's name and tag, the registry, and spec.template.spec.imagePullSecrets";
/// The user has not named this one.
const CHECK_AGENT_IMAGE: &str = "this is the operator's image of the agent: correct it there (--agent-image, or agent.image of the chart), \
     or give the pool's pods the right to pull it by spec.template.spec.imagePullSecrets; these pods are then replaced";
const CORRECT: &str = "correct what the message names";
/// Nor has it resources of its own.
const OWN: &str = "this is the operator's own init container, with the memory of the executor container";

impl Duty {
    /// How a container ended, and what it said of that where it was to end.
    fn how(self, end: &Terminated) -> String {
        match self {
            Self::End if !end.message.is_empty() && !end.could_not_start() => {
                format!("{}: {}", end.description(), late::quoted(end.message.trim()))
            }
            Self::End | Self::Run => end.description(),
        }
    }

    /// What helps a container that crashes, and last ended like this.
    fn advice(
        self,
        pod: &Pod,
        container: &ContainerStatus,
        ended: Option<&Terminated>,
        said: Option<&PodEvent>,
    ) -> String {
        let logs = format!("see kubectl logs {} -c {} --previous", name(pod), container.name);
        let probe = said.filter(|said| said.is_of_an_ending_probe(&container.name));
        let has_probe = pod.container(&container.name).is_some_and(|c| c.has_ending_probe);
        // A command that heeds TERM may end well when a probe has it ended.
        let is_asked_to = ended.is_none_or(|end| end.was_signalled() || end.exit_code == 0);
        let quoted = |said: &PodEvent| late::quoted(said.note.trim_end_matches([':', ' ', '\n']));
        match (self, probe) {
            _ if container.name == AGENT => format!("{OWN}; {logs}"),
            _ if ended.is_some_and(Terminated::is_out_of_memory) => "raise its memory limit in the template".to_owned(),
            (Self::End, _) => format!("this init container has to end with exit code 0; {logs}"),
            (Self::Run, Some(said)) if is_asked_to => format!(
                "its node ends it for that: {}; correct the probe in the template, or what it asks",
                quoted(said)
            ),
            (Self::Run, Some(said)) => format!(
                "it ends by itself, and then a probe finds nothing, or its node ends it for that: {}; {logs}",
                quoted(said)
            ),
            (Self::Run, None) if has_probe && is_asked_to => format!(
                "a liveness or startup probe that fails ends it like this: see kubectl describe pod; else its command must keep \
                 running: {logs}"
            ),
            (Self::Run, None) => format!("its command must keep running, such as [\"sleep\", \"infinity\"]; {logs}"),
        }
    }
}

/// A container that crashes again and again looks well between two crashes.
fn is_unsteady(pod: &Pod, container: &ContainerStatus, duty: Duty, now: Timestamp) -> bool {
    let end = container.state.terminated.as_ref().filter(|end| !end.ended_with_its_node());
    let is_over = matches!(duty, Duty::End) && end.is_some_and(|end| end.exit_code == 0);
    let has_ended = end.is_some() && container.restart_count >= RESTARTS && !pod.never_restarts(&container.name);
    !is_over && (has_ended || steady_at(container).is_some_and(|at| at > now))
}

fn unsteady(pod: &Pod, said: Option<&PodEvent>, now: Timestamp) -> Option<Problem> {
    let (container, duty) = containers(pod).find(|(c, duty)| is_unsteady(pod, c, *duty, now))?;
    let ended = container.state.terminated.as_ref().or(container.last_state.terminated.as_ref());
    let how = ended.map_or_else(|| "ended".to_owned(), |end| duty.how(end));
    let message = format!(
        "pod {}, container {}: it {how} and is started again and again; {}",
        name(pod),
        container.name,
        duty.advice(pod, container, ended, said)
    );
    Some(Problem { reason: WarmPoolReason::CrashLoopBackOff, message })
}

fn steady_at(container: &ContainerStatus) -> Option<Timestamp> {
    let since = container.state.running.as_ref()?.since?;
    // What ends with its node is no crash.
    container.last_state.terminated.as_ref().filter(|end| !end.ended_with_its_node())?;
    let times = u32::try_from(container.restart_count).ok().filter(|_| container.restart_count >= RESTARTS)?;
    Some(after(since, STEADY.saturating_mul(times).min(STEADY_MAX)))
}

/// What helps a pod that no node takes, by the scheduler's words: it has some for each node, and what is named here first counts.
const SCHEDULING: [(&str, &str); 12] = [
    (
        "readwriteoncepod",
        "one pod at a time may use this claim: set spec.replicas to 1, or take another accessMode, or a volume of each pod's own",
    ),
    (
        "were unschedulable",
        "nodes that would do take no new pods: kubectl uncordon one (kubectl get nodes: SchedulingDisabled), or add nodes that fit the template",
    ),
    (
        "volume node affinity",
        "a volume of the template is where no node fits: correct its claimName, or add nodes there",
    ),
    (
        "persistentvolumeclaim",
        "create the claim that the template names, or correct its claimName; an unbound one needs a volume or a StorageClass",
    ),
    ("insufficient", "lower the template's requests, or add nodes that fit it"),
    // Kubernetes puts these on nodes itself.
    (
        "taint {node.kubernetes.io/",
        "a node that may do is not well, as its taint says: see kubectl describe node, or add nodes that fit the template",
    ),
    ("untolerated taint", "give the template a toleration for the taint, or add nodes without it"),
    ("node affinity/selector", "correct nodeSelector or affinity in the template, or label nodes so that they fit"),
    (
        "free ports",
        "each node takes one pod with this hostPort: take that out of the template, lower spec.replicas, or add nodes",
    ),
    ("too many pods", "the nodes have as many pods as they may: lower spec.replicas, or add nodes"),
    ("affinity rules", "loosen podAffinity or podAntiAffinity in the template, lower spec.replicas, or add nodes"),
    ("topology spread", "loosen topologySpreadConstraints in the template, lower spec.replicas, or add nodes"),
];

fn unschedulable(pod: &Pod) -> Option<Problem> {
    let scheduled = pod.found_no_node()?;
    let said = scheduled.message.to_lowercase();
    let advice = SCHEDULING.iter().find(|(words, _)| said.contains(words));
    let advice =
        advice.map_or("change what this names in the template, or add nodes that fit it", |(_, advice)| advice);
    let message = format!("pod {}: {}; {advice}", name(pod), scheduled.message);
    Some(Problem { reason: WarmPoolReason::Unschedulable, message })
}

#[cfg(test)]
mod tests;
