//! What is remembered of pools beside their status. It only slows things down: after a restart everything is tried at once.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;

use super::{record::Record, setback::Setback};
use crate::object::{Key, Uid};

/// What is remembered of a pool.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) record: Record,
    pub(super) setback: Option<Setback>,
}

impl Memory {
    /// Takes note of a new setback, or of the end of the old one; returns the one in force.
    pub(super) fn update(&mut self, new: Option<Setback>, cleared: bool, now: Timestamp) -> Option<Setback> {
        match new {
            Some(new) => self.setback = Some(new.after(self.setback.as_ref(), now)),
            None if cleared => self.setback = None,
            None => {}
        }
        self.setback.clone()
    }
}

/// What is remembered of all pools.
#[derive(Debug, Default)]
pub(super) struct Memories(Mutex<BTreeMap<Key, (Uid, Memory)>>);

impl Memories {
    /// What `with` makes of the memory of a pool. It has none of an earlier pool of the same name.
    pub(super) fn of<T>(&self, key: &Key, pool: &Uid, with: impl FnOnce(&mut Memory) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, memory) = all.entry(key.clone()).or_insert_with(|| (pool.clone(), Memory::default()));
        if of != pool {
            (*of, *memory) = (pool.clone(), Memory::default());
        }
        with(memory)
    }

    /// The pool is gone.
    pub(super) fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_remembered_until_it_is_gone_or_another_has_its_name() {
        let memories = Memories::default();
        let key = Key::new("ns", "p");
        let attempts = |uid: &str, new| {
            let in_force =
                memories.of(&key, &Uid(uid.into()), |memory| memory.update(new, false, Timestamp::UNIX_EPOCH));
            in_force.map(|setback| setback.attempts)
        };
        let ended = || Some(Setback::ended("it ended".into()));
        assert_eq!(attempts("a", ended()), Some(1));
        assert_eq!(attempts("a", ended()), Some(2));
        assert_eq!(attempts("a", None), Some(2));
        assert_eq!(attempts("b", None), None);
        assert_eq!(attempts("b", ended()), Some(1));
        memories.forget(&key);
        assert_eq!(attempts("b", None), None);
    }
}
