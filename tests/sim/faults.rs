//! What goes wrong, drawn by seed: each history has some faults often and the others never, so that rare combinations
//! come up.

use std::time::Duration;

use fastrand::Rng;

/// How often what goes wrong, in thousandths of the occasions.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The longest a request or an answer is under way, in milliseconds.
    pub slow: u64,
    /// 429, 500, 503 or a broken connection before the request has an effect.
    pub before: u32,
    /// 500, 504 or a broken connection after it had one.
    pub after: u32,
    /// No answer at all; half of these have an effect.
    pub hang: u32,
    /// Somebody else changes the object just before.
    pub touch: u32,
    /// A watch is refused, ends, breaks, or is told 410.
    pub watch: u32,
    /// The longest a watch is behind, in milliseconds.
    pub lag: u64,
    /// The process dies at a write.
    pub crash: u32,
    /// The stream to the agent breaks.
    pub stream: u32,
    /// Pauses, second processes, clock jumps and compactions of the history in its first half minute.
    pub pauses: u32,
    pub seconds: u32,
    pub jumps: u32,
    pub compactions: u32,
    /// Calls that are all refused for a while, and nodes that do not answer for a while.
    pub outages: u32,
    pub nodes: u32,
    /// The API server is one that does not stream lists.
    pub no_streaming_lists: bool,
}

impl Faults {
    pub fn drawn(rng: &mut Rng) -> Self {
        let mut often = |max: u32| if rng.bool() { 0 } else { rng.u32(1..=max) };
        let mut faults = Self {
            slow: u64::from(often(400)),
            before: often(200),
            after: often(150),
            hang: often(30),
            touch: often(150),
            watch: often(150),
            lag: u64::from(often(4_000)),
            crash: often(60),
            stream: often(200),
            pauses: often(4),
            seconds: often(3),
            jumps: often(3),
            compactions: often(4),
            outages: 0,
            nodes: 0,
            no_streaming_lists: false,
        };
        if rng.u8(..4) == 0 {
            // Old caches alone, with everything else well: the purest test of the writes' own guards.
            faults = Self { lag: 6_000, seconds: 2, pauses: 3, ..Self::default() };
        }
        faults.no_streaming_lists = rng.u8(..3) == 0;
        if rng.u8(..4) == 0 {
            (faults.outages, faults.nodes) = (rng.u32(..4), rng.u32(..3));
        }
        faults
    }

    /// Watches that are far behind, and nothing else.
    pub fn late_watches() -> Self {
        Self { slow: 20, lag: 6_000, ..Self::default() }
    }

    /// Watches that are far behind, and second processes.
    pub fn second_processes() -> Self {
        Self { slow: 20, lag: 6_000, seconds: 4, ..Self::default() }
    }

    /// The same slowness, and nothing else.
    pub fn orderly(self) -> Self {
        let Self { slow, lag, no_streaming_lists, .. } = self;
        Self { slow, lag, no_streaming_lists, ..Self::default() }
    }

    /// Whether nothing goes wrong: what takes its time does not count.
    pub fn are_orderly(&self) -> bool {
        self.are_only_outages() && self.outages == 0 && self.nodes == 0
    }

    /// Whether nothing goes wrong but refusals and nodes that are away.
    pub fn are_only_outages(&self) -> bool {
        let Self { before, after, hang, touch, watch, crash, stream, pauses, seconds, jumps, compactions, .. } = *self;
        [before, after, hang, touch, watch, crash, stream, pauses, seconds, jumps, compactions].iter().all(|n| *n == 0)
    }

    /// The same slowness, refusals, and nodes that are away.
    pub fn outages(self, rng: &mut Rng) -> Self {
        Self { outages: rng.u32(1..4), nodes: rng.u32(..3), ..self.orderly() }
    }

    /// Whether it happens this time.
    pub fn happens(rng: &mut Rng, thousandths: u32) -> bool {
        thousandths > 0 && rng.u32(..1000) < thousandths
    }

    /// How long a request or an answer is under way.
    pub fn travel(&self, rng: &mut Rng) -> Duration {
        Duration::from_millis(if self.slow == 0 { rng.u64(..2) } else { rng.u64(..=self.slow) })
    }

    pub fn lags(&self, rng: &mut Rng) -> [u64; 5] {
        std::array::from_fn(|_| if self.lag == 0 || rng.bool() { 0 } else { rng.u64(..=self.lag) })
    }
}
