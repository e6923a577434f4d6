//! Rows by key, found again by what they are indexed under.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::object::Key;

/// What a table can hold.
pub trait Row {
    /// What rows are found by, beside their key.
    type Index: Clone + Ord;

    /// What rows under one index are in the order of. Kept in order, so that those who come first are found without a look at
    /// all who wait.
    type Place: Clone + Ord;

    /// Where the row is.
    fn key(&self) -> Key;

    /// Which version of which object the row is of.
    fn metadata(&self) -> &ObjectMeta;

    /// What the row is found by.
    fn indexes(&self) -> Vec<Self::Index>;

    /// Its place among the rows under an index; those of the same place are by key.
    fn place(&self) -> Self::Place;

    /// Takes over from the row it replaces what only that one knows.
    fn succeed(&mut self, _before: &Self) {}
}

/// The version of an object as the number that it is:
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>.
pub(super) fn version(metadata: &ObjectMeta) -> Option<i64> {
    metadata.resource_version.as_deref()?.parse().ok()
}

/// Rows by key.
#[derive(Debug)]
pub struct Table<R: Row> {
    rows: BTreeMap<Key, Arc<R>>,
    index: BTreeMap<R::Index, BTreeSet<(R::Place, Key)>>,
    /// Where the row is the answer to a write since a list was last asked for, and no watch has told of it yet.
    ahead: BTreeSet<Key>,
    /// Where there is an object that cannot be read.
    unread: BTreeSet<Key>,
}

/// A row came, went or was replaced.
#[derive(Debug)]
pub struct Change<R> {
    /// What there was.
    pub before: Option<Arc<R>>,
    /// What there is.
    pub after: Option<Arc<R>>,
    /// The version at which it came to be so; of a row that is only missing in a list, that is not known.
    pub version: Option<i64>,
}

impl<R: Row> Change<R> {
    /// The key of the row; a change has at least one side.
    pub fn key(&self) -> Option<Key> {
        self.after.as_ref().or(self.before.as_ref()).map(|row| row.key())
    }

    /// Whether `look` sees a difference between before and after.
    pub fn differs<T: PartialEq>(&self, look: impl Fn(&R) -> T) -> bool {
        self.before.as_deref().map(&look) != self.after.as_deref().map(&look)
    }

    /// What `look` finds on either side, without repetition.
    pub fn either<T: PartialEq>(&self, look: impl Fn(&R) -> Option<T>) -> impl Iterator<Item = T> {
        let before = self.before.as_deref().and_then(&look);
        let after = self.after.as_deref().and_then(&look).filter(|a| Some(a) != before.as_ref());
        before.into_iter().chain(after)
    }
}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), index: BTreeMap::new(), ahead: BTreeSet::new(), unread: BTreeSet::new() }
    }
}

impl<R: Row> Table<R> {
    /// The row at `key`.
    pub fn get(&self, key: &Key) -> Option<&Arc<R>> {
        self.rows.get(key)
    }

    /// The rows under `index`, in order.
    pub fn under<'a>(&'a self, index: &R::Index) -> impl Iterator<Item = &'a Arc<R>> + use<'a, R> {
        self.index.get(index).into_iter().flatten().filter_map(|(_, key)| self.rows.get(key))
    }

    /// Whether there is a row of the same object as `row`.
    pub fn has_same(&self, row: &R) -> bool {
        self.get(&row.key()).is_some_and(|present| present.metadata().uid == row.metadata().uid)
    }

    /// Whether there is an older row of the same object than `row`. Where a version is no number, `row` is taken to be newer.
    pub fn precedes(&self, row: &R) -> bool {
        self.get(&row.key()).is_some_and(|present| {
            let versions = version(present.metadata()).zip(version(row.metadata()));
            present.metadata().uid == row.metadata().uid && versions.is_none_or(|(present, row)| present < row)
        })
    }

    /// Whether there is an object at `key` that cannot be read.
    pub fn is_unread(&self, key: &Key) -> bool {
        self.unread.contains(key)
    }

    /// Notes whether there is one; returns whether that is new.
    pub(super) fn set_unread(&mut self, key: &Key, is_unread: bool) -> bool {
        if is_unread { self.unread.insert(key.clone()) } else { self.unread.remove(key) }
    }

    /// Puts these in the place of all that cannot be read; returns where that is new.
    pub(super) fn replace_unread(&mut self, unread: BTreeSet<Key>) -> Vec<Key> {
        let before = std::mem::replace(&mut self.unread, unread);
        before.symmetric_difference(&self.unread).cloned().collect()
    }

    /// How many rows are under `index`.
    pub fn count(&self, index: &R::Index) -> usize {
        self.index.get(index).map_or(0, BTreeSet::len)
    }

    /// Whether there are rows of a namespace.
    pub fn has_any_in(&self, namespace: &str) -> bool {
        let first = self.rows.range(Key::new(namespace, "")..).next();
        first.is_some_and(|(key, _)| key.namespace == namespace)
    }

    /// All rows, by key.
    pub fn rows(&self) -> impl Iterator<Item = &R> {
        self.rows.values().map(AsRef::as_ref)
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.rows.keys()
    }

    /// Puts a row in the place of the one with its key.
    pub fn apply(&mut self, mut row: R) -> Change<R> {
        let key = row.key();
        let before = self.remove(&key);
        if let Some(before) = &before {
            row.succeed(before);
        }
        let after = Arc::new(row);
        for index in after.indexes() {
            self.index.entry(index).or_default().insert((after.place(), key.clone()));
        }
        self.rows.insert(key, Arc::clone(&after));
        let version = version(after.metadata());
        Change { before, after: Some(after), version }
    }

    /// The same, of the answer to a write.
    pub(super) fn learn(&mut self, row: R) -> Change<R> {
        let key = row.key();
        let change = self.apply(row);
        self.ahead.insert(key);
        change
    }

    /// A watch has told of this row.
    pub(super) fn confirm(&mut self, row: &R) {
        let key = row.key();
        if self.get(&key).is_some_and(|present| present.metadata().resource_version == row.metadata().resource_version)
        {
            self.ahead.remove(&key);
        }
    }

    /// Where rows are answers to writes that no watch has told of yet; from now on none are.
    pub(super) fn take_ahead(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.ahead)
    }

    /// Takes the row at `key` out.
    pub fn delete(&mut self, key: &Key) -> Change<R> {
        Change { before: self.remove(key), after: None, version: None }
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<R>> {
        self.ahead.remove(key);
        let row = self.rows.remove(key)?;
        for index in row.indexes() {
            if let Some(places) = self.index.get_mut(&index) {
                places.remove(&(row.place(), key.clone()));
                if places.is_empty() {
                    self.index.remove(&index);
                }
            }
        }
        Some(row)
    }
}
