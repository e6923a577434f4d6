//! What a pool should do now. Pure.

use std::time::Duration;

use arl_crds::{Connect, reason::WarmPoolReason};
use jiff::{SignedDuration, Timestamp};

use super::{observe::Observed, problem, refill::Refill, setback::Setback};
use crate::{
    clock::after,
    object::{Uid, Version},
    pod::{Cause, Pod, Target, how_lost},
};

/// The most pods that are created, and the most that are deleted, before the pool is looked at again: what `replicas` is by then
/// holds for the next ones, the status is written meanwhile, and other pools get their turn.
const AT_ONCE: usize = 16;

/// So many pods wait at most for a node, whatever they have none for: more would only be more to look at, for the scheduler and for this process.
const NOWHERE_MAX: usize = 256;

/// A problem that has come again within this time is not over.
const QUIET: Duration = Duration::from_secs(60);
/// A pod that is ended from outside before it was so old may be ended again as soon as there is another.
const NEW: SignedDuration = SignedDuration::from_secs(30);

/// What to do, in full.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Numbers of the pods to create: higher than any before, so that a stale view asks for a name that exists.
    pub(super) create: Vec<i64>,
    /// How many of these a Sandbox waits for: they go before what nobody waits for.
    pub(super) awaited: usize,
    /// Idle pods that a stream is to be open to.
    pub(super) connect: Vec<Target>,
    /// Pods to delete, as they were seen.
    pub(super) delete: Vec<Version>,
    /// How many pods are missing, whether they may be created now or not.
    pub(super) short: usize,
    /// Until when missing pods are put off, since claims go on.
    pub(super) yields_until: Option<Timestamp>,
    /// What became of pods that ended instead of staying idle.
    pub(super) ended: Option<Setback>,
    /// When an earlier setback is over.
    pub(super) over: Over,
    /// A late pod whose Events are to be looked at.
    pub(super) ask: Option<Version>,
    /// Whether the first pod of a changed template is being made.
    pub(super) rolling_begins: bool,
}

/// When a setback is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Over {
    /// Now, whatever becomes of the pods to create.
    Now,
    /// Once one of them was created.
    OnceCreated,
    #[default]
    Later,
}

impl Over {
    /// Whether it is over, where a pod was created or not.
    pub(super) fn is_so(self, created: bool) -> bool {
        self == Self::Now || (self == Self::OnceCreated && created)
    }
}

/// Decides. `now` only matters while a setback is in force, pods may be missing from the view, or claims go on.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let is_old = |pod: &Pod| observed.is_outdated(pod);
    let alive: Vec<&Pod> = observed.alive().collect();
    let old = alive.iter().filter(|pod| is_old(pod)).count();
    let ready = alive.iter().filter(|pod| pod.is_ready()).count();

    // Where there is no room for one more, an old one goes first. Where a quota then refuses the new one, no other goes.
    let is_out_of_quota = observed.setback.as_ref().is_some_and(Setback::is_quota);
    let has_room = observed.wanted() < observed.scale.room && !(is_out_of_quota && alive.len() == observed.wanted());
    let replicas = observed.wanted().saturating_sub(usize::from(old > 0 && !has_room));
    let surge = usize::from(old > 0 && replicas > 0);
    let short = (replicas + surge).saturating_sub(alive.len());
    let mut delete: Vec<&Pod> = observed.ended().collect();
    let ended = why_ended(observed, now);
    // Where no node has room for one more, an old one goes first too, as long as another is left.
    let is_stuck = has_room && replicas > 1 && alive.iter().any(|pod| !is_old(pod) && pod.is_unschedulable());
    delete.extend(superfluous(&alive, replicas + surge, replicas - usize::from(is_stuck), is_old));
    // Last, since others may be refused for as long as these are, and more is done at a time than may be left.
    delete.extend(observed.strays.iter().map(AsRef::as_ref));

    let held_back = ended.is_some()
        || observed.pool.spec.executor_container().is_err()
        || observed.clogged().is_some()
        || observed.late_until > now
        || observed.setback.as_ref().is_some_and(|s| s.until > now);
    let yields_until = observed.refill.yields_until(now).filter(|_| old == 0);
    let allowed = match observed.setback.as_ref().filter(|setback| setback.slows()) {
        _ if held_back => 0,
        Some(_) => short.min(1), // one to see whether it works again
        None if yields_until.is_some() => short.min(meanwhile(observed, replicas, alive.len())),
        None => short,
    };
    // A scheduler takes pods one by one, and another pool's wait behind those that are in its queue. What was claimed meanwhile is replaced.
    let queued = alive.iter().filter(|pod| pod.awaits_scheduler()).count();
    let at_once = AT_ONCE.saturating_add(observed.demand.claimed_lately).saturating_sub(queued).min(AT_ONCE);
    let nowhere = alive.iter().filter(|pod| pod.is_nowhere()).count();
    let at_once = at_once.min(NOWHERE_MAX.saturating_sub(nowhere));
    let create: Vec<i64> =
        (1..).map_while(|n| observed.last_number.checked_add(n)).take(allowed.min(at_once)).collect();
    Plan {
        awaited: observed.demand.would_claim.saturating_sub(alive.len()).min(create.len()),
        rolling_begins: surge == 1
            && alive.iter().all(|pod| observed.is_of_earlier_template(pod))
            && !create.is_empty(),
        create,
        connect: connect(observed, &alive),
        delete: delete.into_iter().take(AT_ONCE).map(Version::of).collect(),
        short,
        yields_until: yields_until.filter(|_| short > allowed),
        ended,
        over: match &observed.setback {
            // Each old pod makes room for one, and for no more.
            Some(_) if is_out_of_quota && old > 0 => Over::Later,
            Some(refusal) if refusal.is_refusal() && short > 0 => Over::OnceCreated,
            Some(refusal) if refusal.is_refusal() => Over::Now,
            Some(ends) if ready >= replicas && over_at(ends) <= now => Over::Now,
            _ => Over::Later,
        },
        ask: ask(observed, &alive, now),
    }
}

/// The pods that may be claimed, where their pool asks for streams to them.
fn connect(observed: &Observed, alive: &[&Pod]) -> Vec<Target> {
    match observed.pool.spec.executor.connect {
        Connect::Claimed => Vec::new(),
        Connect::Idle => alive.iter().filter(|pod| pod.is_ready()).filter_map(|pod| pod.target()).collect(),
    }
}

/// How many of the missing pods are made while refill yields. Those that somebody waits for are no refill.
fn meanwhile(observed: &Observed, wanted: usize, alive: usize) -> usize {
    match observed.demand.would_claim {
        waiting if waiting > 0 && observed.is_elastic() => waiting.saturating_sub(alive),
        _ => Refill::meanwhile(wanted, alive),
    }
}

/// When a setback counts as over, if the pool is full then: pods that are ended are often ready for a moment before.
fn over_at(setback: &Setback) -> Timestamp {
    after(setback.until, QUIET)
}

/// The pod whose Events are looked at: one at a time, at growing intervals.
fn ask(observed: &Observed, alive: &[&Pod], now: Timestamp) -> Option<Version> {
    let asked = observed.asked.as_ref();
    let mut late = alive.iter().filter(|pod| problem::is_worth_asking(pod, observed.demand.start, now)).peekable();
    let first = *late.peek()?;
    let same = late.find(|pod| asked.is_some_and(|asked| asked.pod == Uid::of(**pod)));
    match (same, asked) {
        (Some(_), Some(asked)) if asked.next > now => None,
        (same, _) => Some(Version::of(*same.unwrap_or(first))),
    }
}

/// When what is said of the pods may be another thing though nothing changes.
pub(super) fn look_again(observed: &Observed, now: Timestamp) -> Option<Timestamp> {
    let is_worth_asking = |pod: &Pod| problem::is_worth_asking(pod, observed.demand.start, now);
    let asked = observed
        .asked
        .as_ref()
        .filter(|asked| observed.alive().any(|pod| asked.pod == Uid::of(pod) && is_worth_asking(pod)));
    let over = observed.setback.as_ref().filter(|s| !s.is_refusal()).map(over_at);
    let changes = observed.alive().filter_map(|pod| problem::changes_at(pod, observed.demand.start, now));
    changes.chain(asked.map(|asked| asked.next)).chain(over).filter(|at| *at > now).min()
}

/// The idle pods to give up: of an old template once more than `needed` are ready, and whatever is above `most`, those first that
/// are of least use.
fn superfluous<'a>(alive: &[&'a Pod], most: usize, needed: usize, is_old: impl Fn(&Pod) -> bool) -> Vec<&'a Pod> {
    let mut by_use = alive.to_vec();
    by_use.sort_by_key(|pod| {
        (pod.is_ready(), !is_old(pod), std::cmp::Reverse(pod.metadata.creation_timestamp.clone().map(|t| t.0)))
    });
    let excess = alive.len().saturating_sub(most);
    if excess > 0 {
        return by_use.into_iter().take(excess).collect();
    }
    // A broken pod of an old template makes room; a ready one goes when a newer one can take its place.
    let broken = by_use.iter().copied().find(|pod| is_old(pod) && !pod.is_ready());
    let ready = alive.iter().filter(|pod| pod.is_ready()).count();
    let spare = (ready > needed).then(|| by_use.iter().copied().find(|pod| is_old(pod))).flatten();
    broken.or(spare).into_iter().collect()
}

/// What it means for the pool that pods have ended, or are to, instead of staying idle. One that cannot be deleted, or takes its
/// time to go, has ended once, and is replaced.
fn why_ended(observed: &Observed, now: Timestamp) -> Option<Setback> {
    let is_new = |pod: &&Pod| !observed.known_ended.contains(&Uid::of(*pod));
    let ended = observed.ended().chain(observed.disrupted()).filter(is_new).map(end_of);
    // Admission that changes the labels of new pods is said already, and their deletion may fail for as long.
    let is_refused = observed.setback.as_ref().is_some_and(|setback| setback.reason == WarmPoolReason::Refused);
    let strays = observed.strays.iter().map(AsRef::as_ref).filter(|pod| !is_refused && is_new(pod));
    let strays = strays.map(|pod| relabelled(pod, now));
    ended
        .chain(strays)
        // The template's own fault is what a person can do something about.
        .min_by_key(|setback| (setback.reason == WarmPoolReason::PodsDisrupted, setback.occasional))
}

/// What it means that somebody labelled an idle pod so that it is none any more.
fn relabelled(pod: &Pod, now: Timestamp) -> Setback {
    let message = format!(
        "pod {} was labelled so that it is none of the idle pods, and is deleted; keep others from changing the labels that begin with \
         arl.infra.io/ (the API server's audit log names them)",
        pod.metadata.name.as_deref().unwrap_or_default(),
    );
    Setback::disrupted(message, pod.first_seen.is_none_or(|seen| now.duration_since(seen) < NEW))
}

/// What an idle pod's end means for the pool.
fn end_of(pod: &Pod) -> Setback {
    let was_new = pod.lasted().is_none_or(|lasted| lasted < NEW);
    let lost = how_lost(Some(pod));
    let message = format!("pod {} {}; {}", pod.metadata.name.as_deref().unwrap_or_default(), lost.message, lost.advice);
    match lost.cause {
        // A kubelet that is restarted looks at its pods anew: one that it had taken before is not refused for its template.
        Cause::Template if was_new => Setback::unstartable(message),
        Cause::Outside | Cause::Deadline | Cause::Template => Setback::disrupted(message, was_new),
        Cause::Own | Cause::OutOfMemory => Setback::ended(message),
    }
}

#[cfg(test)]
mod tests;
