//! Whether the pods behind a pool's record of numbers are in sight.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::object::{Key, Uid};

/// A view of pods that is later than this is as good as broken.
const LATE: Duration = Duration::from_secs(15);

/// The highest number known of a pool, and until when its pod may be missing from the view.
struct Known {
    pool: Uid,
    number: i64,
    late_until: Timestamp,
}

/// What is known of the records of all pools.
///
/// This operator puts numbers on record that it has seen. Where one is raised beyond that, another operator works beside it, and
/// sees pods that this one does not. Both would go round: this one makes pods under the numbers after the record, the other deletes
/// them as surplus and records their numbers. So this one waits until it has seen what is on record.
#[derive(Default)]
pub(super) struct Records(Mutex<BTreeMap<Key, Known>>);

impl Records {
    /// Until when pods of a pool may be missing from the view. The first record is believed: it is that of an earlier operator,
    /// whose pods may all be gone.
    pub(super) fn late_until(&self, key: &Key, pool: &Uid, record: i64, in_sight: i64, now: Timestamp) -> Timestamp {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = || Known { pool: pool.clone(), number: record, late_until: now };
        let known = all.entry(key.clone()).or_insert_with(first);
        if known.pool != *pool {
            *known = first();
        }
        if in_sight >= known.number {
            (known.number, known.late_until) = (in_sight, now);
        }
        if record > known.number {
            (known.number, known.late_until) = (record, now + LATE);
        }
        known.late_until
    }

    /// The pool is gone.
    pub(super) fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_record_that_another_raised_is_waited_for() {
        let records = Records::default();
        let (key, now) = (Key::new("ns", "p"), Timestamp::UNIX_EPOCH);
        let waits = |uid: &str, record, in_sight, seconds| {
            let at = now + Duration::from_secs(seconds);
            let until = records.late_until(&key, &Uid(uid.into()), record, in_sight, at);
            (until > at).then(|| until.duration_since(now).as_secs())
        };
        assert_eq!(waits("a", 7, 0, 0), None, "of an operator before this one");
        assert_eq!(waits("a", 7, 9, 1), None);
        assert_eq!(waits("a", 9, 0, 2), None, "seen, and gone");
        assert_eq!(waits("a", 12, 9, 3), Some(18));
        assert_eq!(waits("a", 12, 9, 4), Some(18), "from when it was raised");
        assert_eq!(waits("a", 13, 9, 5), Some(20), "and raised again");
        assert_eq!(waits("a", 13, 13, 6), None, "seen");
        assert_eq!(waits("a", 15, 13, 7), Some(22));
        assert_eq!(waits("a", 15, 13, 22), None, "its pod is gone");
        assert_eq!(waits("b", 3, 0, 23), None, "a new pool of the same name");
        records.forget(&key);
        assert_eq!(waits("b", 4, 0, 24), None);
    }
}
