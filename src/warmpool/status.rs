//! The status of a pool that follows from what was observed. Pure.

use arl_crds::{
    WarmPoolPhase, WarmPoolStatus,
    condition::{self, Truth, Wanted},
    labels::{self, PodState},
    reason::{EventReason, WarmPoolReason},
};
use jiff::Timestamp;
use kube::ResourceExt;

use super::{
    observe::Observed,
    trouble::{self, Trouble},
};

/// The condition that says whether pods have a problem.
const PODS_FAILING: &str = "PodsFailing";

/// What the status should be.
pub(super) fn status(observed: &Observed, now: Timestamp) -> WarmPoolStatus {
    let pool = &observed.pool;
    let idle = observed.alive().count();
    let ready = observed.alive().filter(|pod| pod.is_ready()).count();
    let before = pool.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    WarmPoolStatus {
        ready: count(ready),
        allocated: count(observed.allocated),
        total: count(idle + observed.allocated),
        replicas: count(idle),
        selector: Some(format!(
            "{}={},{}={}",
            labels::WARMPOOL,
            pool.name_any(),
            labels::POD_STATE,
            PodState::Ready.as_str()
        )),
        phase: Some(phase(ready, observed.replicas())),
        // Only of pods that were seen: were it ahead of what is in sight, the next look would count past the pods just made.
        last_pod_number: Some(observed.last_number),
        observed_generation: pool.metadata.generation,
        conditions: condition::merge(before, conditions(observed, ready), pool.metadata.generation, now),
    }
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn phase(ready: usize, replicas: usize) -> WarmPoolPhase {
    match ready {
        _ if ready >= replicas => WarmPoolPhase::Ready,
        0 => WarmPoolPhase::Pending,
        _ => WarmPoolPhase::Scaling,
    }
}

/// What is wrong: what the API server refused, else what the pods say, else what became of those that ended.
fn trouble(observed: &Observed) -> Option<Trouble> {
    let set_back = |refusal: bool| {
        let setback = observed.setback.as_ref().filter(|s| s.is_refusal() == refusal && s.is_shown())?;
        Some(Trouble { reason: setback.reason, message: setback.message.clone() })
    };
    let misnamed = || {
        let message = observed.pool.spec.executor_container().err()?.to_string();
        Some(Trouble { reason: WarmPoolReason::InvalidTemplate, message })
    };
    set_back(true).or_else(misnamed).or_else(|| observed.alive().find_map(trouble::of)).or_else(|| set_back(false))
}

fn conditions(observed: &Observed, ready: usize) -> Vec<Wanted> {
    let replicas = observed.replicas();
    let trouble = trouble(observed);
    let complete = ready >= replicas;
    let ready_message = match &trouble {
        _ if complete => format!("{ready} of {replicas} idle pods are ready"),
        Some(trouble) => format!("{ready} of {replicas} idle pods are ready; {}", trouble.message),
        None => format!("{ready} of {replicas} idle pods are ready; the others are starting"),
    };
    let ready_reason = match &trouble {
        _ if complete => WarmPoolReason::PodsReady,
        Some(trouble) => trouble.reason,
        None => WarmPoolReason::PodsNotReady,
    };
    let healthy = || Trouble { reason: WarmPoolReason::PodsHealthy, message: "no idle pod has a problem".into() };
    let failing = trouble.is_some();
    let Trouble { reason, message } = trouble.unwrap_or_else(healthy);
    vec![
        Wanted { type_: "Ready", truth: complete.into(), reason: ready_reason.as_str(), message: ready_message },
        Wanted { type_: PODS_FAILING, truth: Truth::from(failing), reason: reason.as_str(), message },
    ]
}

/// What a person would want to know of the step from `before` to `after`.
pub(super) fn events(before: Option<&WarmPoolStatus>, after: &WarmPoolStatus) -> Vec<(EventReason, String)> {
    let failing = |status: &WarmPoolStatus| {
        let condition = status.conditions.iter().find(|c| c.type_ == PODS_FAILING)?;
        Some((condition.status == "True", condition.reason.clone(), condition.message.clone()))
    };
    match (before.and_then(failing), failing(after)) {
        (before, Some((true, reason, message))) if before.as_ref().is_none_or(|(was, r, _)| !*was || *r != reason) => {
            vec![(EventReason::PodsFailing, format!("{reason}: {message}"))]
        }
        (Some((true, reason, _)), Some((false, ..))) => vec![(EventReason::PodsRecovered, format!("{reason} is over"))],
        _ => Vec::new(),
    }
}
