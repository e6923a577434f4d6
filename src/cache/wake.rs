//! Whom a change concerns.

use std::collections::BTreeSet;

use crate::object::Key;

/// An object that has to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wake {
    /// A WarmPool.
    Pool(Key),
    /// A Sandbox.
    Sandbox(Key),
    /// A Task.
    Task(Key),
}

/// Each once, in the order given.
pub fn distinct(wakes: Vec<Wake>) -> Vec<Wake> {
    let mut seen = BTreeSet::new();
    wakes.into_iter().filter(|w| seen.insert(w.clone())).collect()
}
