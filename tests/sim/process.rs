//! The operator processes: who lives, who stands still, and when who dies.

use std::collections::BTreeSet;

/// When a process dies by plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// At which of its writes, from 1.
    pub write: u64,
    /// Whether the write has taken effect by then.
    pub after_effect: bool,
}

/// One operator process.
#[derive(Debug)]
pub struct Process {
    pub alive: bool,
    pub paused: bool,
    pub writes: u64,
    pub death: Option<Death>,
    /// How old what its watches report is, in milliseconds, a kind each.
    pub lag: [u64; 5],
    /// Requests other than watches and the lists before them, since the count was last set to 0.
    pub requests: u64,
    /// The pods that it opened a stream to before a Sandbox had them, by uid.
    pub connected: BTreeSet<String>,
}

impl Process {
    pub fn new(lag: [u64; 5], death: Option<Death>) -> Self {
        Self { alive: true, paused: false, writes: 0, death, lag, requests: 0, connected: BTreeSet::new() }
    }
}
