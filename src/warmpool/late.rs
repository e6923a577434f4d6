//! Pods that are not ready long after they were made, or have ceased to be, and what their status says of why. What has not even
//! reached the status, such as a volume that cannot be mounted, is only in the pod's Events.

use std::time::Duration;

use arl_crds::text::printable;
use jiff::Timestamp;

use crate::{
    clock::after,
    pod::{Pod, PodCondition},
};

/// Starting takes less than this, images apart.
const LATE: Duration = Duration::from_secs(30);
/// An image may take this long to be pulled before that is worth a word.
const PULLING: Duration = Duration::from_secs(300);
/// What a kubelet or scheduler says is quoted up to here.
const QUOTED_MAX: usize = 512;

/// From when on a pod that is not ready is late.
fn late_at(pod: &Pod) -> Option<Timestamp> {
    pod.unready_since.map(|since| after(since, LATE))
}

/// When what is said of a pod that stays as it is changes.
pub(super) fn times(pod: &Pod) -> impl Iterator<Item = Timestamp> {
    pod.unready_since.into_iter().flat_map(|since| [LATE, PULLING].map(|span| after(since, span)))
}

fn is_late(pod: &Pod, now: Timestamp) -> bool {
    late_at(pod).is_some_and(|at| at <= now)
}

/// Whether a pod that is not ready is not late yet, as far as this process saw it: it may have been late before.
pub(super) fn may_have_been(pod: &Pod, now: Timestamp) -> bool {
    late_at(pod).is_some_and(|at| at > now)
}

/// Whether a pod's Events may say more than its status.
pub(super) fn is_worth_asking(pod: &Pod, now: Timestamp) -> bool {
    is_late(pod, now) && pod.condition("PodScheduled").is_some_and(|c| c.status == "True")
}

/// What keeps a late pod from being ready, in words.
pub(super) fn of(pod: &Pod, said: Option<&str>, now: Timestamp) -> Option<String> {
    if !is_late(pod, now) {
        return None;
    }
    let (what, advice) = obstacle(pod, said).or_else(|| {
        let at = after(pod.unready_since?, PULLING);
        (at <= now).then(|| (being_created(pod), "its image may still be on its way; see kubectl describe pod"))
    })?;
    let said = said.map(|said| format!(": {}", quoted(said))).unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    Some(format!("pod {name}: {what}{said}; {advice}"))
}

fn is_false<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.condition(type_).filter(|c| c.status == "False")
}

/// What is in the way, and what to do about it.
fn obstacle(pod: &Pod, said: Option<&str>) -> Option<(String, &'static str)> {
    if let Some(gated) = is_false(pod, "PodScheduled").filter(|c| c.reason == "SchedulingGated") {
        let what = format!("its scheduling gates keep it from a node ({})", quoted(&gated.message));
        return Some((what, "what set the gates has to remove them, or take them out of the template"));
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
        return Some((what, "check the template's schedulerName, and that the scheduler works"));
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
        return Some((what, "every container of the template must keep running; see kubectl logs -c"));
    }
    if containers.iter().any(|c| c.state.running.is_none()) || containers.is_empty() {
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
        Some((format!("its init container {} {what}, and the others wait for it", c.name), "see kubectl logs -c"))
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

/// Another's message, made fit to be shown.
fn quoted(message: &str) -> String {
    printable(message, QUOTED_MAX)
}
