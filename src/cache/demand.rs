//! What Sandboxes asked of a pool lately, as far as this process has seen it: when its pods were claimed, how long they took to start,
//! and who found one ready. It ends with the pool.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;

/// How long a pod takes to start before one was seen to.
const START: Duration = Duration::from_secs(5);
/// The shortest and the longest start that is reckoned with: the API keeps whole seconds, and an image that is pulled for the first time
/// says little about the next pod.
const STARTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));
/// Of a new start, one part in so many counts beside those before it.
const WEIGHT: u32 = 4;
/// So many Sandboxes make up the hit rate.
const SERVED: usize = 100;

/// What was asked of one pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolDemand {
    /// When a pod was last claimed.
    pub last_claim: Option<Timestamp>,
    /// The seconds in which pods were claimed, and how many in each: those of the longest start, and no more.
    claims: VecDeque<(i64, usize)>,
    start: Option<Duration>,
    /// Whether the last Sandboxes that got a pod found one at once.
    served: VecDeque<bool>,
}

impl PoolDemand {
    /// A pod was claimed.
    pub(crate) fn claimed(&mut self, now: Timestamp) {
        self.last_claim = Some(now);
        let second = now.as_second();
        let is_recent = |at: i64| (0..=STARTS.1.as_secs().cast_signed()).contains(&(second - at));
        self.claims.retain(|(at, _)| is_recent(*at));
        match self.claims.back_mut().filter(|(at, _)| *at == second) {
            Some((_, number)) => *number += 1,
            None => self.claims.push_back((second, 1)),
        }
    }

    /// A pod was ready so long after it was made.
    pub(crate) fn started(&mut self, took: Duration) {
        let took = took.clamp(STARTS.0, STARTS.1);
        let before = self.start.unwrap_or(took);
        self.start = Some((before * (WEIGHT - 1) + took) / WEIGHT);
    }

    /// A Sandbox got a pod, at once or after it had waited.
    pub(crate) fn served(&mut self, at_once: bool) {
        self.served.push_back(at_once);
        if self.served.len() > SERVED {
            self.served.pop_front();
        }
    }

    /// How long a pod takes to start.
    pub fn start(&self) -> Duration {
        self.start.unwrap_or(START)
    }

    /// How many pods were claimed during the last start of a pod.
    pub fn claimed_lately(&self, now: Timestamp) -> usize {
        let start = self.start().as_secs_f64().ceil();
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let is_recent = |at: i64| (0.0..=start).contains(&((now.as_second() - at) as f64));
        self.claims.iter().filter(|(at, _)| is_recent(*at)).map(|(_, number)| number).sum()
    }

    /// Of a hundred Sandboxes that got a pod lately, how many found one at once.
    pub fn hit_rate(&self) -> Option<i32> {
        let hits = self.served.iter().filter(|at_once| **at_once).count();
        i32::try_from((hits * 100).checked_div(self.served.len())?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn claims_count_for_as_long_as_a_pod_takes_to_start() {
        let mut demand = PoolDemand::default();
        let at = |second: i64| at(1_000_000 + second);
        for second in [0, 10, 10, 12] {
            demand.claimed(at(second));
        }
        let lately = |demand: &PoolDemand| [10, 12, 15, 16, 18].map(|now| demand.claimed_lately(at(now)));
        assert_eq!(lately(&demand), [2, 3, 3, 1, 0], "five seconds, before a start was seen");
        demand.started(Duration::from_secs(2));
        assert_eq!(lately(&demand), [2, 3, 0, 0, 0]);
        demand.started(Duration::from_secs(6));
        assert_eq!(demand.start(), Duration::from_secs(3), "each start counts for a quarter");
        assert_eq!(demand.last_claim, Some(at(12)));
    }

    #[test]
    fn what_is_kept_is_bounded_whatever_the_clock_does() {
        let mut demand = PoolDemand::default();
        for second in (0..10_000).chain((0..5_000).rev()) {
            demand.claimed(at(second));
            demand.served(second % 4 == 0);
            demand.started(Duration::from_secs(9_999));
        }
        assert!(demand.claims.len() <= 121, "{}", demand.claims.len());
        assert_eq!((demand.served.len(), demand.start()), (100, Duration::from_secs(120)));
        assert_eq!(demand.claimed_lately(at(0)), 1, "those of a later time are none of the last");
    }

    #[test]
    fn the_hit_rate_is_that_of_the_last_hundred() {
        let mut demand = PoolDemand::default();
        assert_eq!(demand.hit_rate(), None);
        (0..3).for_each(|n| demand.served(n > 0));
        assert_eq!(demand.hit_rate(), Some(66));
        (0..100).for_each(|_| demand.served(false));
        assert_eq!(demand.hit_rate(), Some(0));
    }
}
