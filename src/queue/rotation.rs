//! The keys of a queue that wait, namespaces in turn: a namespace with a thousand keys delays another's one key by one place.

use std::collections::{BTreeMap, VecDeque};

use crate::object::Key;

/// What has a namespace.
pub trait Namespaced {
    /// The namespace.
    fn namespace(&self) -> &str;
}

impl Namespaced for Key {
    fn namespace(&self) -> &str {
        &self.namespace
    }
}

/// Keys that wait, first in, first out within each namespace.
#[derive(Debug)]
pub struct Rotation<K> {
    /// How many keys of one namespace may be worked on at a time, if not any number.
    limit: Option<usize>,
    waiting: BTreeMap<String, VecDeque<K>>,
    /// The namespaces with keys that wait, whose turn it is first.
    turns: VecDeque<String>,
    active: BTreeMap<String, usize>,
    len: usize,
}

impl<K> Default for Rotation<K> {
    fn default() -> Self {
        Self { limit: None, waiting: BTreeMap::new(), turns: VecDeque::new(), active: BTreeMap::new(), len: 0 }
    }
}

impl<K: Namespaced> Rotation<K> {
    /// No more than so many keys of one namespace are worked on at a time.
    pub fn limit(&mut self, keys_of_one_namespace: usize) {
        self.limit = Some(keys_of_one_namespace);
    }

    /// How many keys wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether one of this namespace waits.
    pub(crate) fn has_of(&self, namespace: &str) -> bool {
        self.waiting.contains_key(namespace)
    }

    /// Adds a key behind those of its namespace.
    pub fn push(&mut self, key: K) {
        let namespace = key.namespace();
        if !self.waiting.contains_key(namespace) {
            self.turns.push_back(namespace.to_owned());
        }
        self.waiting.entry(namespace.to_owned()).or_default().push_back(key);
        self.len += 1;
    }

    /// The next key that may be worked on; [`Rotation::finished`] must follow.
    pub fn pop(&mut self) -> Option<K> {
        let active = |namespace: &String| self.active.get(namespace).copied().unwrap_or(0);
        let may = |namespace: &String| self.limit.is_none_or(|limit| active(namespace) < limit);
        let namespace = self.turns.iter().position(may).and_then(|turn| self.turns.remove(turn))?;
        let keys = self.waiting.get_mut(&namespace)?;
        let key = keys.pop_front()?;
        self.len -= 1;
        *self.active.entry(namespace.clone()).or_default() += 1;
        if keys.is_empty() {
            self.waiting.remove(&namespace);
        } else {
            self.turns.push_back(namespace);
        }
        Some(key)
    }

    /// The work on a key is over.
    pub fn finished(&mut self, key: &K) {
        if let Some(active) = self.active.get_mut(key.namespace()) {
            *active = active.saturating_sub(1);
            if *active == 0 {
                self.active.remove(key.namespace());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(limit: usize, keys: &[&'static str]) -> Rotation<&'static str> {
        let mut rotation = Rotation::default();
        rotation.limit(limit);
        for key in keys {
            rotation.push(*key);
        }
        rotation
    }

    #[test]
    fn namespaces_take_turns_and_their_keys_keep_their_order() {
        let mut rotation = filled(9, &["a/1", "a/2", "a/3", "b/1", "a/4", "c/1", "b/2"]);
        let order: Vec<_> = std::iter::from_fn(|| rotation.pop()).collect();
        assert_eq!(order, ["a/1", "b/1", "c/1", "a/2", "b/2", "a/3", "a/4"]);
        assert_eq!(rotation.len(), 0);
    }

    #[test]
    fn a_namespace_whose_keys_take_long_leaves_workers_to_others() {
        let mut rotation = filled(2, &["a/1", "a/2", "a/3", "a/4"]);
        assert_eq!((rotation.pop(), rotation.pop(), rotation.pop()), (Some("a/1"), Some("a/2"), None));
        rotation.push("b/1");
        assert_eq!((rotation.pop(), rotation.pop()), (Some("b/1"), None));
        rotation.finished(&"a/1");
        assert_eq!((rotation.pop(), rotation.pop(), rotation.len()), (Some("a/3"), None, 1));
    }

    #[test]
    fn nothing_is_kept_of_a_namespace_without_keys() {
        let mut rotation = filled(2, &["a/1", "b/1"]);
        while let Some(key) = rotation.pop() {
            rotation.finished(&key);
        }
        assert!(rotation.waiting.is_empty() && rotation.turns.is_empty() && rotation.active.is_empty());
    }
}
