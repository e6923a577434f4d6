//! Claims that the API server refused. A pod that was refused is left alone for a while, and is claimed last from then on; a Sandbox
//! that was refused sits out for longer, so that nobody waits behind it. Whom a policy keeps apart is not paired again at once. Where each
//! claim costs the pool a pod, all its Sandboxes wait, and one claim at a time shows whether it is over.
//!
//! It only slows things down: after a restart everything is tried at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    clock::backoff,
    object::{Key, Uid},
};

/// How long a pod is left alone: the first time, and at most.
const POD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// How long a Sandbox sits out: the first time, and at most.
const SANDBOX: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(20));
/// How long nothing is claimed of a pool whose claims each cost it a pod.
const POOL: (Duration, Duration) = (SANDBOX.0, Duration::from_secs(60));
/// What was refused so long ago is as good as new.
const FORGET: Duration = Duration::from_secs(60);

/// A pod or a Sandbox whose claim was refused.
#[derive(Debug)]
struct Pause {
    /// The Sandbox, as long as it sits out, after its pool.
    sits_out: Option<(Key, Key)>,
    attempts: u32,
    until: Timestamp,
    message: String,
}

impl Pause {
    /// The one that follows `before`, between the shortest and the longest.
    fn after(
        before: Option<&Self>,
        sits_out: Option<(Key, Key)>,
        (min, max): (Duration, Duration),
        message: String,
        now: Timestamp,
    ) -> Self {
        let attempts = before.filter(|pause| !pause.is_old(now)).map_or(0, |pause| pause.attempts).saturating_add(1);
        Self { sits_out, attempts, until: now + backoff(attempts, min, max), message }
    }

    /// Whether it has lasted long enough, or the clock was set back since.
    fn is_over(&self, now: Timestamp) -> bool {
        self.until <= now || self.until > now + POOL.1
    }

    fn refusal(&self) -> ClaimRefusal {
        ClaimRefusal { message: self.message.clone(), retry_at: self.until }
    }

    fn is_old(&self, now: Timestamp) -> bool {
        self.sits_out.is_none() && self.until + FORGET <= now
    }
}

/// Why a pod that is there is not given to a Sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRefusal {
    /// In the API server's words.
    pub message: String,
    /// When it is tried again.
    pub retry_at: Timestamp,
}

/// The refusals on record.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Of pools, each of whose claims costs a pod.
    pools: BTreeMap<Key, Pause>,
    /// By the uid of the pod or Sandbox.
    pauses: BTreeMap<Uid, Pause>,
    /// The Sandboxes that sit out: the pool, the Sandbox, its uid.
    sitting_out: BTreeSet<(Key, Key, Uid)>,
    /// How many were left when those were last removed that are as good as new.
    left: usize,
}

impl Refusals {
    /// The claim of this pod was refused.
    pub(super) fn pod(&mut self, uid: &Uid, message: String, now: Timestamp) {
        self.insert(uid, None, POD, message, now);
    }

    /// The claims of this Sandbox of a pool were refused.
    pub(super) fn sandbox(&mut self, (pool, sandbox): (Key, Key), uid: &Uid, message: String, now: Timestamp) {
        self.sitting_out.insert((pool.clone(), sandbox.clone(), uid.clone()));
        self.insert(uid, Some((pool, sandbox)), SANDBOX, message, now);
    }

    /// A claim of a pod of this pool was refused, and cost that.
    pub(super) fn pool(&mut self, pool: Key, message: String, now: Timestamp) {
        self.pools.retain(|_, pause| !pause.is_old(now));
        let pause = Pause::after(self.pools.get(&pool), None, POOL, message, now);
        self.pools.insert(pool, pause);
    }

    /// Whether claims of this pool cost it pods.
    pub(super) fn is_costly(&self, pool: &Key) -> bool {
        self.pools.contains_key(pool)
    }

    /// A pod of this pool is to be claimed. Where claims cost pods, none while it is waited, and then one at a time: the next waits for what comes of this.
    pub(super) fn try_one(&mut self, pool: &Key, now: Timestamp) -> Result<(), ClaimRefusal> {
        let Some(pause) = self.pools.get_mut(pool).filter(|pause| !pause.is_old(now)) else { return Ok(()) };
        if !pause.is_over(now) {
            return Err(pause.refusal());
        }
        pause.until = now + backoff(pause.attempts, POOL.0, POOL.1);
        Ok(())
    }

    /// A claim of this pool holds. Says whether others wait for that.
    pub(super) fn holds(&mut self, pool: &Key) -> bool {
        self.pools.remove(pool).is_some()
    }

    fn insert(
        &mut self,
        uid: &Uid,
        sits_out: Option<(Key, Key)>,
        limits: (Duration, Duration),
        message: String,
        now: Timestamp,
    ) {
        let pause = Pause::after(self.pauses.get(uid), sits_out, limits, message, now);
        self.pauses.insert(uid.clone(), pause);
    }

    /// Forgets pods that were refused long ago, and Sandboxes that are no more. All are looked at only once there are twice as many.
    pub(super) fn prune(&mut self, now: Timestamp, exists: impl Fn(&Key, &Uid) -> bool) {
        if self.pauses.len() < self.left.saturating_mul(2) {
            return;
        }
        let sitting_out = &mut self.sitting_out;
        self.pauses.retain(|uid, pause| match &pause.sits_out {
            Some((_, sandbox)) if exists(sandbox, uid) => true,
            Some((pool, sandbox)) => {
                sitting_out.remove(&(pool.clone(), sandbox.clone(), uid.clone()));
                false
            }
            None => !pause.is_old(now),
        });
        self.left = self.pauses.len();
    }

    /// The Sandbox takes its place in the queue again.
    pub(super) fn resume(&mut self, sandbox: &Uid) {
        if let Some((pool, key)) = self.pauses.get_mut(sandbox).and_then(|pause| pause.sits_out.take()) {
            self.sitting_out.remove(&(pool, key, sandbox.clone()));
        }
    }

    /// Whether a Sandbox has sat out long enough.
    pub(super) fn may_resume(&self, sandbox: &Uid, now: Timestamp) -> bool {
        self.pauses.get(sandbox).is_some_and(|pause| pause.sits_out.is_some() && pause.is_over(now))
    }

    pub(super) fn sits_out(&self, sandbox: &Uid) -> bool {
        self.pauses.get(sandbox).is_some_and(|pause| pause.sits_out.is_some())
    }

    /// The Sandboxes of a pool that sit out, with their uids.
    pub(super) fn sitting_out<'a>(&'a self, pool: &'a Key) -> impl Iterator<Item = (&'a Key, &'a Uid)> {
        let from = (pool.clone(), Key::new("", ""), Uid(String::new()));
        let of_pool = self.sitting_out.range(from..).take_while(move |(of, ..)| of == pool);
        of_pool.map(|(_, sandbox, uid)| (sandbox, uid))
    }

    pub(super) fn times(&self, uid: &Uid) -> u32 {
        self.pauses.get(uid).map_or(0, |pause| pause.attempts)
    }

    /// What keeps a Sandbox from a pod now: its own refusal, or, where it is its turn to claim one, that of its pool or of the pod.
    pub(super) fn between(
        &self,
        (pool, sandbox): (&Key, &Uid),
        turn: Option<&Uid>,
        now: Timestamp,
    ) -> Option<ClaimRefusal> {
        let own = self.pauses.get(sandbox).filter(|own| own.sits_out.is_some());
        let of_turn = || {
            let pauses = [self.pools.get(pool), self.pauses.get(turn?)];
            pauses.into_iter().flatten().find(|pause| !pause.is_over(now))
        };
        own.or_else(of_turn).map(Pause::refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn uid(number: usize) -> Uid {
        Uid(number.to_string())
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_out() {
        let mut refusals = Refusals::default();
        let place = (Key::new("ns", "p"), Key::new("ns", "s"));
        refusals.sandbox(place, &uid(1), "denied".into(), at(7_200));
        refusals.pod(&uid(2), "denied".into(), at(7_200));
        refusals.pool(Key::new("ns", "costly"), "put back".into(), at(7_200));
        let between = |pool: &str, now| {
            let of_pool = Key::new("ns", pool);
            refusals.between((&of_pool, &uid(3)), Some(&uid(if pool == "p" { 2 } else { 4 })), at(now)).is_some()
        };
        assert!(!refusals.may_resume(&uid(1), at(7_200)));
        assert!(between("p", 7_200) && between("costly", 7_200) && !between("another", 7_200));
        assert!(refusals.may_resume(&uid(1), at(3_600)), "it would sit out for an hour");
        assert!(!between("p", 3_600) && !between("costly", 3_600));
    }

    #[test]
    fn the_longest_pause_is_no_clock_that_was_set_back() {
        let mut refusals = Refusals::default();
        let (pool, place) = (Key::new("ns", "p"), (Key::new("ns", "p"), Key::new("ns", "s")));
        for _ in 0..20 {
            refusals.sandbox(place.clone(), &uid(1), "denied".into(), at(0));
            refusals.pool(pool.clone(), "put back".into(), at(0));
        }
        assert_eq!([0, 19, 20].map(|now| refusals.may_resume(&uid(1), at(now))), [false, false, true]);
        assert_eq!([0, 59, 60].map(|now| refusals.try_one(&pool, at(now)).is_ok()), [false, false, true]);
    }

    #[test]
    fn where_claims_cost_pods_one_at_a_time_shows_whether_that_is_over() {
        let (mut refusals, pool) = (Refusals::default(), Key::new("ns", "p"));
        assert!(refusals.try_one(&pool, at(0)).is_ok() && refusals.try_one(&pool, at(0)).is_ok(), "nothing is known");
        let mut tried = Vec::new();
        for now in 0..200 {
            // As many as wait, each second.
            for _ in 0..100 {
                if refusals.try_one(&pool, at(now)).is_ok() {
                    tried.push(now);
                    refusals.pool(pool.clone(), "put back".into(), at(now));
                }
            }
        }
        assert_eq!(tried, [0, 2, 6, 14, 30, 62, 122, 182]);
        assert!(refusals.is_costly(&pool));
        assert!(
            refusals.try_one(&pool, at(302)).is_ok() && refusals.try_one(&pool, at(302)).is_ok(),
            "that was long ago"
        );
        assert!(refusals.holds(&pool) && !refusals.holds(&pool));
        assert!(refusals.try_one(&pool, at(200)).is_ok() && refusals.try_one(&pool, at(200)).is_ok());
        refusals.pool(pool, "put back".into(), at(200));
        refusals.pool(Key::new("ns", "q"), "put back".into(), at(1_000));
        assert_eq!(refusals.pools.len(), 1, "what is as good as new is forgotten");
    }

    #[test]
    fn what_is_as_good_as_new_goes_and_few_are_looked_at_for_that() {
        let (mut refusals, looks) = (Refusals::default(), std::cell::Cell::new(0));
        for number in 0..1_000 {
            let sandbox = Key::new("ns", &number.to_string());
            refusals.prune(at(0), |_, _| {
                looks.set(looks.get() + 1);
                true
            });
            refusals.sandbox((Key::new("ns", "p"), sandbox), &uid(number), "denied".into(), at(0));
        }
        assert!(looks.get() < 3_000, "{} looks", looks.get());
        for number in 2_000..5_000 {
            refusals.prune(at(number), |_, _| false);
            refusals.pod(&uid(usize::try_from(number).unwrap()), "denied".into(), at(number));
        }
        assert!(refusals.pauses.len() < 200, "{}", refusals.pauses.len());
        assert_eq!((refusals.sitting_out.len(), refusals.times(&uid(1))), (0, 0));
    }

    #[test]
    fn those_of_one_pool_are_counted_and_a_new_sandbox_of_the_name_is_another() {
        let mut refusals = Refusals::default();
        let (p, q, s) = (Key::new("ns", "p"), Key::new("ns", "p-2"), Key::new("ns", "s"));
        refusals.sandbox((p.clone(), s.clone()), &uid(1), "denied".into(), at(0));
        refusals.sandbox((p.clone(), s.clone()), &uid(2), "denied".into(), at(0));
        refusals.sandbox((q.clone(), s.clone()), &uid(3), "denied".into(), at(0));
        refusals.prune(at(0), |_, present| *present != uid(1));
        assert_eq!(refusals.sitting_out(&p).collect::<Vec<_>>(), [(&s, &uid(2))]);
        refusals.resume(&uid(2));
        assert_eq!((refusals.sitting_out(&p).count(), refusals.sitting_out(&q).count()), (0, 1));
    }
}
