//! A list on its way in. It is taken over as a whole, or whoever looks meanwhile would decide on a part of it: that a later Task is the first
//! of its Sandbox, say, while the earlier one is still to come.

use std::{collections::BTreeMap, sync::Arc};

use super::table::{Change, Row, Table};
use crate::object::Key;

/// What was listed so far. Of an object that is known in this version only the key is kept, so that another list of what there is takes
/// little memory.
#[derive(Debug)]
pub(super) struct Listing<R>(BTreeMap<Key, Option<Listed<R>>>);

/// A row, and the one that it is to replace.
#[derive(Debug)]
struct Listed<R> {
    row: R,
    present: Option<Arc<R>>,
}

impl<R> Default for Listing<R> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<R: Row> Listing<R> {
    /// Adds a row, in whose place there is this one.
    pub(super) fn add(&mut self, row: R, present: Option<Arc<R>>) {
        let is_known = present.as_ref().is_some_and(|present| version(&**present) == version(&row));
        self.0.insert(row.key(), (!is_known).then_some(Listed { row, present }));
    }

    /// Puts the list in the place of what was known, whatever that was; returns the changes. A row that was replaced since its object was
    /// listed has the answer to a write, and stays where that is newer.
    pub(super) fn take_over(self, table: &mut Table<R>) -> Vec<Change<R>> {
        let gone: Vec<Key> = table.keys().filter(|key| !self.0.contains_key(key)).cloned().collect();
        let mut changes: Vec<_> = gone.iter().map(|key| table.delete(key)).collect();
        for (key, listed) in self.0 {
            let is_as_it_was = |listed: &Listed<R>| {
                listed.present.as_deref().map(version) == table.get(&key).map(AsRef::as_ref).map(version)
            };
            let Some(listed) = listed else { continue };
            if is_as_it_was(&listed) || !table.has_same(&listed.row) || table.precedes(&listed.row) {
                changes.push(table.apply(listed.row));
            }
        }
        changes
    }
}

/// Which version of which object a row is of.
fn version<R: Row>(row: &R) -> (&Option<String>, &Option<String>) {
    (&row.metadata().uid, &row.metadata().resource_version)
}
