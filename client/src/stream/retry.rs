//! When a stream that could not be opened, or broke, is tried again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(5);
/// What answers in place of the agent, or an agent that cannot work, is believed to stay so after so many streams in a row.
pub const PROTOCOL_ERRORS_MAX: u32 = 8;

/// The delay before attempt number `failures`: it doubles from `min` to `max`.
pub fn backoff(failures: u32, min: Duration, max: Duration) -> Duration {
    min.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(max)
}

/// How long to wait after so many failures, at least one.
pub fn retry_delay(failures: u32) -> Duration {
    backoff(failures, FIRST, LAST)
}
