//! First come, first served: the order in which objects arrived.

use jiff::Timestamp;
use kube::{Resource, ResourceExt};

/// An object's place in a queue. Creation times have whole seconds, so objects of one second are told apart by the
/// resourceVersion they had when they were first seen, which grows with every write to the API server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    created: Timestamp,
    /// The resourceVersion when first seen.
    pub number: i64,
    name: String,
}

impl Arrival {
    /// The place of `object`: `recorded` in its status, else the place known from `before`, else by what it is now.
    pub fn of<K: Resource>(object: &K, recorded: Option<i64>, before: Option<&Self>) -> Self {
        let number = recorded
            .or(before.map(|b| b.number))
            .unwrap_or_else(|| object.resource_version().and_then(|v| v.parse().ok()).unwrap_or(i64::MAX));
        Self {
            created: object.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |t| t.0),
            number,
            name: object.name_any(),
        }
    }
}
