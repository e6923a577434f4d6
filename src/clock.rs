//! The wall clock, as a value: what decides takes `now` as an argument, and tests bring their own.

use std::{fmt, sync::Arc};

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

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }

    /// When the monotonic clock will show what the wall clock calls `at`, if neither jumps.
    pub fn instant(&self, at: Timestamp) -> Instant {
        let ahead = at.duration_since(self.now());
        Instant::now() + std::time::Duration::try_from(ahead).unwrap_or_default()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
