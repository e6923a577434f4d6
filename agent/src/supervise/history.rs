//! What is on record of runs: those that began, how those ended of which nothing is in memory, and which were forgotten.

use std::collections::VecDeque;

use arl_agent::{
    frame,
    message::{RunEnd, RunId, RunMessage, StepEnd},
};

use crate::{
    forgotten::Forgotten,
    records::{Begun, Partial, Records},
};

/// So many runs that have ended and were not forgotten are on record. Their Tasks ran one after the other: whoever wanted to know
/// the end of those before knows it.
const ENDED_MAX: usize = 16;

/// The record of all runs of a pod.
pub struct History {
    records: Records,
    forgotten: Forgotten,
    /// Runs that ended and were not forgotten, and the seconds of their creation where they are known.
    ended: VecDeque<(RunId, u64)>,
}

impl History {
    /// What `records` hold.
    pub fn new(records: Records) -> Self {
        let forgotten = Forgotten::load(&records);
        let ended = records.begun().into_iter().map(|run| (run, 0)).collect();
        Self { records, forgotten, ended }
    }

    /// Puts a run's start on record, once.
    pub fn begin(&mut self, run: &RunId) -> Result<Begun, String> {
        self.records.begin(run)
    }

    /// Whether a run's start is on record.
    pub fn has_begun(&self, run: &RunId) -> bool {
        run.is_valid() && self.records.has_begun(run)
    }

    /// Whether a run, created at that second, was started and forgotten.
    pub fn has_forgotten(&self, run: &RunId, created: Option<u64>) -> bool {
        self.forgotten.has(run, created)
    }

    /// Adds to a run's log. What cannot be written is only in memory.
    pub fn append(&self, run: &RunId, messages: &[RunMessage]) {
        let _ = self.records.append(run, messages);
    }

    /// Replaces a run's log, which has become shorter.
    pub fn rewrite(&self, run: &RunId, messages: &[RunMessage]) {
        let _ = self.records.rewrite(run, messages);
    }

    /// What the step in progress of a run had printed when it was last noted.
    pub fn partial(&self, run: &RunId) -> Partial {
        self.records.read_partial(run)
    }

    /// The log of a run of which nothing is in memory, as frames. One without an end was interrupted.
    pub fn frames(&self, run: &RunId) -> Vec<u8> {
        let log = self.records.log(run);
        let mut frames: Vec<u8> = log.iter().flat_map(frame::encode).collect();
        if !matches!(log.last(), Some(RunMessage::Ended { .. })) {
            let Partial { stdout, stderr, .. } = self.records.read_partial(run);
            let step = RunMessage::Step {
                run: run.clone(),
                index: u32::try_from(log.len()).unwrap_or(u32::MAX),
                started_us: 0,
                ended_us: 0,
                end: StepEnd::Stopped,
                stdout,
                stderr,
            };
            let message = "the agent was ended while the step ran: it was killed, or the container was";
            let end = RunEnd::Abandoned(message.into());
            let added = [step, RunMessage::Ended { run: run.clone(), end, survivors: Vec::new() }];
            self.append(run, &added);
            frames.extend(added.iter().flat_map(frame::encode));
        }
        frames
    }

    /// Notes that a run has ended, and returns one that is forgotten for it.
    pub fn ended(&mut self, run: &RunId, created: Option<u64>) -> Option<RunId> {
        self.records.remove_partial(run);
        self.ended.push_back((run.clone(), created.unwrap_or_default()));
        if self.ended.len() <= ENDED_MAX {
            return None;
        }
        let (oldest, created) = self.ended.pop_front()?;
        self.forget_created(&oldest, created);
        Some(oldest)
    }

    /// Drops all that there is of an ended run but that it was started.
    pub fn forget(&mut self, run: &RunId) {
        let known = self.ended.iter().position(|(other, _)| other == run).and_then(|at| self.ended.remove(at));
        self.forget_created(run, known.map_or(0, |(_, created)| created));
    }

    fn forget_created(&mut self, run: &RunId, created: u64) {
        // Where that cannot be put on record the run's own file still says that it was started.
        if self.forgotten.add(&self.records, run.clone(), created).is_ok() {
            self.records.remove(run);
        }
    }
}
