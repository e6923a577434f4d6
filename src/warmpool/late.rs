//! Pods that are not ready long after they were made, or have ceased to be, and what their status says of why. What has not even
//! reached the status, such as a volume that cannot be mounted, is only in the pod's Events.

use std::time::Duration;

use arl_crds::text::printable;
use jiff::Timestamp;

use crate::{
    clock::after,
    effects::PodEvent,
    pod::{ContainerStatus, Pod, PodCondition},
};

/// Starting takes less than this, images apart, where neither probes nor the pool's other pods say that it may take longer.
const LATE: Duration = Duration::from_secs(30);
/// A start may take so many times as long as those of the pool's pods before it.
const SLOWER: u32 = 2;
/// An image may take this long to be pulled before that is worth a word.
const PULLING: Duration = Duration::from_secs(300);
/// What to do about a hook that does not end.
const HOOK: &str =
    "until then the container does not count as running: have the hook end, or leave it out of the template";
/// What a kubelet or scheduler says is quoted up to here.
const QUOTED_MAX: usize = 512;

/// From when on a pod that is not ready is late, where `start` is what pods of its pool were seen to take.
fn late_at(pod: &Pod, start: Duration) -> Option<Timestamp> {
    let since = pod.unready_since?;
    let containers = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    let by_probes = containers.filter(|c| !c.ready).filter_map(|c| {
        let running = c.state.running.as_ref()?;
        // One that was started again has used up what its probes gave it.
        let begun = running.since.filter(|_| c.restart_count == 0).unwrap_or(since);
        Some(after(begun, pod.container(&c.name)?.start_budget()))
    });
    // What a pod waits for that has no node has nothing to do with how long others took to start.
    let as_others = if pod.spec.node_name.is_empty() { LATE } else { LATE.max(start.saturating_mul(SLOWER)) };
    Some(by_probes.fold(after(since, as_others), Timestamp::max))
}

/// When what is said of a pod that stays as it is changes.
pub(super) fn times(pod: &Pod, start: Duration) -> impl Iterator<Item = Timestamp> {
    late_at(pod, start)
        .into_iter()
        .chain(pod.unready_since.into_iter().flat_map(|since| [LATE, PULLING].map(|span| after(since, span))))
}

fn is_late(pod: &Pod, start: Duration, now: Timestamp) -> bool {
    late_at(pod, start).is_some_and(|at| at <= now)
}

/// Whether a pod that is not ready is not late yet, as far as this process saw it in half a minute: it may have been late before.
pub(super) fn may_have_been(pod: &Pod, start: Duration, now: Timestamp) -> bool {
    let is_new = pod.unready_since.is_some_and(|since| after(since, LATE) > now);
    is_new && late_at(pod, start).is_some_and(|at| at > now)
}

/// Whether a pod is late and its status does not say why: it has a node, or nobody has said why it has none, or why it has not the claims that it
/// needs for one.
pub(super) fn is_unexplained(pod: &Pod, start: Duration, now: Timestamp) -> bool {
    let may_be = match pod.condition("PodScheduled") {
        Some(scheduled) => scheduled.status == "True" || pod.uncreated_claims().is_some(),
        None => pod.spec.node_name.is_empty(),
    };
    may_be && is_late(pod, start, now)
}

/// What keeps a late pod from being ready, in words.
pub(super) fn of(pod: &Pod, said: Option<&PodEvent>, start: Duration, now: Timestamp) -> Option<String> {
    if !is_late(pod, start, now) {
        return None;
    }
    // What the scheduler said last is in the pod's status, and is past once it has a node.
    let said = said.filter(|said| !(said.is_of_the_scheduler() && pod.condition("PodScheduled").is_some()));
    let hanging =
        said.filter(|_| !pod.node_is_silent()).and_then(|said| hooked(pod).find(|c| said.is_of_the_start_of(&c.name)));
    let said = said.filter(|said| !said.is_of_a_start());
    let obstacle = || match hanging {
        Some(c) => Some((format!("the postStart hook of its container {} has not ended", c.name), HOOK)),
        None => obstacle(pod, said),
    };
    let (what, advice) = obstacle().map(|(what, advice)| (what, advice.to_owned())).or_else(|| {
        let at = after(pod.unready_since?, PULLING);
        (at <= now).then(|| (being_created(pod), on_its_way(pod)))
    })?;
    let said = said.map(|said| format!(": {}", quoted(&said.to_string()))).unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    Some(format!("pod {name}: {what}{said}; {advice}"))
}

fn is_false<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.condition(type_).filter(|c| c.status == "False")
}

/// What is in the way, and what to do about it.
fn obstacle(pod: &Pod, said: Option<&PodEvent>) -> Option<(String, &'static str)> {
    if let Some(gated) = is_false(pod, "PodScheduled").filter(|c| c.reason == "SchedulingGated") {
        let what = format!("its scheduling gates keep it from a node ({})", quoted(&gated.message));
        return Some((what, "what set the gates has to remove them, or take them out of the template"));
    }
    if let Some(scheduler) = pod.uncreated_claims() {
        let what = format!("its ephemeral volumes have no claims ({})", quoted(&scheduler.message));
        let advice = if said.is_some_and(PodEvent::names_a_cause) {
            "correct what this names"
        } else {
            "check that the controller of ephemeral volumes works, which is part of kube-controller-manager"
        };
        return Some((what, advice));
    }
    if let Some(scheduler) = is_false(pod, "PodScheduled").filter(|c| !c.reason.is_empty()) {
        let what = format!("the scheduler has given it no node ({}: {})", scheduler.reason, quoted(&scheduler.message));
        return Some((what, "correct what this names"));
    }
    if pod.condition("PodScheduled").is_none_or(|c| c.status != "True") {
        if !pod.spec.node_name.is_empty() {
            let what = format!("its nodeName puts it on node {}, which has not taken it", pod.spec.node_name);
            return Some((what, "correct nodeName in the template, or leave it out; see kubectl get nodes"));
        }
        let what = "no scheduler has given it a node".to_owned();
        // A scheduler leaves pods alone whose claims of devices there are not.
        let advice = if said.is_some_and(PodEvent::names_a_cause) {
            "create or correct what this names"
        } else {
            "check the template's schedulerName, and that the scheduler works"
        };
        return Some((what, advice));
    }
    if pod.node_is_silent() {
        return Some((format!("its node {} does not report", pod.spec.node_name), "see kubectl get nodes"));
    }
    if let Some(init) = unfinished_init(pod) {
        return Some(init);
    }
    let containers = &pod.status.container_statuses;
    if let Some((name, ended)) = containers.iter().find_map(|c| Some((&c.name, c.state.terminated.as_ref()?))) {
        let what = format!("its container {name} {}, and is not running", ended.description());
        return Some((
            what,
            "every container of the template must keep running; see that container's log (kubectl logs -c)",
        ));
    }
    if containers.iter().any(|c| c.state.running.is_none()) || containers.is_empty() {
        // A probe that failed was of another container, which may be well by now. What is advisory keeps none from being created.
        let said = said.filter(|said| !said.is_of_a_probe() && !said.is_advisory());
        return said.map(|_| (being_created(pod), "create or correct what this names"));
    }
    if let Some(unready) = pod.unready_container() {
        let what = format!("its container {} runs, and its startup or readiness probe does not succeed", unready.name);
        return Some((what, "correct the probe in the template, or what it asks"));
    }
    let ready = is_false(pod, "Ready")?;
    let what = format!("its containers are ready and it is not ({}: {})", ready.reason, quoted(&ready.message));
    Some((what, "what the template's readinessGates name has to be set by its controller"))
}

/// The init container that the others wait for, once it runs.
fn unfinished_init(pod: &Pod) -> Option<(String, &'static str)> {
    pod.status.init_container_statuses.iter().filter(|c| c.state.running.is_some()).find_map(|c| {
        let what = match pod.goes_on(&c.name) {
            true if c.started => return None,
            true => "runs, and its startup probe does not succeed",
            false => "has not ended",
        };
        Some((
            format!("its init container {} {what}, and the others wait for it", c.name),
            "see that container's log (kubectl logs -c)",
        ))
    })
}

fn being_created(pod: &Pod) -> String {
    let mut all = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    let waiting = all.find_map(|c| Some((&c.name, &c.state.waiting.as_ref()?.reason)));
    waiting.map_or_else(
        || "its containers have not been created".to_owned(),
        |(name, reason)| format!("its container {name} has not started ({reason})"),
    )
}

/// The containers that do not count as running and have a postStart hook.
fn hooked(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let all = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    all.filter(|c| c.state.waiting.is_some() && pod.container(&c.name).is_some_and(|spec| spec.has_post_start))
}

/// Whether a pod's Events may say that a hook of its first start goes on. Later it may be one that fails, which says more.
pub(super) fn may_be_in_hook(pod: &Pod) -> bool {
    hooked(pod).any(|c| c.restart_count == 0)
}

/// What may take a container so long to run. The status of one whose hook runs is that of one whose image is pulled, and where Events do not
/// tell them apart it may be either.
fn on_its_way(pod: &Pod) -> String {
    let image = "its image may still be on its way; see kubectl describe pod";
    hooked(pod).next().map_or_else(
        || image.to_owned(),
        |c| format!("the postStart hook of container {} may not have ended, until which it does not count as running, or {image}", c.name),
    )
}

/// Another's message, made fit to be shown.
pub(super) fn quoted(message: &str) -> String {
    printable(message, QUOTED_MAX)
}
