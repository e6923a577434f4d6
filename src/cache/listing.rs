//! A list on its way in. It is taken over as a whole, or whoever looks meanwhile would decide on a part of it: that a later Task is the first
//! of its Sandbox, say, while the earlier one is still to come.

use std::collections::{BTreeMap, BTreeSet};

use super::table::{Change, Row, Table};
use crate::object::Key;

/// What was listed so far. Of an object that is known in this version only the key is kept, so that another list of what there is takes
/// little memory.
#[derive(Debug)]
pub(super) struct Listing<R> {
    rows: BTreeMap<Key, Option<R>>,
    unread: BTreeSet<Key>,
}

impl<R> Default for Listing<R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), unread: BTreeSet::new() }
    }
}

impl<R: Row> Listing<R> {
    /// Adds a row, in whose place there is this one.
    pub(super) fn add(&mut self, row: R, present: Option<&R>) {
        let is_known = present.is_some_and(|present| version(present) == version(&row));
        self.rows.insert(row.key(), (!is_known).then_some(row));
    }

    /// Notes an object that cannot be read.
    pub(super) fn leave_out(&mut self, key: Key) {
        self.unread.insert(key);
    }

    /// Puts what cannot be read in the place of what could not; returns where that is new.
    pub(super) fn replace_unread(&mut self, table: &mut Table<R>) -> Vec<Key> {
        table.replace_unread(std::mem::take(&mut self.unread))
    }

    /// Puts the list in the place of what was known, whatever that was; returns the changes. Only the newer answer to a
    /// write that came while it was on its way stays: the list may have been made before that write.
    pub(super) fn take_over(self, table: &mut Table<R>) -> Vec<Change<R>> {
        let ahead = table.take_ahead();
        let gone: Vec<Key> = table.keys().filter(|key| !self.rows.contains_key(key)).cloned().collect();
        let mut changes: Vec<_> = gone.iter().map(|key| table.delete(key)).collect();
        for (key, row) in self.rows {
            let Some(row) = row else { continue };
            if !ahead.contains(&key) || !table.has_same(&row) || table.precedes(&row) {
                changes.push(table.apply(row));
            }
        }
        changes
    }
}

/// Which version of which object a row is of.
fn version<R: Row>(row: &R) -> (&Option<String>, &Option<String>) {
    (&row.metadata().uid, &row.metadata().resource_version)
}
