//! What a Sandbox should do now. Pure.

use std::time::Duration;

use arl_crds::{SandboxPhase, reason::SandboxReason};
use jiff::Timestamp;
use kube::Resource;

use super::{
    idle::{self, Record},
    observe::Observed,
};
use crate::{
    clock::after,
    effects::Claim,
    object::{Uid, Version},
    pod::Pod,
    runs::SHORT_TASK,
};

/// What the Sandbox is about.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    /// It has no pod, because.
    Wait(SandboxReason),
    /// It takes this pod.
    Claim(Claim),
    /// It has the pod with this uid, and is in this phase.
    Hold {
        /// The pod.
        pod: Uid,
        /// Ready or Bound.
        phase: SandboxPhase,
        /// Since when it is idle, to be put on record; nothing keeps the record.
        idle_since: Option<Timestamp>,
    },
    /// It gives up its pod, because.
    Release(SandboxReason),
    /// It has given up its pod, and that is on record.
    Released,
    /// It was idle too long, or released long ago: the object goes.
    Expire,
}

impl Decision {
    /// The pod it has.
    pub(super) fn held<'a>(&self, observed: &'a Observed) -> Option<&'a Pod> {
        let Self::Hold { pod, .. } = self else { return None };
        observed.owned.iter().map(AsRef::as_ref).find(|owned| Uid::of(*owned) == *pod)
    }

    /// Whether the cache's word that no Task needs the pod is not enough.
    pub(super) fn needs_confirmation(&self) -> bool {
        matches!(self, Self::Release(SandboxReason::TasksFinished))
    }
}

/// What to do, in full.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) decision: Decision,
    /// Pods it owns and must not have, to be deleted once the status is on record.
    pub(super) surplus: Vec<Version>,
    /// When something will be due.
    pub(super) look_again: Option<Timestamp>,
}

impl Plan {
    /// What follows from a claim that somebody else won: it waits, and the pods' changes wake it when it is its turn.
    pub(super) fn outrun() -> Self {
        Self { decision: Decision::Wait(SandboxReason::PoolEmpty), surplus: Vec::new(), look_again: None }
    }
}

/// Decides.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let (decision, look_again) = decide(observed, now);
    let kept = match &decision {
        Decision::Hold { pod, .. } => Some(pod.clone()),
        // An expired Sandbox takes its pod with it, by the garbage collector.
        Decision::Expire => return Plan { decision, surplus: Vec::new(), look_again },
        _ => None,
    };
    let surplus = observed.owned.iter().filter(|pod| Some(Uid::of(&***pod)) != kept && !pod.is_deleting());
    Plan { surplus: surplus.map(|pod| Version::of(&**pod)).collect(), decision, look_again }
}

fn decide(observed: &Observed, now: Timestamp) -> (Decision, Option<Timestamp>) {
    if observed.row.is_released() {
        return after_release(observed, now);
    }
    if observed.is_unallocated() {
        // A claim whose status was never written is completed before anything else is claimed.
        let claimed = observed.owned.iter().filter(|pod| pod.is_alive()).min_by_key(|pod| Uid::of(&***pod));
        return match claimed {
            Some(pod) => (Decision::Hold { pod: Uid::of(&**pod), phase: SandboxPhase::Ready, idle_since: None }, None),
            None => (without_pod(observed), observed.refusal.as_ref().map(|refusal| refusal.retry_at)),
        };
    }
    match observed.pod().filter(|pod| pod.is_alive()) {
        Some(pod) => with_pod(observed, pod, now),
        None => (Decision::Release(SandboxReason::PodLost), None),
    }
}

fn without_pod(observed: &Observed) -> Decision {
    if !observed.pool_exists {
        return Decision::Wait(SandboxReason::PoolNotFound);
    }
    if observed.refusal.is_some() {
        return Decision::Wait(SandboxReason::ClaimRefused);
    }
    let Some(pod) = observed.candidate.clone() else {
        return Decision::Wait(SandboxReason::PoolEmpty);
    };
    let Some(mut owner) = observed.sandbox().controller_owner_ref(&()) else {
        return Decision::Wait(SandboxReason::Claiming);
    };
    owner.block_owner_deletion = None;
    Decision::Claim(Claim { pod, sandbox: observed.key().name, owner })
}

fn with_pod(observed: &Observed, pod: &Pod, now: Timestamp) -> (Decision, Option<Timestamp>) {
    let spec = &observed.sandbox().spec;
    let hold = |phase, idle_since| Decision::Hold { pod: Uid::of(pod), phase, idle_since };
    if observed.unfinished > 0 {
        let bound_at = observed.running_since.map(|since| after(since, SHORT_TASK));
        return match bound_at {
            Some(at) if at <= now => (hold(SandboxPhase::Bound, None), None),
            at => (hold(SandboxPhase::Ready, None), at),
        };
    }
    let ran =
        observed.last_finished.is_some() || observed.status().is_some_and(|s| s.phase == Some(SandboxPhase::Bound));
    match ttl(spec.ttl_seconds_after_finished) {
        None if !spec.keep_alive && ran => (Decision::Release(SandboxReason::TasksFinished), None),
        // Zero would end a Sandbox before its first Task could reach it.
        Some(Duration::ZERO) if !ran => (hold(SandboxPhase::Ready, None), None),
        Some(ttl) if idle::due(observed, ttl, now) <= now => (Decision::Expire, None),
        ttl => {
            let Record { since, look_again } = idle::record(observed, ttl, now);
            (hold(SandboxPhase::Ready, since), look_again)
        }
    }
}

fn after_release(observed: &Observed, now: Timestamp) -> (Decision, Option<Timestamp>) {
    let ttl = ttl(observed.sandbox().spec.ttl_seconds_after_finished).or(observed.released_ttl);
    let ready = observed.status().and_then(|s| s.conditions.iter().find(|c| c.type_ == "Ready"));
    let Some((ttl, released_at)) = ttl.zip(ready.map(|c| c.last_transition_time.0)) else {
        return (Decision::Released, None);
    };
    let due = after(observed.last_finished.map_or(released_at, |last| last.max(released_at)), ttl);
    match observed.unfinished {
        _ if due > now => (Decision::Released, Some(due)),
        0 => (Decision::Expire, None),
        // The end of the last of them wakes it.
        _ => (Decision::Released, None),
    }
}

fn ttl(seconds: Option<i32>) -> Option<Duration> {
    seconds.map(|s| Duration::from_secs(u64::try_from(s).unwrap_or(0)))
}

#[cfg(test)]
mod tests;
