//! A deadline that a pause of this process does not bring forward.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, timeout, timeout_at};

/// A timer that is later than this was not looked at while its time came: the process, or its machine, stood still.
const LATE: Duration = Duration::from_millis(100);
/// For what came meanwhile: it has to pass through a task for each connection first.
const HEARING: Duration = Duration::from_secs(5);

/// What comes by the deadline; none where nothing does. After a pause timers wake before what lies in the sockets is read, though it may have
/// come in time.
pub(super) async fn by<T>(deadline: Instant, coming: impl Future<Output = T>) -> Option<T> {
    let mut coming = pin!(coming);
    if let Ok(came) = timeout_at(deadline, &mut coming).await {
        return Some(came);
    }
    if deadline.elapsed() < LATE {
        return None;
    }
    timeout(HEARING, coming).await.ok()
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::{advance, sleep_until};

    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// What is had of that which is heard so long after a pause of 12 s in which the deadline came, and how long that takes.
    async fn after_a_pause(heard: Option<Duration>) -> (Option<&'static str>, Duration) {
        let deadline = Instant::now() + seconds(10);
        let coming = async {
            advance(seconds(12)).await;
            let resumed = Instant::now();
            match heard {
                Some(delay) => sleep_until(resumed + delay).await,
                None => pending().await,
            }
            "end"
        };
        let came = by(deadline, coming).await;
        (came, deadline.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_pause_kept_from_being_heard_counts() {
        assert_eq!(after_a_pause(Some(Duration::from_millis(20))).await.0, Some("end"));
        let (came, late) = after_a_pause(None).await;
        assert_eq!((came, late.as_secs()), (None, 7), "no more is waited for than what may lie there");
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_is_in_time_is_the_end() {
        let deadline = Instant::now() + seconds(10);
        assert_eq!(by(deadline, pending::<()>()).await, None);
        assert!(deadline.elapsed() < LATE);
        assert_eq!(by(deadline, ready("end")).await, Some("end"));
    }
}
