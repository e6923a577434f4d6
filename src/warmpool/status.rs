//! The status of a pool that follows from what was observed. Pure.

use arl_crds::{
    Scaling, WarmPoolPhase, WarmPoolStatus,
    condition::{self, PODS_FAILING, SCALING_LIMITED, TEMPLATE_WARNINGS, Truth, Wanted, is_alike},
    labels::{self, PodState},
    reason::{EventReason, WarmPoolReason},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use super::{
    late, manifest,
    observe::Observed,
    problem::{self, Problem},
    scaling::Limit,
    setback::Setback,
};
use crate::pod::Pod;

/// Whether a status may be written a little later than it is true: where its numbers alone differ from those on record.
pub(super) fn may_wait(recorded: Option<&WarmPoolStatus>, wanted: &WarmPoolStatus) -> bool {
    let Some(recorded) = recorded else { return false };
    let says_the_same = |now: &Condition| {
        let was = condition::find(&recorded.conditions, &now.type_);
        was.is_some_and(|was| {
            was.status == now.status && was.reason == now.reason && is_alike(&was.message, &now.message)
        })
    };
    recorded.observed_generation == wanted.observed_generation
        && recorded.conditions.len() == wanted.conditions.len()
        && wanted.conditions.iter().all(says_the_same)
}

/// What the status should be.
pub(super) fn status(observed: &Observed, now: Timestamp) -> WarmPoolStatus {
    let pool = &observed.pool;
    let idle = observed.alive().count();
    let ready = observed.alive().filter(|pod| pod.is_ready()).count();
    let elastic = observed.is_elastic();
    let of_elastic = |n: usize| elastic.then(|| count(n));
    let before = pool.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    WarmPoolStatus {
        ready: count(ready),
        allocated: count(observed.allocated),
        total: count(idle + observed.allocated),
        replicas: count(idle),
        outdated: count(observed.alive().filter(|pod| observed.is_of_earlier_template(pod)).count()),
        selector: Some(format!(
            "{}={},{}={}",
            labels::WARMPOOL,
            pool.name_any(),
            labels::POD_STATE,
            PodState::Ready.as_str()
        )),
        phase: Some(phase(ready, observed.wanted())),
        wanted: of_elastic(observed.wanted()),
        waiting: of_elastic(observed.demand.waiting),
        // What an earlier process saw counts until this one has seen a claim.
        hit_rate: observed.demand.hit_rate.or(pool.status.as_ref().and_then(|s| s.hit_rate)).filter(|_| elastic),
        // Only of pods that were seen: were it ahead of what is in sight, the next look would count past the pods just made.
        last_pod_number: Some(observed.last_number),
        observed_generation: pool.metadata.generation,
        conditions: condition::merge(before, conditions(observed, ready, now), pool.metadata.generation, now),
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

/// What is wrong: what the API server refused, else what the pods say, else a quota, beside which those there are may fail as well, else what
/// became of those that ended.
fn problem(observed: &Observed, now: Timestamp) -> Option<Problem> {
    let goes_first = |setback: &Setback| setback.is_refusal() && !setback.is_quota();
    let set_back = |first: bool| {
        let setback = observed.setback.as_ref().filter(|s| goes_first(s) == first && s.is_shown())?;
        Some(Problem { reason: setback.reason, message: setback.message.clone() })
    };
    let misnamed = || {
        let message = observed.pool.spec.executor_container().err()?.to_string();
        Some(Problem { reason: WarmPoolReason::InvalidTemplate, message })
    };
    let clogged = || {
        let left = observed.clogged()?;
        let pods = if left == 1 { "1 pod has".to_owned() } else { format!("{left} pods have") };
        let message = format!(
            "{pods} ended and cannot be deleted, and no more are made before that is; the condition Stalled has the cause"
        );
        Some(Problem { reason: WarmPoolReason::PodsEnded, message })
    };
    let of_pod = |pod: &Pod| problem::of(pod, observed.said_of(pod), observed.demand.start, now);
    let of_pods =
        || observed.alive().find_map(|pod| of_pod(pod).map(|found| hook_before(observed, pod).unwrap_or(found)));
    let of_pods = || of_pods().or_else(|| said_before(observed, now));
    set_back(true).or_else(misnamed).or_else(clogged).or_else(of_pods).or_else(|| set_back(false))
}

/// What was said of a late pod that is not late by what this process has seen of it, since that began a moment ago, or whose Events it has not
/// seen yet, which said it.
fn said_before(observed: &Observed, now: Timestamp) -> Option<Problem> {
    let (said, reason) = (&observed.pool.status.as_ref()?.conditions, WarmPoolReason::PodsLate);
    let said = condition::find_true(said, PODS_FAILING).filter(|said| said.reason == reason.as_str())?;
    let is_of = |pod: &Pod| said.message.starts_with(&format!("pod {}: ", pod.name_any()));
    let is_asked = observed.asked.as_ref().is_some_and(|asked| asked.times > 0);
    let start = observed.demand.start;
    let may_be = |pod: &Pod| late::may_have_been(pod, start, now) || !is_asked && late::is_unexplained(pod, start, now);
    let is_said = observed.alive().any(|pod| may_be(pod) && is_of(pod));
    is_said.then(|| Problem { reason, message: said.message.clone() })
}

/// What was said of a postStart hook that failed, whose words a pod's status has for a moment only.
fn hook_before(observed: &Observed, pod: &Pod) -> Option<Problem> {
    let (said, reason) = (&observed.pool.status.as_ref()?.conditions, WarmPoolReason::CreateContainerError);
    let said = condition::find_true(said, PODS_FAILING).filter(|said| said.reason == reason.as_str())?;
    let is_of = |name: &str| said.message.starts_with(&format!("pod {}, container {name}: ", pod.name_any()));
    problem::may_be_unhooked(pod).any(is_of).then(|| Problem { reason, message: said.message.clone() })
}

fn conditions(observed: &Observed, ready: usize, now: Timestamp) -> Vec<Wanted> {
    let replicas = observed.wanted();
    let problem = problem(observed, now);
    let complete = ready >= replicas;
    let ready_message = match &problem {
        _ if complete => format!("{ready} of {replicas} idle pods are ready"),
        Some(problem) => format!("{ready} of {replicas} idle pods are ready; {}", problem.message),
        None if observed.is_unanswered => format!(
            "{ready} of {replicas} idle pods are ready; the API server, or a webhook that it asks about pods, takes long to answer"
        ),
        None => format!("{ready} of {replicas} idle pods are ready; the others are starting"),
    };
    let ready_reason = match &problem {
        _ if complete => WarmPoolReason::PodsReady,
        Some(problem) => problem.reason,
        None => WarmPoolReason::PodsNotReady,
    };
    let healthy = || Problem { reason: WarmPoolReason::PodsHealthy, message: "no idle pod has a problem".into() };
    let limited = limited(observed, problem.as_ref());
    let failing = problem.is_some();
    let Problem { reason, message } = problem.unwrap_or_else(healthy);
    let mut wanted = vec![
        Wanted { type_: "Ready", truth: complete.into(), reason: ready_reason.as_str(), message: ready_message },
        Wanted { type_: PODS_FAILING, truth: Truth::from(failing), reason: reason.as_str(), message },
    ];
    wanted.extend(limited);
    wanted.extend(warned(observed));
    wanted
}

/// Whether its limits keep it from having the pods that are wanted. Numbers that change with each claim are not in the message: each
/// change is a write.
fn limited(observed: &Observed, problem: Option<&Problem>) -> Option<Wanted> {
    let Scaling { max_replicas, max_pods, .. } = observed.pool.spec.scaling.as_ref()?;
    let message = match observed.scale.limit {
        None => "the pool has, or makes, the idle pods that are wanted".to_owned(),
        Some(Limit::MaxReplicas) => format!(
            "more idle pods are wanted than scaling.maxReplicas {max_replicas} allows; raise it if Sandboxes wait often"
        ),
        Some(Limit::MaxPods) => format!(
            "more pods are wanted than scaling.maxPods {} allows, those that Sandboxes hold included; delete Sandboxes that are no \
             longer needed, or raise it",
            max_pods.unwrap_or_default()
        ),
        Some(Limit::Held) => format!(
            "more idle pods are wanted, and none are added while pods fail; {}",
            problem.map_or("see the condition PodsFailing", |problem| problem.message.as_str())
        ),
    };
    let limit = observed.scale.limit;
    let reason = limit.map_or(WarmPoolReason::WithinLimits, Limit::reason).as_str();
    Some(Wanted { type_: SCALING_LIMITED, truth: limit.is_some().into(), reason, message })
}

/// What the API server warns of, such as a misspelt field, which it leaves out, or what a policy only warns of. It is there only while there
/// is something; what an earlier process was told stays until a pod is created.
fn warned(observed: &Observed) -> Option<Wanted> {
    let recorded = || {
        let status = observed.pool.status.as_ref()?;
        condition::find(&status.conditions, TEMPLATE_WARNINGS).map(|c| c.message.clone())
    };
    let message = match &observed.warnings {
        None => recorded()?,
        Some(warnings) if warnings.is_empty() => return None,
        Some(warnings) => {
            let (left_out, others): (Vec<_>, Vec<_>) =
                warnings.iter().map(String::as_str).partition(|warning| manifest::is_left_out(warning));
            let of = |warnings: &[&str], words: &str, advice: &str| {
                (!warnings.is_empty()).then(|| format!("{words}: {}{advice}", warnings.join("; ")))
            };
            let left_out = of(&left_out, "of what the template has, this is left out", "; correct spec.template");
            let others = of(&others, "the API server warns", "");
            left_out.into_iter().chain(others).collect::<Vec<_>>().join("; besides, ")
        }
    };
    let reason = WarmPoolReason::TemplateWarnings.as_str();
    Some(Wanted { type_: TEMPLATE_WARNINGS, truth: Truth::True, reason, message })
}

/// What a person would want to know of the step from `before` to `after`.
pub(super) fn events(before: Option<&WarmPoolStatus>, after: &WarmPoolStatus) -> Vec<(EventReason, String)> {
    let failing = |status: &WarmPoolStatus| {
        let condition = condition::find(&status.conditions, PODS_FAILING)?;
        Some((condition.status == "True", condition.reason.clone(), condition.message.clone()))
    };
    let warned =
        |status: &WarmPoolStatus| condition::find(&status.conditions, TEMPLATE_WARNINGS).map(|c| c.message.clone());
    let mut events: Vec<_> = warned(after)
        .filter(|message| before.and_then(warned).as_ref() != Some(message))
        .map(|message| (EventReason::TemplateWarnings, message))
        .into_iter()
        .collect();
    // That pods fail has its own Event.
    let limited = |status: &WarmPoolStatus| {
        let limited = condition::find_true(&status.conditions, SCALING_LIMITED)?;
        (limited.reason != WarmPoolReason::GrowthHeld.as_str())
            .then(|| (limited.reason.clone(), limited.message.clone()))
    };
    if let Some((reason, message)) = limited(after)
        && before.and_then(limited).is_none_or(|(was, _)| was != reason)
    {
        events.push((EventReason::ScalingLimited, format!("{reason}: {message}")));
    }
    match (before.and_then(failing), failing(after)) {
        (before, Some((true, reason, message))) if before.as_ref().is_none_or(|(was, r, _)| !*was || *r != reason) => {
            events.push((EventReason::PodsFailing, format!("{reason}: {message}")));
        }
        (Some((true, reason, _)), Some((false, ..))) => {
            events.push((EventReason::PodsRecovered, format!("{reason} is over")));
        }
        _ => {}
    }
    events
}
