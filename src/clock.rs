//! The wall clock, as a value: what decides takes `now` as an argument, and tests bring their own.

use std::{fmt, sync::Arc, time::Duration};

pub use arl_client::stream::backoff;
use jiff::Timestamp;
use tokio::time::Instant;

/// Reads the time of day.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    #[allow(clippy::disallowed_methods)] // the one place that reads it
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock that reads what `read` says.
    pub fn new(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The time of day, in microseconds: what the API keeps of a time, so that one that was written and read again is the same.
    pub fn now(&self) -> Timestamp {
        let now = (self.0)();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    /// When the monotonic clock will show what the wall clock calls `at`, if neither jumps.
    pub fn instant(&self, at: Timestamp) -> Instant {
        let ahead = at.duration_since(self.now());
        Instant::now() + Duration::try_from(ahead).unwrap_or_default()
    }
}

/// The time so long after `at`, or the last there is: times come from objects, where anybody may have written any.
pub fn after(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;

    #[test]
    fn no_time_is_after_the_last() {
        let second = Duration::from_secs(1);
        assert_eq!(after(Timestamp::UNIX_EPOCH, second).as_second(), 1);
        for by in [second, Duration::MAX] {
            assert_eq!(after(Timestamp::MAX, by), Timestamp::MAX, "{by:?}");
        }
        assert_eq!(after(Timestamp::MIN, Duration::MAX), Timestamp::MAX);
    }

    #[test]
    fn a_time_is_the_same_when_it_comes_back_from_the_api() {
        let precise = Timestamp::from_nanosecond(1_234_567_890_123_456_789).unwrap();
        let now = Clock::new(move || precise).now();
        let back: MicroTime = serde_json::from_value(serde_json::to_value(MicroTime(now)).unwrap()).unwrap();
        assert_eq!(back.0, now);
    }
}
