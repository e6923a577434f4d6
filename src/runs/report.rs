//! What is known of a run while it goes on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::{quota::Share, run::StepEnd};
use crate::output::{Output, RUN_MAX, SHORT};

/// What is kept of the outputs of a run while all runs together, or those of its namespace, keep too much.
const SCARCE: usize = 16 * 1024;

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
#[derive(Debug, Default)]
pub struct Progress {
    /// When it was started, if it was.
    pub started_at: Option<Timestamp>,
    /// What keeps it from being started; in words.
    pub obstacle: Option<(String, Timestamp)>,
    /// The steps started so far, in order.
    pub steps: Vec<StepRun>,
    share: Share,
}

impl Progress {
    /// Bounds what is kept of the outputs; to be called whenever a step has ended, or has printed. The agent shortens by the same rule, so that one who
    /// follows from the start and one who comes later report the same.
    pub fn bound(&mut self) {
        self.shorten(RUN_MAX, SHORT);
        self.share.set(self.kept());
        if self.share.is_too_much() {
            self.shorten(SCARCE, SCARCE / (2 * self.steps.len()).max(1));
            self.share.set(self.kept());
        }
    }

    fn kept(&self) -> usize {
        self.steps.iter().map(|step| step.stdout.kept() + step.stderr.kept()).sum()
    }

    /// Shortens outputs to `each` until all have at most `max` bytes. Earlier ones make room for later ones.
    fn shorten(&mut self, max: usize, each: usize) {
        let mut kept = self.kept();
        for output in self.steps.iter_mut().flat_map(|step| [&mut step.stdout, &mut step.stderr]) {
            if kept <= max {
                return;
            }
            let before = output.kept();
            output.shorten(each);
            kept -= before - output.kept();
        }
    }

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
    pub fn new(share: Share, wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { progress: Arc::new(Mutex::new(Progress { share, ..Progress::default() })), wake }
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
    pub fn obstacle(&self, message: &str, now: Timestamp) {
        let mut progress = self.lock();
        // Of a run that goes on unheard the first words are enough: each change is a write.
        let is_news = match &progress.obstacle {
            None => true,
            Some((known, _)) => progress.started_at.is_none() && known != message,
        };
        if is_news {
            let since = progress.obstacle.as_ref().map_or(now, |(_, since)| *since);
            progress.obstacle = Some((message.to_owned(), since));
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

    /// The next step begins.
    pub fn begin_step(&self, at: Timestamp) {
        self.lock().steps.push(StepRun::new(at));
        (self.wake)();
    }

    /// The step in progress has printed.
    pub fn append(&self, output: impl FnOnce(&mut StepRun) -> &mut Output, bytes: &[u8]) {
        let mut progress = self.lock();
        if let Some(step) = progress.steps.last_mut() {
            output(step).push(bytes);
            progress.bound();
        }
    }

    /// Changes the step in progress.
    pub fn step(&self, change: impl FnOnce(&mut StepRun)) {
        if let Some(step) = self.lock().steps.last_mut() {
            change(step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::quota::Quota;

    fn chatty(share: Share, steps: usize) -> Report {
        let report = Report::new(share, Arc::new(|| {}));
        for _ in 0..steps {
            let mut progress = report.lock();
            let mut step = StepRun::new(Timestamp::UNIX_EPOCH);
            for output in [&mut step.stdout, &mut step.stderr] {
                output.push(&vec![b'x'; 100_000]);
            }
            progress.steps.push(step);
            progress.bound();
        }
        report
    }

    #[test]
    fn the_outputs_of_a_run_are_bounded_as_they_arrive() {
        let report = chatty(Share::default(), 64);
        let mut progress = report.lock();
        assert!(progress.kept() <= RUN_MAX, "{}", progress.kept());
        let kept: Vec<usize> = progress.steps.iter().map(|step| step.stdout.kept() + step.stderr.kept()).collect();
        assert!(kept[..60].iter().all(|kept| *kept == 2 * SHORT) && kept[61..].iter().all(|kept| *kept == 128 * 1024));
        assert!(progress.steps.iter().all(|step| step.stderr.printed() == 100_000 && step.stdout.is_cut()));
        progress.bound();
        assert_eq!(progress.steps[63].stdout.kept(), 64 * 1024, "what fits is left alone");
    }

    #[test]
    fn what_steps_in_progress_have_printed_counts_too() {
        let quota = Arc::new(Quota::new(4 * RUN_MAX, 2 * RUN_MAX));
        let reports: Vec<Report> = (0..100).map(|_| Report::new(Share::new(&quota, "n"), Arc::new(|| {}))).collect();
        for report in &reports {
            report.begin_step(Timestamp::UNIX_EPOCH);
        }
        for _ in 0..100 {
            for report in &reports {
                report.append(|step| &mut step.stdout, &[b'x'; 16 * 1024]);
            }
            assert!(quota.held() <= 2 * RUN_MAX + 100 * SCARCE, "{}", quota.held());
        }
        assert!(reports.iter().all(|report| report.lock().steps[0].stdout.printed() == 1600 * 1024));
    }

    #[test]
    fn the_outputs_of_all_runs_are_bounded_and_those_of_a_namespace() {
        let quota = Arc::new(Quota::new(4 * RUN_MAX, 2 * RUN_MAX));
        let run = |namespace| chatty(Share::new(&quota, namespace), 8);
        let (greedy, held) = ((0..100).map(|_| run("greedy")).collect::<Vec<_>>(), quota.held());
        assert!(held <= 2 * RUN_MAX + 100 * SCARCE, "{held}");
        assert!(run("other").lock().kept() > RUN_MAX / 2, "another namespace has its own share");
        drop(greedy);
        assert_eq!(quota.held(), 0);
    }
}
