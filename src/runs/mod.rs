//! The runs in flight: a run is one Task's steps being executed in one pod.
//!
//! Reconcile starts a run, looks at it and ends it, and never waits for a command. A run wakes its Task when it is over.
//! What executes the steps is a [`Runner`]: [`Exec`] is the one with plain pods/exec.

mod exec;
mod exec_status;
mod script;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arl_crds::Step;
use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use tokio::task::AbortHandle;

pub use exec::Exec;

use crate::{
    clock::Clock,
    object::{Key, Uid},
    output::Output,
};

/// Where steps run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The pod.
    pub pod: Key,
    /// Which pod that is.
    pub pod_uid: Uid,
    /// The executor container.
    pub container: String,
    /// Which start of the container that is.
    pub container_id: String,
}

/// A Task to run.
#[derive(Clone, Debug)]
pub struct Request {
    /// The Task.
    pub task: Key,
    /// Which Task that is.
    pub task_uid: Uid,
    /// Its steps.
    pub steps: Vec<Step>,
    /// How long all of them may take together.
    pub timeout: Duration,
    /// Where.
    pub target: Target,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepEnd {
    /// The command exited.
    Exited(i32),
    /// The file was written.
    Written,
    /// The file could not be written; in words.
    NotWritten(String),
    /// The step could not be started; in words.
    StartError(String),
}

impl StepEnd {
    /// Whether the next step may run.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Exited(0) | Self::Written)
    }
}

/// A step that was started.
#[derive(Clone, Debug)]
pub struct StepRun {
    /// When it was started.
    pub started_at: Timestamp,
    /// How it ended and when, if it has.
    pub end: Option<(StepEnd, Timestamp)>,
    /// What it printed.
    pub stdout: Output,
    /// What it printed on standard error.
    pub stderr: Output,
}

/// The steps started so far, in order; shared between the run and whoever reports on it.
pub type Progress = Arc<Mutex<Vec<StepRun>>>;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// All steps succeeded, or one failed.
    Completed,
    /// The timeout came first.
    TimedOut,
    /// The connection to the pod was lost; in words.
    Broken(String),
}

/// Executes the steps of a Task. The seam between what a Task is and how commands get into a pod.
pub trait Runner: Send + Sync + 'static {
    /// Runs the steps in order, until one fails; reports as it goes. Dropping the future gives the run up.
    fn run<'a>(&'a self, request: &'a Request, progress: &'a Progress) -> BoxFuture<'a, RunEnd>;
}

/// What can be told of a run without its outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunView {
    /// How and when it ended, if it has.
    pub end: Option<(RunEnd, Timestamp)>,
    /// How the last step that was started ended, if it has.
    pub last_step: Option<StepEnd>,
}

struct Run {
    task: Key,
    progress: Progress,
    end: Option<(RunEnd, Timestamp)>,
    work: AbortHandle,
}

/// All runs of this process, by the uid of their Task.
pub struct Runs {
    runner: Arc<dyn Runner>,
    clock: Clock,
    active: Mutex<BTreeMap<Uid, Run>>,
    wake: Arc<dyn Fn(Key) + Send + Sync>,
}

impl Runs {
    /// Runs through `runner`; `wake` is told of each Task whose run is over.
    pub fn new(runner: Arc<dyn Runner>, clock: Clock, wake: Arc<dyn Fn(Key) + Send + Sync>) -> Self {
        Self { runner, clock, active: Mutex::default(), wake }
    }

    /// Starts a run; a Task that has one keeps it.
    pub fn start(self: &Arc<Self>, request: Request) {
        let mut active = self.lock();
        if active.contains_key(&request.task_uid) {
            return;
        }
        let progress = Progress::default();
        let run = Run {
            task: request.task.clone(),
            progress: Arc::clone(&progress),
            end: None,
            work: tokio::spawn(Arc::clone(self).follow(request.clone(), progress)).abort_handle(),
        };
        active.insert(request.task_uid, run);
    }

    /// What is known of the run of a Task.
    pub fn view(&self, task: &Uid) -> Option<RunView> {
        self.lock().get(task).map(|run| RunView {
            end: run.end.clone(),
            last_step: locked(&run.progress).last().and_then(|step| step.end.as_ref().map(|(end, _)| end.clone())),
        })
    }

    /// The steps of a run so far, with their outputs.
    pub fn progress(&self, task: &Uid) -> Vec<StepRun> {
        self.lock().get(task).map(|run| locked(&run.progress).clone()).unwrap_or_default()
    }

    /// Ends a run, if it has not ended, and forgets it.
    pub fn drop_run(&self, task: &Uid) {
        if let Some(run) = self.lock().remove(task) {
            run.work.abort();
        }
    }

    /// The Tasks with a run under this key other than `present`: those whose object is gone.
    pub fn orphans(&self, key: &Key, present: Option<&Uid>) -> Vec<Uid> {
        let active = self.lock();
        active
            .iter()
            .filter(|(uid, run)| run.task == *key && Some(*uid) != present)
            .map(|(uid, _)| uid.clone())
            .collect()
    }

    async fn follow(self: Arc<Self>, request: Request, progress: Progress) {
        let run = std::panic::AssertUnwindSafe(self.runner.run(&request, &progress)).catch_unwind();
        let end = match tokio::time::timeout(request.timeout, run).await {
            Ok(Ok(end)) => end,
            Ok(Err(_)) => RunEnd::Broken("the runner failed; this is a bug in the operator".into()),
            Err(_) => RunEnd::TimedOut,
        };
        let now = self.clock.now();
        if let Some(run) = self.lock().get_mut(&request.task_uid) {
            run.end = Some((end, now));
        }
        (self.wake)(request.task);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uid, Run>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The steps behind a lock that no panic can spoil: they are only ever appended to.
pub fn locked(progress: &Progress) -> MutexGuard<'_, Vec<StepRun>> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}
