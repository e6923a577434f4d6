//! Permits that namespaces have in common, of which one takes a part at most: what is slow in one leaves some to the others.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Semaphore;

/// What each namespace may take of so many permits.
#[derive(Debug)]
pub struct Shares {
    most: usize,
    namespaces: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

impl Shares {
    /// Three quarters of so many permits.
    pub fn new(permits: usize) -> Self {
        Self::of_each(permits / 4 * 3)
    }

    /// So many permits for each namespace.
    pub fn of_each(most: usize) -> Self {
        Self { most, namespaces: Mutex::default() }
    }

    /// What a namespace may take.
    pub fn of(&self, namespace: &str) -> Arc<Semaphore> {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        if !namespaces.contains_key(namespace) {
            // Held by nobody but this map: nothing of that namespace has a permit or waits for one.
            namespaces.retain(|_, permits| Arc::strong_count(permits) > 1);
        }
        Arc::clone(namespaces.entry(namespace.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(self.most))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_of_namespaces_that_take_nothing() {
        let shares = Shares::new(16);
        let held = shares.of("a");
        assert_eq!(held.available_permits(), 12);
        for namespace in ["b", "c", "a"] {
            assert!(Arc::ptr_eq(&held, &shares.of(namespace)) == (namespace == "a"));
        }
        drop(held);
        drop(shares.of("d"));
        assert_eq!(shares.namespaces.lock().unwrap().len(), 1);
    }
}
