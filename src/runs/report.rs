//! What is known of a run while it goes on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::StepEnd;
use crate::output::Output;

/// A step that was started.
#[derive(Clone, Debug)]
pub struct StepRun {
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended, if it has.
    pub ended_at: Option<Timestamp>,
    /// How it ended, if it did so by itself.
    pub end: Option<StepEnd>,
    /// What it printed.
    pub stdout: Output,
    /// What it printed on standard error.
    pub stderr: Output,
}

impl StepRun {
    /// One that starts now.
    pub fn new(started_at: Timestamp) -> Self {
        let (stdout, stderr) = (Output::default(), Output::default());
        Self { started_at, ended_at: None, end: None, stdout, stderr }
    }
}

/// A run so far.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// When it was started, if it was.
    pub started_at: Option<Timestamp>,
    /// What keeps it from being started; in words.
    pub obstacle: Option<(String, Timestamp)>,
    /// The steps started so far, in order.
    pub steps: Vec<StepRun>,
}

impl Progress {
    /// Moves the start of the run, and with it all that was said of its steps: they are told as times since that start.
    pub fn start_earlier(&mut self, by: SignedDuration) {
        let earlier = |at: &mut Timestamp| *at = at.saturating_sub(by).unwrap_or(*at);
        self.started_at.iter_mut().for_each(earlier);
        for step in &mut self.steps {
            earlier(&mut step.started_at);
            step.ended_at.iter_mut().for_each(earlier);
        }
    }
}

/// Where a runner reports; shared with whoever asks.
#[derive(Clone)]
pub struct Report {
    progress: Arc<Mutex<Progress>>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Report {
    /// Nothing to report yet; `wake` is called where something happened that the Task should show soon.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { progress: Arc::default(), wake }
    }

    /// Behind a lock that no panic can spoil: what is there is only ever added to.
    pub fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run was started.
    pub fn started(&self, at: Timestamp) {
        let mut progress = self.lock();
        progress.obstacle = None;
        if progress.started_at.is_none() {
            progress.started_at = Some(at);
            drop(progress);
            (self.wake)();
        }
    }

    /// Something keeps the run from being started, or from being heard of.
    pub fn obstacle(&self, words: &str, now: Timestamp) {
        let mut progress = self.lock();
        // Of a run that goes on unheard the first words are enough: each change is a write.
        let is_news = match &progress.obstacle {
            None => true,
            Some((known, _)) => progress.started_at.is_none() && known != words,
        };
        if is_news {
            let since = progress.obstacle.as_ref().map_or(now, |(_, since)| *since);
            progress.obstacle = Some((words.to_owned(), since));
            drop(progress);
            (self.wake)();
        }
    }

    /// The run is heard of again.
    pub fn reached(&self) {
        if self.lock().obstacle.take().is_some() {
            (self.wake)();
        }
    }

    /// Changes the step in progress.
    pub fn step(&self, change: impl FnOnce(&mut StepRun)) {
        if let Some(step) = self.lock().steps.last_mut() {
            change(step);
        }
    }
}
