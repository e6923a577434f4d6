//! Refill yields to claims: starting a pod takes the node's time, which those who claim pods one after the other wait for.

use jiff::Timestamp;

use crate::{
    burst::{AT_MOST, QUIET},
    clock::after,
};

/// What refill yields to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Refill {
    /// When a pod of the pool was last claimed, as far as that was seen.
    pub(super) last_claim: Option<Timestamp>,
    /// Since when pods are missing that a burst of claims put off.
    pub(super) put_off_since: Option<Timestamp>,
}

impl Refill {
    /// Until when refill yields, if it does.
    pub(super) fn yields_until(&self, now: Timestamp) -> Option<Timestamp> {
        let quiet = after(self.last_claim?, QUIET);
        let at_most = after(self.put_off_since.unwrap_or(now), AT_MOST);
        Some(quiet.min(at_most)).filter(|until| *until > now)
    }

    /// How many of the missing pods are made while it yields: the pool is not left below half.
    pub(super) fn meanwhile(replicas: usize, alive: usize) -> usize {
        replicas.div_ceil(2).saturating_sub(alive)
    }

    /// Since when pods are missing, once it was decided whether to yield.
    pub(super) fn put_off(&self, yields: bool, short: usize, now: Timestamp) -> Option<Timestamp> {
        self.put_off_since.or(yields.then_some(now)).filter(|_| short > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_missing_since_the_burst_that_put_them_off_until_none_is() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        // Since when before, whether refill yields, how many are missing: since when at second 9.
        for (since, yields, short, expected) in [
            (None, true, 1, at(9)),
            (None, false, 1, None),
            (at(5), true, 1, at(5)),
            (at(5), false, 1, at(5)),
            (at(5), true, 0, None),
        ] {
            let refill = Refill { last_claim: None, put_off_since: since };
            assert_eq!(refill.put_off(yields, short, at(9).unwrap()), expected, "{since:?} {yields} {short}");
        }
    }
}
