//! Which Sandbox takes which pod, kept up to date with each change, so that no change costs a look at all who wait.
//!
//! A pair is a suggestion: it keeps two Sandboxes from choosing the same pod, and says who has to be woken. What makes a claim
//! right is the version in its patch.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{arrival::Arrival, object::Key};

/// The order in which a pool's pods are claimed: those that were not refused first, then those that promise to stay, then those of the
/// present template, then those that became ready first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) times_refused: u32,
    pub(super) is_unsteady: bool,
    pub(super) node_is_closed: bool,
    pub(super) is_outdated: bool,
    pub(super) ready_since: Option<Timestamp>,
}

/// Those who wait and the pods to claim, of all pools.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    pools: BTreeMap<Key, Pool>,
    /// The pool and the place of each Sandbox that waits.
    sandboxes: BTreeMap<Key, (Key, Arrival)>,
    /// The pool and the place of each pod that can be claimed.
    pods: BTreeMap<Key, (Key, Rank)>,
    pod_of: BTreeMap<Key, Key>,
    sandbox_of: BTreeMap<Key, Key>,
}

/// Those of one pool.
#[derive(Debug, Default)]
struct Pool {
    waiting: BTreeSet<(Arrival, Key)>,
    served: BTreeSet<(Arrival, Key)>,
    free: BTreeSet<(Rank, Key)>,
    /// Those whose turn it is no more since pairs were settled last.
    parted: Vec<Key>,
}

impl Pool {
    fn is_empty(&self) -> bool {
        let Self { waiting, served, free, parted } = self;
        waiting.is_empty() && served.is_empty() && free.is_empty() && parted.is_empty()
    }
}

impl Pairing {
    /// The pod that it is a Sandbox's turn to claim.
    pub(super) fn pod_of(&self, sandbox: &Key) -> Option<&Key> {
        self.pod_of.get(sandbox)
    }

    /// The Sandbox whose turn it is to claim a pod.
    pub(super) fn sandbox_of(&self, pod: &Key) -> Option<&Key> {
        self.sandbox_of.get(pod)
    }

    /// How many wait for a pod of this pool, those included whose turn it is.
    pub(super) fn would_claim(&self, pool: &Key) -> usize {
        self.pools.get(pool).map_or(0, |of| of.waiting.len() + of.served.len())
    }

    /// A Sandbox waits for a pod of this pool at this place, or does not wait. Returns the pools that this may change.
    pub(super) fn set_sandbox(&mut self, sandbox: &Key, now: Option<(Key, Arrival)>) -> Vec<Key> {
        if self.sandboxes.get(sandbox) == now.as_ref() {
            return Vec::new();
        }
        let mut changed = Vec::new();
        if let Some((pool, place)) = self.sandboxes.remove(sandbox) {
            let pod = self.pod_of.remove(sandbox);
            let of = self.pools.entry(pool.clone()).or_default();
            let place = (place, sandbox.clone());
            of.waiting.remove(&place);
            of.served.remove(&place);
            if let Some(pod) = pod {
                self.sandbox_of.remove(&pod);
                let rank = self.pods.get(&pod).map(|(_, rank)| rank.clone());
                of.free.extend(rank.map(|rank| (rank, pod)));
            }
            changed.push(pool);
        }
        if let Some((pool, place)) = now {
            self.pools.entry(pool.clone()).or_default().waiting.insert((place.clone(), sandbox.clone()));
            self.sandboxes.insert(sandbox.clone(), (pool.clone(), place));
            changed.push(pool);
        }
        changed
    }

    /// A pod of this pool can be claimed in this order, or cannot be. Returns the pools that this may change.
    pub(super) fn set_pod(&mut self, pod: &Key, now: Option<(Key, Rank)>) -> Vec<Key> {
        if self.pods.get(pod) == now.as_ref() {
            return Vec::new();
        }
        let mut changed = Vec::new();
        if let Some((pool, rank)) = self.pods.remove(pod) {
            self.pools.entry(pool.clone()).or_default().free.remove(&(rank, pod.clone()));
            if let Some(sandbox) = self.sandbox_of.get(pod).cloned() {
                self.part(&pool, &sandbox);
            }
            changed.push(pool);
        }
        if let Some((pool, rank)) = now {
            self.pools.entry(pool.clone()).or_default().free.insert((rank.clone(), pod.clone()));
            self.pods.insert(pod.clone(), (pool.clone(), rank));
            changed.push(pool);
        }
        changed
    }

    /// Matches the Sandboxes that wait with the pods that are free, first come first served. Returns the Sandboxes that have a pod to claim now,
    /// and those that have none any more: these may have lost a claim to another, and no other change need ever wake them.
    pub(super) fn match_waiting(&mut self, pool: &Key) -> Vec<Key> {
        let mut new = Vec::new();
        while let Some((place, sandbox)) = self.pools.get(pool).and_then(|of| of.waiting.first()).cloned() {
            let of = self.pools.entry(pool.clone()).or_default();
            let pod = match of.free.pop_first() {
                Some((_, pod)) => pod,
                None => match of.served.last().filter(|(last, _)| *last > place).map(|(_, last)| last.clone()) {
                    // One that came earlier takes the place of the last of those who came later.
                    Some(last) => match self.part(pool, &last) {
                        Some(pod) => pod,
                        None => break,
                    },
                    None => break,
                },
            };
            let of = self.pools.entry(pool.clone()).or_default();
            of.waiting.remove(&(place.clone(), sandbox.clone()));
            of.served.insert((place, sandbox.clone()));
            self.pod_of.insert(sandbox.clone(), pod.clone());
            self.sandbox_of.insert(pod, sandbox.clone());
            new.push(sandbox);
        }
        if let Some(of) = self.pools.get_mut(pool) {
            let parted = std::mem::take(&mut of.parted);
            if of.is_empty() {
                self.pools.remove(pool);
            }
            new.extend(parted.into_iter().filter(|sandbox| !self.pod_of.contains_key(sandbox)));
        }
        new
    }

    /// A Sandbox waits again; returns the pod that was to be its.
    fn part(&mut self, pool: &Key, sandbox: &Key) -> Option<Key> {
        let pod = self.pod_of.remove(sandbox)?;
        self.sandbox_of.remove(&pod);
        let place = (self.sandboxes.get(sandbox)?.1.clone(), sandbox.clone());
        let of = self.pools.entry(pool.clone()).or_default();
        of.served.remove(&place);
        of.waiting.insert(place);
        of.parted.push(sandbox.clone());
        Some(pod)
    }
}
