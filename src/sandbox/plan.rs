//! What a Sandbox should do now. Pure.

use std::time::Duration;

use arl_crds::{SandboxPhase, SandboxStatus, condition, reason::SandboxReason};
use jiff::Timestamp;
use kube::Resource;

use super::{
    idle::{self, Record},
    live::{self, Live},
    observe::Observed,
    setup::{self, Progress},
};
use crate::{
    clock::after,
    effects::Claim,
    object::{Uid, Version},
    pod::Pod,
    runs::{LiveState, SHORT_TASK},
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
        /// Since when it is idle, to be put on record; none leaves the record as it is.
        idle_since: Option<Timestamp>,
    },
    /// It has the pod with this uid, and is being set up.
    SetUp(Uid),
    /// The Task that sets it up is to be made.
    MakeSetup,
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
        let (Self::Hold { pod, .. } | Self::SetUp(pod)) = self else { return None };
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
    /// Whether it waits for what the agent says of live processes.
    pub(super) asks: bool,
}

impl Plan {
    fn of(decision: Decision, look_again: Option<Timestamp>) -> Self {
        Self { decision, surplus: Vec::new(), look_again, asks: false }
    }

    /// What follows from a claim that was refused, where nobody knows yet whether there is another pod: the pods' changes wake it when it
    /// is its turn.
    pub(super) fn refused() -> Self {
        Self::of(Decision::Wait(SandboxReason::ClaimRefused), None)
    }
}

/// Decides.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let mut plan = decide(observed, now);
    let kept = match &plan.decision {
        Decision::Hold { pod, .. } | Decision::SetUp(pod) => Some(pod.clone()),
        // An expired Sandbox takes its pod with it, by the garbage collector; one to be set up is decided on again.
        Decision::Expire | Decision::MakeSetup => return plan,
        _ => None,
    };
    let surplus = observed.owned.iter().filter(|pod| Some(Uid::of(&***pod)) != kept && !pod.is_deleting());
    plan.surplus = surplus.map(|pod| Version::of(&**pod)).collect();
    plan
}

fn decide(observed: &Observed, now: Timestamp) -> Plan {
    if observed.row.is_released() {
        return after_release(observed, now);
    }
    if observed.is_unallocated() {
        // A claim whose status was never written is completed before anything else is claimed.
        // One of which a part was put back is being deleted, or would be if there had been time.
        let is_whole = |pod: &Pod| pod.is_claimed_by(&observed.key().name, &observed.uid());
        let claimed = observed.owned.iter().filter(|pod| pod.is_alive() && is_whole(pod));
        let claimed = claimed.min_by_key(|pod| Uid::of(&***pod));
        return match claimed {
            Some(pod) if !observed.row.is_set_up() => Plan::of(Decision::SetUp(Uid::of(&**pod)), None),
            Some(pod) => Plan::of(hold(pod, SandboxPhase::Ready, None), None),
            None => Plan::of(without_pod(observed), observed.refusal.as_ref().map(|refusal| refusal.retry_at)),
        };
    }
    match observed.pod().filter(|pod| pod.is_alive()) {
        Some(pod) => match setup::progress(observed) {
            Progress::Done => with_pod(observed, pod, now),
            Progress::Succeeded => Plan::of(hold(pod, SandboxPhase::Ready, None), None),
            Progress::Unmade => Plan::of(Decision::MakeSetup, None),
            Progress::Underway => Plan::of(Decision::SetUp(Uid::of(pod)), None),
            Progress::Failed => Plan::of(Decision::Release(SandboxReason::SetupFailed), None),
        },
        None => Plan::of(Decision::Release(SandboxReason::PodLost), None),
    }
}

fn hold(pod: &Pod, phase: SandboxPhase, idle_since: Option<Timestamp>) -> Decision {
    Decision::Hold { pod: Uid::of(pod), phase, idle_since }
}

fn without_pod(observed: &Observed) -> Decision {
    if !observed.pool_exists {
        return Decision::Wait(SandboxReason::PoolNotFound);
    }
    if observed.refusal.is_some() {
        return Decision::Wait(SandboxReason::ClaimRefused);
    }
    let Some(pod) = observed.candidate.clone() else {
        return Decision::Wait(why_unclaimed(observed));
    };
    let Some(owner) = observed.sandbox().controller_owner_ref(&()) else {
        return Decision::Wait(SandboxReason::Claiming);
    };
    Decision::Claim(Claim { pod, sandbox: observed.key().name, owner })
}

/// Why a pool that is there has no pod for it.
fn why_unclaimed(observed: &Observed) -> SandboxReason {
    if observed.pool_is_at_limit { SandboxReason::PoolAtLimit } else { SandboxReason::PoolEmpty }
}

fn with_pod(observed: &Observed, pod: &Pod, now: Timestamp) -> Plan {
    let spec = &observed.sandbox().spec;
    if observed.has_unfinished {
        let bound_at = observed.running_since.map(|since| after(since, SHORT_TASK));
        return match bound_at {
            Some(at) if at <= now => Plan::of(hold(pod, SandboxPhase::Bound, None), None),
            at => Plan::of(hold(pod, SandboxPhase::Ready, None), at),
        };
    }
    let ran =
        observed.last_finished.is_some() || observed.status().is_some_and(|s| s.phase == Some(SandboxPhase::Bound));
    match ttl(spec.ttl_seconds_after_finished) {
        None if !spec.keep_alive && ran => {
            unless_live(observed, pod, (Decision::Release(SandboxReason::TasksFinished), Timestamp::MIN), now)
        }
        // Zero would end a Sandbox before its first Task or live process could reach it.
        Some(Duration::ZERO) if !ran && observed.live.ended.is_none() => {
            Plan::of(hold(pod, SandboxPhase::Ready, None), None)
        }
        ttl => match ttl.map(|ttl| idle::due(observed, ttl, now)).filter(|due| *due <= now) {
            Some(due) => unless_live(observed, pod, (Decision::Expire, due), now),
            // Its end wakes it; what goes on is not put on record as idle.
            None if observed.live.state == LiveState::Active => Plan::of(hold(pod, SandboxPhase::Ready, None), None),
            None => {
                let Record { since, look_again } = idle::record(observed, ttl, now);
                Plan::of(hold(pod, SandboxPhase::Ready, since), look_again)
            }
        },
    }
}

/// An end that was due then, unless there are live processes.
fn unless_live(observed: &Observed, pod: &Pod, (end, due): (Decision, Timestamp), now: Timestamp) -> Plan {
    let kept = |look_again| Plan::of(hold(pod, SandboxPhase::Ready, None), look_again);
    match live::check(observed, pod, due, now) {
        Live::Clear => Plan::of(end, None),
        Live::Keep => kept(None),
        Live::Ask(late) => Plan { asks: true, ..kept(late) },
    }
}

fn after_release(observed: &Observed, now: Timestamp) -> Plan {
    let ttl = ttl(observed.sandbox().spec.ttl_seconds_after_finished).or(observed.released_ttl);
    let Some((ttl, released_at)) = ttl.zip(observed.status().and_then(released_at)) else {
        return Plan::of(Decision::Released, None);
    };
    let due = after(observed.last_finished.map_or(released_at, |last| last.max(released_at)), ttl);
    if due > now {
        return Plan::of(Decision::Released, Some(due));
    }
    // The end of the last of them wakes it.
    Plan::of(if observed.has_unfinished { Decision::Released } else { Decision::Expire }, None)
}

/// Its condition may have been False long before it gave up its pod; one that was released by an earlier version has nothing else.
fn released_at(status: &SandboxStatus) -> Option<Timestamp> {
    let not_ready = condition::find(&status.conditions, "Ready").map(|c| c.last_transition_time.0);
    not_ready.max(status.idle_since.as_ref().map(|at| at.0))
}

fn ttl(seconds: Option<i32>) -> Option<Duration> {
    seconds.map(|s| Duration::from_secs(u64::try_from(s).unwrap_or(0)))
}

#[cfg(test)]
pub(super) mod tests;
