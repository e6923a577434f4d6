//! How many idle pods a pool should have. Without `spec.scaling` that is `replicas`; with it, as many as are asked for. Pure.
//!
//! A pool grows at once and shrinks late: what was needed a moment ago is needed again soon, and a pod that is ready costs less than
//! a Sandbox that waits. So the number goes down only once fewer have been needed for a while, and then step by step.

use std::time::Duration;

use arl_crds::{Scaling, reason::WarmPoolReason};
use jiff::Timestamp;

use crate::clock::after;

/// A step down is this part of what there was when the pool began to shrink.
const STEPS: usize = 5;
/// The steps are this part of the quiet time apart.
const PAUSES: u32 = 10;
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// What Sandboxes ask of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    /// Sandboxes that have no pod.
    pub(super) waiting: usize,
    /// Those of them that would take a pod now: a claim is neither under way nor was it refused a moment ago.
    pub(super) would_claim: usize,
    /// Claims within the last start of a pod: as many are expected during the next.
    pub(super) claimed_lately: usize,
    /// How long a pod takes to start.
    pub(super) start: Duration,
    /// Of the last hundred that got a pod, how many found it ready.
    pub(super) hit_rate: Option<i32>,
}

impl Demand {
    /// The idle pods that are needed: one for each that waits, and half as many again as are expected to be claimed.
    fn need(&self) -> usize {
        self.waiting.saturating_add(self.claimed_lately.saturating_mul(3).div_ceil(2))
    }
}

/// What the spec allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    least: usize,
    /// The most idle pods.
    most: usize,
    /// The idle pods that there is room for beside those that Sandboxes hold.
    room: usize,
    quiet: Duration,
}

impl Bounds {
    /// Those of a pool of which so many pods are held. What the API server does not let through may still be in an old object.
    pub(super) fn of(replicas: usize, scaling: &Scaling, allocated: usize) -> Self {
        let count = |n: i32| usize::try_from(n).unwrap_or(0);
        let room = scaling.max_pods.map_or(usize::MAX, |most| count(most).saturating_sub(allocated));
        let quiet = Duration::from_secs(u64::try_from(scaling.scale_down_after_seconds).unwrap_or(0));
        Self { least: replicas, most: count(scaling.max_replicas).max(replicas), room, quiet }
    }

    fn clamp(&self, need: usize) -> usize {
        need.clamp(self.least, self.most)
    }

    fn pause(&self) -> Duration {
        (self.quiet / PAUSES).max(PAUSE_MIN)
    }
}

/// The number a pool is at, and how it goes down from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) wanted: usize,
    /// When it may go down, unless it is needed again before.
    may_shrink_at: Timestamp,
    /// By how much, once it has begun to.
    step: Option<usize>,
}

impl Level {
    /// Where a pool begins: at what an earlier process had on record, as if that was needed until now.
    pub(super) fn recorded(wanted: usize, bounds: &Bounds, now: Timestamp) -> Self {
        Self { wanted, may_shrink_at: after(now, bounds.quiet), step: None }
    }
}

/// What keeps a pool from having the pods that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// `scaling.maxReplicas`.
    MaxReplicas,
    /// `scaling.maxPods`.
    MaxPods,
    /// Pods fail or cannot be scheduled.
    Held,
}

impl Limit {
    pub(super) fn reason(self) -> WarmPoolReason {
        match self {
            Self::MaxReplicas => WarmPoolReason::AtMaxReplicas,
            Self::MaxPods => WarmPoolReason::AtMaxPods,
            Self::Held => WarmPoolReason::GrowthHeld,
        }
    }
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    /// The idle pods that the pool should have: the level, as far as there is room.
    pub(super) wanted: usize,
    /// There are never more idle pods than this, the one more while a template rolls included.
    pub(super) room: usize,
    pub(super) level: Level,
    pub(super) limit: Option<Limit>,
    /// When another number may follow though nothing happens.
    pub(super) look_again: Option<Timestamp>,
}

impl Scale {
    /// Of a pool without `scaling`.
    pub(super) fn fixed(replicas: usize) -> Self {
        let level = Level { wanted: replicas, may_shrink_at: Timestamp::MAX, step: None };
        Self { wanted: replicas, room: usize::MAX, level, limit: None, look_again: None }
    }
}

/// Decides. `is_held` says that the pool's pods fail or cannot be scheduled, so that more of them would be no help.
pub(super) fn scale(bounds: &Bounds, demand: &Demand, before: Level, is_held: bool, now: Timestamp) -> Scale {
    let need = demand.need();
    // One pod shows whether it works again.
    let most = before.wanted.max(1);
    let held = is_held && need > most.max(bounds.least);
    let target = bounds.clamp(if held { most } else { need });
    let level = next(bounds, before, target, now);
    let limit = match () {
        () if need.max(bounds.least) > bounds.room => Some(Limit::MaxPods),
        () if need > bounds.most => Some(Limit::MaxReplicas),
        () if held => Some(Limit::Held),
        () => None,
    };
    // What waits goes on to be needed; what is expected is so for a while.
    let lasting = bounds.clamp(demand.waiting);
    let shrinks = (level.wanted > lasting).then_some(level.may_shrink_at);
    let expected = (demand.claimed_lately > 0 && limit.is_some()).then(|| after(now, demand.start + PAUSE_MIN));
    Scale {
        wanted: level.wanted.min(bounds.room),
        room: bounds.room,
        level,
        limit,
        look_again: shrinks.into_iter().chain(expected).min(),
    }
}

/// Up at once; down after the quiet time, a step at a time.
fn next(bounds: &Bounds, before: Level, target: usize, now: Timestamp) -> Level {
    let wanted = before.wanted.min(bounds.most);
    if target >= wanted {
        return Level { wanted: target, may_shrink_at: after(now, bounds.quiet), step: None };
    }
    // The quiet time may have been made shorter.
    let may_shrink_at = before.may_shrink_at.min(after(now, bounds.quiet.max(bounds.pause())));
    if now < may_shrink_at {
        return Level { wanted, may_shrink_at, ..before };
    }
    let step = before.step.unwrap_or_else(|| wanted.div_ceil(STEPS));
    Level {
        wanted: wanted.saturating_sub(step).max(target),
        may_shrink_at: after(now, bounds.pause()),
        step: Some(step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn bounds(least: usize, max_replicas: i32, max_pods: Option<i32>, allocated: usize) -> Bounds {
        let scaling = Scaling { max_replicas, max_pods, scale_down_after_seconds: 100 };
        Bounds::of(least, &scaling, allocated)
    }

    fn demand(waiting: usize, claimed_lately: usize) -> Demand {
        let start = Duration::from_secs(2);
        Demand { waiting, would_claim: waiting, claimed_lately, start, hit_rate: None }
    }

    fn level(wanted: usize) -> Level {
        Level { wanted, may_shrink_at: at(50), step: None }
    }

    /// What it is about; bounds; who waits and what was claimed lately; the level before; whether pods fail: what is wanted, the limit.
    type Case = (&'static str, Bounds, (usize, usize), usize, bool, (usize, Option<Limit>));

    #[test]
    fn as_many_are_wanted_as_are_asked_for_within_the_bounds() {
        use Limit::{Held, MaxPods, MaxReplicas};
        let cases: &[Case] = &[
            ("nobody asks", bounds(3, 20, None, 0), (0, 0), 3, false, (3, None)),
            ("a pool that sleeps", bounds(0, 20, None, 0), (0, 0), 0, false, (0, None)),
            ("wakes for one", bounds(0, 20, None, 0), (1, 0), 0, false, (1, None)),
            ("and for as many as wait", bounds(0, 20, None, 0), (20, 0), 0, false, (20, None)),
            ("and not for more than it may", bounds(0, 20, None, 0), (21, 0), 0, false, (20, Some(MaxReplicas))),
            ("half as much again as was claimed", bounds(3, 20, None, 9), (0, 9), 3, false, (14, None)),
            ("rounded up", bounds(0, 20, None, 1), (0, 1), 0, false, (2, None)),
            ("both together", bounds(0, 99, None, 9), (5, 10), 3, false, (20, None)),
            ("fewer are kept until it was quiet", bounds(3, 20, None, 0), (0, 0), 18, false, (18, None)),
            ("replicas were raised", bounds(7, 20, None, 0), (0, 0), 3, false, (7, None)),
            ("maxReplicas was lowered", bounds(3, 8, None, 0), (0, 0), 18, false, (8, None)),
            ("as many as there is room for", bounds(3, 20, Some(25), 15), (12, 0), 3, false, (10, Some(MaxPods))),
            ("as many as are asked for", bounds(3, 20, Some(25), 15), (10, 0), 3, false, (10, None)),
            ("no room", bounds(3, 20, Some(20), 20), (1, 0), 3, false, (0, Some(MaxPods))),
            ("more are held than there may be", bounds(3, 20, Some(20), 30), (0, 0), 3, false, (0, Some(MaxPods))),
            ("what is kept takes no room from others", bounds(0, 20, Some(20), 12), (0, 2), 18, false, (8, None)),
            ("pods fail", bounds(0, 20, None, 0), (9, 0), 4, true, (4, Some(Held))),
            ("pods failed, and one shows whether they do", bounds(0, 20, None, 0), (9, 0), 0, true, (1, Some(Held))),
            ("pods fail, and enough are there", bounds(0, 20, None, 0), (4, 0), 4, true, (4, None)),
            ("pods fail, and replicas were raised", bounds(6, 20, None, 0), (4, 0), 4, true, (6, None)),
            ("a spec that the API server would refuse", bounds(9, 5, Some(3), 0), (0, 0), 9, false, (3, Some(MaxPods))),
        ];
        for (what, bounds, (waiting, claimed), before, is_held, (wanted, limit)) in cases {
            let found = scale(bounds, &demand(*waiting, *claimed), level(*before), *is_held, at(0));
            assert_eq!((found.wanted, found.limit), (*wanted, *limit), "{what}");
        }
    }

    /// The numbers in turn and when each began, with nothing asked for from `since` on, looking only when it says so.
    fn shrinks(bounds: &Bounds, from: usize, waiting: usize) -> Vec<(i64, usize)> {
        let (mut level, mut now, mut seen) = (Level::recorded(from, bounds, at(0)), at(0), Vec::new());
        for _ in 0..99 {
            let scale = scale(bounds, &demand(waiting, 0), level, false, now);
            assert!(scale.level.wanted <= level.wanted, "it never goes up again");
            seen.push((now.as_second(), scale.wanted));
            level = scale.level;
            match scale.look_again {
                Some(at) => now = at,
                None => return seen,
            }
        }
        panic!("it does not come to rest: {seen:?}");
    }

    #[test]
    fn a_shorter_quiet_time_counts_from_its_change() {
        let before = Level { wanted: 5, may_shrink_at: at(300), step: None };
        let found = scale(&bounds(0, 20, None, 0), &demand(0, 0), before, false, at(50));
        assert_eq!((found.wanted, found.look_again), (5, Some(at(150))));
    }

    #[test]
    fn it_shrinks_by_fifths_once_it_was_quiet_and_comes_to_rest_at_what_is_needed() {
        let steps = [(0, 20), (100, 16), (110, 12), (120, 8), (130, 4), (140, 0)];
        assert_eq!(shrinks(&bounds(0, 20, None, 0), 20, 0), steps);
        assert_eq!(shrinks(&bounds(10, 20, None, 0), 20, 0), [(0, 20), (100, 16), (110, 12), (120, 10)]);
        assert_eq!(shrinks(&bounds(0, 20, None, 0), 3, 0), [(0, 3), (100, 2), (110, 1), (120, 0)]);
        assert_eq!(shrinks(&bounds(0, 20, None, 0), 20, 7), [(0, 20), (100, 16), (110, 12), (120, 8), (130, 7)]);
        assert_eq!(shrinks(&bounds(5, 20, None, 0), 5, 0), [(0, 5)], "at rest nothing is looked at again");
        assert_eq!(
            shrinks(&bounds(0, 20, None, 0), 20, 40),
            [(0, 20)],
            "nor where more wait than it may have pods for"
        );
    }

    #[test]
    fn what_is_needed_again_before_it_was_quiet_stays() {
        let bounds = bounds(0, 100, None, 0);
        let mut level = Level::recorded(0, &bounds, at(0));
        // A burst of 30 each minute, for ten of them, and looks in between.
        let mut wanted = Vec::new();
        for second in 0..600 {
            let claimed = if second % 60 < 2 { 30 } else { 0 };
            level = scale(&bounds, &demand(0, claimed), level, false, at(second)).level;
            wanted.push(level.wanted);
        }
        assert!(wanted.iter().all(|wanted| *wanted == 45), "{wanted:?}");
    }

    #[test]
    fn a_level_that_shrinks_begins_anew_where_more_is_needed() {
        let bounds = bounds(0, 20, None, 0);
        let shrunk = scale(&bounds, &demand(0, 0), level(20), false, at(60));
        assert_eq!((shrunk.wanted, shrunk.look_again), (16, Some(at(70))));
        let again = scale(&bounds, &demand(18, 0), shrunk.level, false, at(65));
        assert_eq!((again.wanted, again.level.may_shrink_at), (18, at(165)));
        let later = scale(&bounds, &demand(0, 0), again.level, false, at(165));
        assert_eq!(later.wanted, 14, "by a fifth of what there was now");
    }

    #[test]
    fn a_limit_that_is_met_by_claims_alone_is_looked_at_again_once_they_are_past() {
        let bounds = bounds(0, 20, None, 0);
        let limited = scale(&bounds, &demand(0, 20), level(20), false, at(0));
        assert_eq!((limited.limit, limited.look_again), (Some(Limit::MaxReplicas), Some(at(3))));
        let past = scale(&bounds, &demand(0, 0), limited.level, false, at(3));
        assert_eq!((past.limit, past.wanted, past.look_again), (None, 20, Some(at(100))));
    }

    /// Poisson-like demand must not make the number go up and down with each look.
    #[test]
    fn steady_demand_settles() {
        let bounds = bounds(2, 200, None, 0);
        let (mut level, mut changed_at) = (Level::recorded(2, &bounds, at(0)), 0);
        for second in 0..3_000 {
            // 40 to 60 within a start of a pod, in no order that helps.
            let claimed = 40 + usize::try_from(second * 7_919 % 21).unwrap();
            let next = scale(&bounds, &demand(0, claimed), level, false, at(second)).level;
            if next.wanted != level.wanted {
                changed_at = second;
            }
            level = next;
        }
        assert_eq!(level.wanted, 90);
        assert!(changed_at < 60, "it is found within a minute, and stays: {changed_at}");
    }
}
