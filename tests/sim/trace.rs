//! What happened, in order: the end of it in words, all of it as a number that two equal histories share.

use std::collections::VecDeque;

use arl_crds::template::fnv1a;
use tokio::time::Instant;

const KEPT: usize = 400;

#[derive(Debug)]
pub struct Trace {
    start: Instant,
    tail: VecDeque<String>,
    /// Number of lines.
    pub events: u64,
    /// Differs where histories differ.
    pub hash: u64,
    aloud: bool,
}

impl Trace {
    pub fn new() -> Self {
        let aloud = std::env::var_os("SIM_TRACE").is_some();
        Self { start: Instant::now(), tail: VecDeque::new(), events: 0, hash: 0, aloud }
    }

    pub fn say(&mut self, what: &str) {
        let line = format!("{:>9} {what}", self.start.elapsed().as_millis());
        self.events += 1;
        self.hash = self.hash.rotate_left(5) ^ fnv1a(line.as_bytes());
        if self.aloud {
            eprintln!("{line}");
        }
        if self.tail.len() == KEPT {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    pub fn tail(&self) -> impl Iterator<Item = &String> {
        self.tail.iter()
    }
}
