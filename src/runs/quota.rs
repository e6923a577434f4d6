//! What all runs may keep of their outputs, together and in one namespace: however many run, and whoever's they are.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const ALL: usize = 48 * 1024 * 1024;
const OF_A_NAMESPACE: usize = 16 * 1024 * 1024;

/// How many bytes the runs of each namespace keep.
#[derive(Debug)]
pub struct Quota {
    all: usize,
    of_a_namespace: usize,
    held: Mutex<BTreeMap<String, usize>>,
}

impl Default for Quota {
    fn default() -> Self {
        Self::new(ALL, OF_A_NAMESPACE)
    }
}

impl Quota {
    pub(super) fn new(all: usize, of_a_namespace: usize) -> Self {
        Self { all, of_a_namespace, held: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.lock().values().sum()
    }
}

/// What one run keeps. It is given back when this is dropped.
#[derive(Debug, Default)]
pub struct Share {
    quota: Arc<Quota>,
    namespace: String,
    bytes: usize,
}

impl Share {
    /// For a run in this namespace, which keeps nothing yet.
    pub fn new(quota: &Arc<Quota>, namespace: &str) -> Self {
        Self { quota: Arc::clone(quota), namespace: namespace.to_owned(), bytes: 0 }
    }

    /// The run keeps so much now.
    pub(super) fn set(&mut self, bytes: usize) {
        let mut held = self.quota.lock();
        let of_namespace = held.entry(self.namespace.clone()).or_default();
        *of_namespace = (*of_namespace + bytes).saturating_sub(self.bytes);
        if *of_namespace == 0 {
            held.remove(&self.namespace);
        }
        self.bytes = bytes;
    }

    /// Whether all runs, or those of this namespace, keep more than they may.
    pub(super) fn is_too_much(&self) -> bool {
        let (held, most) = (self.quota.lock(), self.quota.of_a_namespace);
        // What is kept beyond its quota in one namespace is not at the cost of the others.
        held.get(&self.namespace).is_some_and(|held| *held > most)
            || held.values().map(|held| *held.min(&most)).sum::<usize>() > self.quota.all
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}
