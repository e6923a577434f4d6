//! How full the pools were over the last minutes.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;

/// How far back it goes.
const SPAN: Duration = Duration::from_secs(600);
/// Of a pool.
const SAMPLES_MAX: usize = 1000;

/// From then on, until the next: milliseconds, ready, wanted, waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sample(i64, u32, u32, u32);

/// By pool, as far back as somebody may look.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Fill(BTreeMap<String, VecDeque<Sample>>);

impl Fill {
    /// Takes what all pools have now: name, and ready, wanted and waiting.
    pub fn record(&mut self, now: Timestamp, pools: &[(String, [u32; 3])]) {
        self.0.retain(|name, _| pools.iter().any(|(pool, _)| pool == name));
        let (at, span) = (now.as_millisecond(), i64::try_from(SPAN.as_millis()).unwrap_or(i64::MAX));
        for (name, [ready, wanted, waiting]) in pools {
            let samples = self.0.entry(name.clone()).or_default();
            let sample = Sample(at, *ready, *wanted, *waiting);
            let is_new = samples.back().is_none_or(|Sample(_, a, b, c)| [a, b, c] != [ready, wanted, waiting]);
            if is_new {
                samples.push_back(sample);
            }
            // The last one from before is what held at the beginning.
            while samples.len() > SAMPLES_MAX || samples.get(1).is_some_and(|second| second.0 <= at - span) {
                samples.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn changes_are_kept_as_long_as_they_are_shown() {
        let mut fill = Fill::default();
        let one = |ready| vec![("p".to_owned(), [ready, 3, 0])];
        fill.record(at(0), &one(1));
        fill.record(at(5), &one(1));
        fill.record(at(10), &one(2));
        assert_eq!(serde_json::to_string(&fill).unwrap(), r#"{"p":[[0,1,3,0],[10000,2,3,0]]}"#);
        fill.record(at(700), &one(3));
        assert_eq!(serde_json::to_string(&fill).unwrap(), r#"{"p":[[10000,2,3,0],[700000,3,3,0]]}"#);
        for second in 0..2000 {
            fill.record(at(700) + Duration::from_millis(second), &one(u32::try_from(second).unwrap()));
        }
        assert_eq!(fill.0["p"].len(), SAMPLES_MAX);
        fill.record(at(900), &[]);
        assert!(fill.0.is_empty(), "what is gone is not kept");
    }
}
