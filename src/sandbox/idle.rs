//! Since when a Sandbox is idle, and when that is put on record. Pure.
//!
//! Idle since the end of the last Task or, if that was later, of the last live process or client. The latter is not put on record: the
//! agent in the pod knows it, and answers whoever asks.
//!
//! The record is what an operator counts a ttl from that did not see the last Task end, because it was started later. It is written
//! lazily, a tenth of the ttl late, so that a short Task costs no write; who reads it adds that tenth. An expiry so may be a tenth of
//! the ttl late, and is never early.

use std::time::Duration;

use jiff::Timestamp;

use super::observe::Observed;
use crate::clock::after;

/// Where no ttl runs, idleness is put on record for people only, once it has lasted this long.
const FOR_PEOPLE: Duration = Duration::from_secs(5);
/// The part of a ttl after which idleness is put on record.
const LATE: u32 = 10;

/// What is to be done about the record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The time to be put on record now, if one is.
    pub(super) since: Option<Timestamp>,
    /// When there will be something to do.
    pub(super) look_again: Option<Timestamp>,
}

/// When a Sandbox that stays idle has been so for its ttl.
pub(super) fn due(observed: &Observed, ttl: Duration, now: Timestamp) -> Timestamp {
    let since = since(observed, ttl, now);
    after(observed.live.ended.map_or(since, |ended| ended.max(since)), ttl)
}

/// What to do about the record of a Sandbox that is idle and not due.
pub(super) fn record(observed: &Observed, ttl: Option<Duration>, now: Timestamp) -> Record {
    match ttl {
        None => record_for_people(observed, now),
        Some(ttl) => record_for_ttl(observed, ttl, now),
    }
}

fn record_for_people(observed: &Observed, now: Timestamp) -> Record {
    let recorded = observed.status().and_then(|status| status.idle_since.as_ref()).map(|at| at.0);
    let unrecorded = observed.last_finished.filter(|at| Some(*at) > recorded);
    match unrecorded.map(|at| after(at, FOR_PEOPLE)) {
        Some(at) if at <= now => Record { since: unrecorded, look_again: None },
        look_again => Record { since: None, look_again },
    }
}

fn record_for_ttl(observed: &Observed, ttl: Duration, now: Timestamp) -> Record {
    let (since, recorded) = (since(observed, ttl, now), recorded(observed));
    let due = due(observed, ttl, now);
    let at = after(recorded.unwrap_or(since), ttl / LATE);
    if at <= now {
        let is_news = recorded.is_none_or(|recorded| since > recorded);
        return Record { since: is_news.then_some(since), look_again: Some(due) };
    }
    Record { since: None, look_again: Some(if at > since { due.min(at) } else { due }) }
}

/// Since when no Task has been going on. What ended before this process watched, and is gone, is not known: then the latest
/// time that was not yet due to be recorded is taken.
fn since(observed: &Observed, ttl: Duration, now: Timestamp) -> Timestamp {
    let recorded = recorded(observed).unwrap_or(now);
    let unseen = if recorded < observed.watching_since {
        after(recorded, ttl / LATE).min(observed.watching_since)
    } else {
        recorded
    };
    observed.last_finished.map_or(unseen, |last| last.max(unseen))
}

/// From when on it is on record that no Task goes on: at the latest since it got its pod, and was set up.
fn recorded(observed: &Observed) -> Option<Timestamp> {
    let status = observed.status()?;
    let set_up = status.setup.as_ref().and_then(|setup| setup.completed_at.clone());
    let times = [&status.idle_since, &status.allocated_at, &set_up];
    times.into_iter().flatten().map(|at| at.0).max()
}
