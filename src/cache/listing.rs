//! A list on its way in. It is taken over as a whole, or whoever looks meanwhile would decide on a part of it: that a later Task is the first
//! of its Sandbox, say, while the earlier one is still to come.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

use super::{table::Change, tables::Tables, watch::Source};
use crate::object::Key;

/// What was listed so far. Of an object that is known in this version only the key is kept, so that another list of what there is takes
/// little memory.
#[derive(Debug)]
pub(super) struct Listing<S>(BTreeMap<Key, Option<Listed<S>>>);

/// A row, and the one that it is to replace.
#[derive(Debug)]
struct Listed<S> {
    row: S,
    present: Option<Arc<S>>,
}

impl<S> Default for Listing<S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<S: Source> Listing<S> {
    /// Adds an object, of which this is known; `row` makes its row.
    pub(super) fn add(&mut self, object: S::Object, present: Option<Arc<S>>, row: impl FnOnce(S::Object) -> S) {
        let key = Key::of(&object);
        let version = |metadata: &ObjectMeta| (metadata.uid.clone(), metadata.resource_version.clone());
        let is_known = present.as_ref().is_some_and(|row| version(row.metadata()) == version(object.meta()));
        let listed = (!is_known).then(|| Listed { row: row(object), present });
        self.0.insert(key, listed);
    }

    /// Puts the list in the place of what was known, whatever that was; returns the changes. A row that was replaced since its object was
    /// listed has the answer to a write, which is newer.
    pub(super) fn take_over(self, tables: &mut Tables) -> Vec<Change<S>> {
        let table = S::table(tables);
        let gone: Vec<Key> = table.keys().filter(|key| !self.0.contains_key(key)).cloned().collect();
        let mut changes: Vec<_> = gone.iter().map(|key| table.delete(key)).collect();
        for (key, listed) in self.0 {
            let is_as_it_was =
                |listed: &Listed<S>| listed.present.as_ref().map(Arc::as_ptr) == table.get(&key).map(Arc::as_ptr);
            if let Some(Listed { row, .. }) = listed.filter(is_as_it_was) {
                changes.push(table.apply(row));
            }
        }
        changes
    }
}
