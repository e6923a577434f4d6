//! How long a run may still take before it is given up.

use std::time::Duration;

use tokio::time::Instant;

/// The agent ends everything within 5 s of a timeout or a request; one that has not answered by then does not.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// What is nearly due when the pod is reached again gets this long for an answer.
const ANSWERING: Duration = Duration::from_secs(5);
const FAR: Duration = Duration::from_secs(30 * 24 * 3600);

/// Only time in which the pod is reached counts: what cannot be heard of may run well, and a node that is down, or a way to it, only
/// suspends.
#[derive(Debug)]
pub(super) struct Limit {
    left: Duration,
    /// Since when it counts, if it does now.
    since: Option<Instant>,
    /// Whether all time counts.
    always: bool,
    /// Whether this is the end. Before it another stream is tried: one may be dead, or spoilt, while the agent works.
    last: bool,
}

impl Limit {
    /// This long, from when the pod is reached.
    pub(super) fn new(left: Duration) -> Self {
        Self { left, since: None, always: false, last: false }
    }

    /// That of a run that has not been sent.
    pub(super) fn none() -> Self {
        Self::new(FAR)
    }

    /// When it is over, as far as can be told now.
    pub(super) fn at(&self) -> Instant {
        self.since.map_or_else(|| Instant::now() + FAR, |since| since + self.left)
    }

    /// The pod is reached: by the agent, or by what stands in its place.
    pub(super) fn reached(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// The pod cannot be reached.
    pub(super) fn unreached(&mut self) {
        if let Some(since) = self.since.take_if(|_| !self.always) {
            self.left = self.left.saturating_sub(since.elapsed()).max(ANSWERING);
        }
    }

    /// The run has begun, and may take this long from now.
    pub(super) fn begin(&mut self, left: Duration) {
        *self = Self { since: Some(Instant::now()), ..Self::new(left) };
    }

    /// At most this long from now.
    pub(super) fn lower(&mut self, patience: Duration) {
        if let Some(since) = &mut self.since {
            self.left = self.left.saturating_sub(since.elapsed());
            *since = Instant::now();
        }
        self.left = self.left.min(patience);
    }

    /// At most this long from now, whether the pod is reached or not.
    pub(super) fn lower_for_all(&mut self, patience: Duration) {
        self.lower(patience);
        self.always = true;
        self.reached();
    }

    /// From here on only time in which the pod is reached counts.
    pub(super) fn only_reached(&mut self) {
        self.always = false;
    }

    /// Whether there is one more try, which then is under way.
    pub(super) fn try_again(&mut self) -> bool {
        let again = !self.last;
        *self = Self { left: PATIENCE, since: self.always.then(Instant::now), always: self.always, last: true };
        again
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn left(limit: &Limit) -> u64 {
        limit.at().duration_since(Instant::now()).as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_a_pod_cannot_be_reached_does_not_count() {
        let mut limit = Limit::new(seconds(40));
        advance(seconds(3600)).await;
        assert!(left(&limit) > 86_400, "never reached");
        limit.reached();
        advance(seconds(10)).await;
        limit.reached();
        assert_eq!(left(&limit), 30);
        limit.unreached();
        advance(seconds(3600)).await;
        assert!(left(&limit) > 86_400);
        limit.reached();
        assert_eq!(left(&limit), 30);
        advance(seconds(29)).await;
        limit.unreached();
        limit.reached();
        assert_eq!(left(&limit), 5, "there is time for an answer");
        assert!(limit.try_again(), "one that is silent gets another stream");
        assert!(left(&limit) > 86_400, "which has to be open first");
        limit.reached();
        assert_eq!(left(&limit), 10);
        assert!(!limit.try_again());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_sent_or_is_over_on_record_need_not_be_reached_to_end() {
        let mut limit = Limit::none();
        limit.lower_for_all(PATIENCE);
        advance(seconds(4)).await;
        limit.unreached();
        assert_eq!(left(&limit), 6);
        limit.only_reached();
        limit.unreached();
        assert!(left(&limit) > 86_400, "it was sent meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_to_end_only_shortens_it() {
        let mut limit = Limit::new(seconds(40));
        limit.lower(PATIENCE);
        limit.reached();
        assert_eq!(left(&limit), 10);
        advance(seconds(4)).await;
        limit.lower(seconds(20));
        assert_eq!(left(&limit), 6);
        limit.begin(seconds(40));
        assert_eq!(left(&limit), 40);
    }
}
