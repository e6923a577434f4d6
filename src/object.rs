//! Names of objects: a [`Key`] finds an object, a [`Uid`] says which one it was.

use std::fmt;

use kube::{Resource, ResourceExt};

/// Namespace and name. Names are used again; where it matters which object was meant, compare the [`Uid`] too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// The key of `name` in `namespace`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The key of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }

    #[must_use]
    /// The key of a neighbour: all references stay inside one namespace.
    pub fn sibling(&self, name: &str) -> Self {
        Self::new(&self.namespace, name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The identity of one object in one life.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub String);

impl Uid {
    /// The uid of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        Self(object.uid().unwrap_or_default())
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An object as it was when something was decided about it: a write that names this version is refused if it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Where it is.
    pub key: Key,
    /// Which one it is.
    pub uid: Uid,
    /// Its resourceVersion at the time.
    pub resource_version: String,
}

impl Version {
    /// The version of an object at hand.
    pub fn of<K: Resource>(object: &K) -> Self {
        Self {
            key: Key::of(object),
            uid: Uid::of(object),
            resource_version: object.resource_version().unwrap_or_default(),
        }
    }
}
