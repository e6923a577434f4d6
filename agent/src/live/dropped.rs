//! Processes whose end nobody took before it was dropped: a client that asks for one again must not start it a second time.

use std::{
    collections::{BTreeSet, VecDeque, hash_map::RandomState},
    hash::{BuildHasher, Hasher},
};

use arl_agent::message::live::Id;

/// So many are remembered.
const MAX: usize = 4096;
/// So many of those whose end was taken are remembered: a start that was on a stream for long may come after it was sent again on another,
/// and all is over.
const TAKEN_MAX: usize = 1024;

/// Their names.
#[derive(Debug)]
pub struct Dropped {
    ids: BTreeSet<Id>,
    taken: VecDeque<Id>,
    instance: u64,
}

impl Default for Dropped {
    fn default() -> Self {
        Self { ids: BTreeSet::new(), taken: VecDeque::new(), instance: new_instance() }
    }
}

impl Dropped {
    /// Notes more of them. Where they are too many, all are forgotten, and this is another instance: nothing of the one before is asked of it.
    pub fn add(&mut self, ids: &[Id]) {
        if self.ids.len() + ids.len() > MAX {
            (self.ids, self.instance) = (BTreeSet::new(), new_instance());
        }
        self.ids.extend(ids);
    }

    /// Notes one whose end was taken.
    pub fn taken(&mut self, id: Id) {
        if self.taken.len() == TAKEN_MAX {
            self.taken.pop_front();
        }
        self.taken.push_back(id);
    }

    /// Whether it is known to have been started, and no more.
    pub fn contains(&self, id: Id) -> bool {
        self.ids.contains(&id) || self.taken.contains(&id)
    }

    /// A number that is another one where names that were noted are no longer known, as in an agent that was started anew.
    pub fn instance(&self) -> u64 {
        self.instance
    }
}

/// The standard library has random numbers only for hash maps.
fn new_instance() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_longer_known_makes_another_instance() {
        let mut dropped = Dropped::default();
        let first = dropped.instance();
        let ids: Vec<Id> = (0..MAX as u64).map(Id).collect();
        dropped.add(&ids);
        assert!(dropped.contains(Id(0)) && dropped.instance() == first);
        dropped.add(&[Id(u64::MAX)]);
        assert!(!dropped.contains(Id(0)) && dropped.contains(Id(u64::MAX)));
        assert_ne!(dropped.instance(), first);
    }
}
