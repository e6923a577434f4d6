//! Timings and what follows from them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// An operation as its client saw it.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When the create request was sent.
    pub sent: Instant,
    /// When the watch event with its end arrived.
    pub seen: Instant,
}

impl Sample {
    /// How long it took.
    pub fn latency(&self) -> Duration {
        self.seen - self.sent
    }
}

/// Operations that were measured together.
#[derive(Debug)]
pub struct Block {
    /// All of them.
    pub samples: Vec<Sample>,
    /// How many of them ended within `busy`.
    pub ended: usize,
    /// How long as many as possible were under way.
    pub busy: Duration,
}

impl Block {
    /// Operations of which the last ended the block.
    pub fn whole(samples: Vec<Sample>) -> Self {
        let first = samples.iter().map(|s| s.sent).min();
        let last = samples.iter().map(|s| s.seen).max();
        let busy = first.zip(last).map_or(Duration::ZERO, |(first, last)| last - first);
        Self { ended: samples.len(), busy, samples }
    }

    /// One operation at a time: the time between two of them is nobody's.
    pub fn one_by_one(samples: Vec<Sample>) -> Self {
        Self { ended: samples.len(), busy: samples.iter().map(Sample::latency).sum(), samples }
    }

    /// Operations that were started until a deadline.
    pub fn window(samples: Vec<Sample>, length: Duration, deadline: Instant) -> Self {
        Self { ended: samples.iter().filter(|s| s.seen <= deadline).count(), busy: length, samples }
    }
}

/// API writes by what they were, such as `patch tasks/status`.
pub type Writes = BTreeMap<String, usize>;

/// All blocks of one workload and one contestant.
#[derive(Debug, Default)]
pub struct Series {
    latencies: Vec<Duration>,
    ended: usize,
    busy: Duration,
    /// The operator's processor time; none for the floor.
    pub cpu: Option<Duration>,
    /// The writes of whoever served; none where they were not counted.
    pub writes: Option<Writes>,
}

impl Series {
    /// Adds a block.
    pub fn add(&mut self, block: &Block, cpu: Option<Duration>, writes: Option<Writes>) {
        self.latencies.extend(block.samples.iter().map(Sample::latency));
        self.latencies.sort_unstable();
        self.ended += block.ended;
        self.busy += block.busy;
        self.cpu = cpu.map(|cpu| cpu + self.cpu.unwrap_or_default());
        self.writes = writes.map(|writes| {
            let mut sum = self.writes.take().unwrap_or_default();
            for (what, count) in writes {
                *sum.entry(what).or_default() += count;
            }
            sum
        });
    }

    /// Number of operations.
    pub fn count(&self) -> usize {
        self.latencies.len()
    }

    /// The latency, in milliseconds, that this share of the operations did not exceed (nearest rank); None without operations.
    pub fn percentile_ms(&self, percent: usize) -> Option<f64> {
        let rank = (self.count() * percent).div_ceil(100).max(1);
        self.latencies.get(rank - 1).map(|latency| latency.as_secs_f64() * 1e3)
    }

    /// Operations a second; None without operations.
    pub fn per_s(&self) -> Option<f64> {
        (self.busy > Duration::ZERO).then(|| number(self.ended) / self.busy.as_secs_f64())
    }

    /// The operator's processor time an operation, in milliseconds.
    pub fn cpu_ms_per_op(&self) -> Option<f64> {
        self.cpu.map(|cpu| cpu.as_secs_f64() * 1e3 / number(self.count().max(1)))
    }

    /// Writes of the chosen sort an operation.
    pub fn writes_per_op(&self, chosen: impl Fn(&str) -> bool) -> Option<f64> {
        let writes = self.writes.as_ref()?;
        let sum: usize = writes.iter().filter(|(what, _)| chosen(what)).map(|(_, count)| count).sum();
        Some(number(sum) / number(self.count().max(1)))
    }
}

/// A count as a number to divide.
pub fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(latencies_ms: impl IntoIterator<Item = u64>) -> Vec<Sample> {
        let sent = Instant::now();
        latencies_ms.into_iter().map(|ms| Sample { sent, seen: sent + Duration::from_millis(ms) }).collect()
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut series = Series::default();
        assert_eq!((series.percentile_ms(50), series.per_s()), (None, None));
        series.add(&Block::whole(samples((1..=100).rev())), None, None);
        let of = |percent| series.percentile_ms(percent).map(|ms| format!("{ms:.0}")).unwrap();
        assert_eq!([of(50), of(90), of(99), of(100)], ["50", "90", "99", "100"]);
        series = Series::default();
        series.add(&Block::whole(samples([7])), None, None);
        assert_eq!(series.percentile_ms(50), series.percentile_ms(100));
    }

    #[test]
    fn throughput_counts_what_ended_in_time() {
        let mut series = Series::default();
        let window = samples([10, 900, 1100]);
        let deadline = window[0].sent + Duration::from_secs(1);
        series.add(&Block::window(window, Duration::from_secs(1), deadline), None, None);
        assert_eq!((series.count(), series.per_s()), (3, Some(2.0)));
        let mut series = Series::default();
        series.add(&Block::one_by_one(samples([100, 300])), None, None);
        assert_eq!(series.per_s(), Some(5.0));
        series.add(&Block::whole(samples([100, 600])), None, None);
        assert_eq!(series.per_s(), Some(4.0));
    }

    #[test]
    fn writes_and_processor_time_add_up() {
        let mut series = Series::default();
        for count in [2, 4] {
            let writes = Writes::from([("patch pods".to_owned(), count), ("create events".to_owned(), 1)]);
            series.add(&Block::whole(samples([1])), Some(Duration::from_millis(10)), Some(writes));
        }
        assert_eq!(series.writes_per_op(|what| what == "patch pods"), Some(3.0));
        assert_eq!(series.writes_per_op(|_| true), Some(4.0));
        assert_eq!(series.cpu_ms_per_op(), Some(10.0));
    }
}
