//! When the way to a pod is tried again, and when it is given up.

use std::time::Duration;

use tokio::time::Instant;

use crate::stream::{PROTOCOL_ERRORS_MAX, StreamError, retry_delay};

/// A stream that was open for so long has worked. An agent that greets and hangs up has not.
const SETTLED: Duration = Duration::from_secs(1);
/// The failures that count after a stream on which something new was heard, however short it was.
const FAILURES_AFTER_NEWS: u32 = 3;

/// Streams that failed since one worked.
pub(super) struct Attempts {
    failures: u32,
    protocol_errors: u32,
    reached: Instant,
    patience: Duration,
}

/// Why nothing more is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hopeless {
    Forbidden,
    Gone,
    Unusable,
    Unreachable,
}

impl Attempts {
    pub(super) fn new(patience: Duration) -> Self {
        Self { failures: 0, protocol_errors: 0, reached: Instant::now(), patience }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Instant {
        let delay = if self.failures == 0 { Duration::ZERO } else { retry_delay(self.failures) };
        Instant::now() + delay
    }

    /// A stream was open from `since` until now; `has_news`: something was heard of what is in progress that was not known.
    pub(super) fn closed(&mut self, since: Instant, has_news: bool) {
        let has_settled = since.elapsed() >= SETTLED;
        if has_settled {
            self.failures = 0;
        } else if has_news {
            self.failures = self.failures.min(FAILURES_AFTER_NEWS);
        }
        if has_settled || has_news {
            (self.protocol_errors, self.reached) = (0, Instant::now());
        }
    }

    /// There is no stream, or no longer.
    pub(super) fn failed(&mut self, error: &StreamError) -> Option<Hopeless> {
        self.failures += 1;
        self.protocol_errors += u32::from(matches!(error, StreamError::Protocol(_)));
        match error {
            StreamError::Forbidden(_) => Some(Hopeless::Forbidden),
            StreamError::Permanent(_) => Some(Hopeless::Gone),
            StreamError::NotExecutable(_) => Some(Hopeless::Unusable),
            _ if self.protocol_errors >= PROTOCOL_ERRORS_MAX => Some(Hopeless::Unusable),
            _ if self.reached.elapsed() > self.patience => Some(Hopeless::Unreachable),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(120);

    fn closed() -> StreamError {
        StreamError::Transient("closed".into())
    }

    /// Streams that last so long, until they are given up: how many there were, and after what time.
    async fn tried(lasts: Duration, has_news: bool, error: fn() -> StreamError) -> (u32, Duration, Option<Hopeless>) {
        let (mut attempts, begin, mut count) = (Attempts::new(PATIENCE), Instant::now(), 0);
        while count < 10_000 {
            tokio::time::sleep_until(attempts.next()).await;
            let since = Instant::now();
            tokio::time::sleep_until(since + lasts).await;
            attempts.closed(since, has_news);
            count += 1;
            if let Some(hopeless) = attempts.failed(&error()) {
                return (count, begin.elapsed(), Some(hopeless));
            }
        }
        (count, begin.elapsed(), None)
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_greets_and_hangs_up_is_tried_later_each_time_and_given_up() {
        let (count, after, hopeless) = tried(Duration::from_millis(1), false, closed).await;
        assert_eq!(hopeless, Some(Hopeless::Unreachable));
        assert!((20..60).contains(&count) && after > PATIENCE && after < 2 * PATIENCE, "{count} in {after:?}");
        let (count, _, hopeless) = tried(Duration::ZERO, false, || StreamError::Protocol("ended".into())).await;
        assert_eq!((count, hopeless), (PROTOCOL_ERRORS_MAX, Some(Hopeless::Unusable)));
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_bring_something_are_not_given_up_and_not_opened_all_the_time() {
        let (count, after, hopeless) = tried(Duration::ZERO, true, closed).await;
        assert_eq!(hopeless, None);
        assert!(after / count >= Duration::from_millis(700), "{count} in {after:?}");
        let (count, after, hopeless) = tried(SETTLED, false, || StreamError::Protocol("ended".into())).await;
        assert_eq!(hopeless, None);
        assert!(
            after / count <= SETTLED + Duration::from_millis(200),
            "what has worked is soon opened again: {after:?}"
        );
    }
}
