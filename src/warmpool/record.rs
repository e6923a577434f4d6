//! Whether the pods behind a pool's record of numbers are in sight.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::after;

/// A view of pods that is later than this is as good as broken.
const LATE: Duration = Duration::from_secs(15);

/// The highest number known of a pool, and until when its pod may be missing from the view.
///
/// This operator puts numbers on record that it has seen. Where one is raised beyond that, another operator works beside it, and
/// sees pods that this one does not. Both would go round: this one makes pods under the numbers after the record, the other deletes
/// them as surplus and records their numbers. So this one waits until it has seen what is on record.
///
/// The first record is believed: it is that of an earlier operator, whose pods may all be gone.
#[derive(Debug, Default)]
pub(super) struct Record {
    number: Option<i64>,
    late_until: Timestamp,
}

impl Record {
    /// The highest number known: in sight, or on record.
    pub(super) fn number(&self) -> i64 {
        self.number.unwrap_or(0)
    }

    /// Until when pods of the pool may be missing from the view.
    pub(super) fn late_until(&mut self, recorded: i64, in_sight: i64, now: Timestamp) -> Timestamp {
        let mut number = self.number.unwrap_or(recorded);
        if in_sight >= number {
            (number, self.late_until) = (in_sight, now);
        }
        if recorded > number {
            (number, self.late_until) = (recorded, after(now, LATE));
        }
        self.number = Some(number);
        self.late_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_record_that_another_raised_is_waited_for() {
        let at = |seconds| Timestamp::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut record = Record::default();
        let mut waits = |recorded, in_sight, seconds| {
            let until = record.late_until(recorded, in_sight, at(seconds));
            (until > at(seconds)).then(|| until.duration_since(at(0)).as_secs())
        };
        assert_eq!(waits(7, 0, 0), None, "of an operator before this one");
        assert_eq!(waits(7, 9, 1), None);
        assert_eq!(waits(9, 0, 2), None, "seen, and gone");
        assert_eq!(waits(12, 9, 3), Some(18));
        assert_eq!(waits(12, 9, 4), Some(18), "from when it was raised");
        assert_eq!(waits(13, 9, 5), Some(20), "and raised again");
        assert_eq!(waits(13, 13, 6), None, "seen");
        assert_eq!(waits(15, 13, 7), Some(22));
        assert_eq!(waits(15, 13, 22), None, "its pod is gone");
    }
}
