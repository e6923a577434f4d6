//! All runs of this process.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::FutureExt;
use jiff::Timestamp;
use tokio::{sync::watch, task::AbortHandle};

use super::{
    contents::Room,
    live::{LivePods, LiveReport, LiveView},
    quota::Share,
    report::{Progress, Report},
    run::{Bounds, Ended, Leftovers, Request, RunControl, RunEnd, StepEnd},
    runner::Runner,
};
use crate::{
    cache::Wake,
    clock::Clock,
    object::{Key, Uid},
    pod::Target,
};

/// What can be told of a run without its outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunView {
    /// Where it was sent.
    pub target: Target,
    /// Since when this process has it.
    pub begun_at: Timestamp,
    /// When it was started, if it was.
    pub started_at: Option<Timestamp>,
    /// What keeps it from being started, or from being heard of, if something does; and since when.
    pub obstacle: Option<(String, Timestamp)>,
    /// How many of its steps were started.
    pub steps: usize,
    /// When the last of them was started.
    pub step_started_at: Option<Timestamp>,
    /// How the last step that was started ended, if it has.
    pub last_step: Option<StepEnd>,
    /// How it ended, if it has.
    pub ended: Option<Ended>,
}

/// A run whose Task is gone.
#[derive(Clone, Debug)]
pub struct Orphan {
    /// The Task it was of.
    pub task: Uid,
    /// Where it runs.
    pub target: Target,
    /// How it ended, if it has.
    pub ended: Option<Ended>,
}

struct Run {
    task: Key,
    target: Target,
    begun_at: Timestamp,
    report: Report,
    control: watch::Sender<RunControl>,
    ended: Option<Ended>,
    work: AbortHandle,
}

/// Runs by the uid of their Task.
#[derive(Default)]
struct Active {
    runs: BTreeMap<Uid, Run>,
    by_task: BTreeSet<(Key, Uid)>,
    by_pod: BTreeSet<(Uid, Uid)>,
}

impl Active {
    fn insert(&mut self, task: Uid, run: Run) {
        self.by_task.insert((run.task.clone(), task.clone()));
        self.by_pod.insert((run.target.pod_uid.clone(), task.clone()));
        self.runs.insert(task, run);
    }

    fn remove(&mut self, task: &Uid) -> Option<Run> {
        let run = self.runs.remove(task)?;
        self.by_task.remove(&(run.task.clone(), task.clone()));
        self.by_pod.remove(&(run.target.pod_uid.clone(), task.clone()));
        Some(run)
    }

    /// The runs of all Tasks that have, or had, this name.
    fn named<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = (&'a Uid, &'a Run)> {
        under(&self.by_task, key).filter_map(|task| self.runs.get_key_value(task))
    }

    fn in_pod<'a>(&'a self, pod: &'a Uid) -> impl Iterator<Item = (&'a Uid, &'a Run)> {
        under(&self.by_pod, pod).filter_map(|task| self.runs.get_key_value(task))
    }
}

fn under<'a, K: Clone + Ord>(index: &'a BTreeSet<(K, Uid)>, of: &'a K) -> impl Iterator<Item = &'a Uid> {
    index.range((of.clone(), Uid(String::new()))..).take_while(move |(key, _)| key == of).map(|(_, task)| task)
}

/// All runs of this process.
pub struct Runs {
    runner: Arc<dyn Runner>,
    clock: Clock,
    active: Mutex<Active>,
    bounds: Bounds,
    live: LivePods,
    wake: Arc<dyn Fn(Wake) + Send + Sync>,
    wake_task: Arc<dyn Fn(Key) + Send + Sync>,
}

impl Runs {
    /// Runs through `runner`; `wake` is told of each Task whose run has begun or is over, and of each Sandbox in whose pod live
    /// processes have.
    pub fn new(runner: Arc<dyn Runner>, clock: Clock, bounds: Bounds, wake: Arc<dyn Fn(Wake) + Send + Sync>) -> Self {
        let of_task = Arc::clone(&wake);
        let wake_task = Arc::new(move |key| of_task(Wake::Task(key)));
        Self { runner, clock, active: Mutex::default(), bounds, live: LivePods::default(), wake, wake_task }
    }

    /// Room for what the steps of a Task take in memory until a pod has them; where there is none, the Task is woken later.
    pub fn room(&self, task: &Key, bytes: usize) -> Option<Room> {
        self.bounds.contents.room(task, bytes, &self.wake_task)
    }

    /// The Task of this name has ended, or is gone: it waits for no room.
    pub fn waits_no_more(&self, task: &Key) {
        self.bounds.contents.waits_no_more(task);
    }

    /// A Sandbox has this pod: Tasks for it may come. Where it `asks` whether there are live processes, the answer wakes it.
    pub fn prepare(&self, sandbox: &Key, target: &Target, asks: bool) {
        let report = self.live.report(sandbox, target, || {
            let (wake, key) = (Arc::clone(&self.wake), sandbox.clone());
            LiveReport::new(self.clock.clone(), Arc::new(move || wake(Wake::Sandbox(key.clone()))))
        });
        self.runner.prepare(target, &report);
        if asks && report.ask() {
            self.runner.ask_live(target);
        }
    }

    /// A Sandbox may get this pod soon; false where there is no room for a stream to it.
    pub fn connect(&self, target: &Target) -> bool {
        self.runner.connect(target)
    }

    /// What is known of live processes in the pod of a Sandbox.
    pub fn live(&self, sandbox: &Key, pod: &Uid) -> LiveView {
        self.live.view(sandbox, pod)
    }

    /// The Sandbox has no pod any more.
    pub fn forget_live(&self, sandbox: &Key) {
        self.live.forget(sandbox);
    }

    /// How many Sandboxes of each namespace have live processes or clients.
    pub fn live_sandboxes(&self) -> BTreeMap<String, usize> {
        self.live.active()
    }

    /// Starts a run; a Task that has one keeps it.
    pub fn start(self: &Arc<Self>, request: Request) {
        let mut active = self.lock();
        if active.runs.contains_key(&request.task_uid) {
            return;
        }
        let (control, controls) = watch::channel(RunControl::Continue);
        let task_uid = request.task_uid.clone();
        let (wake, key) = (Arc::clone(&self.wake_task), request.task.clone());
        let share = Share::new(&self.bounds.outputs, &request.task.namespace);
        let report = Report::new(share, Arc::new(move || wake(key.clone())));
        let run = Run {
            task: request.task.clone(),
            target: request.target.clone(),
            begun_at: self.clock.now(),
            report: report.clone(),
            control,
            ended: None,
            work: tokio::spawn(Arc::clone(self).follow(request, report, controls)).abort_handle(),
        };
        active.insert(task_uid, run);
    }

    /// Asks a run for something; a run that was asked to end is not asked to go on.
    pub fn control(&self, task: &Uid, control: RunControl) {
        if let Some(run) = self.lock().runs.get(task) {
            run.control.send_if_modified(|now| {
                let changes = *now != control && *now != RunControl::Cancel;
                *now = if changes { control } else { *now };
                changes
            });
        }
    }

    /// How many runs have not ended.
    pub fn active(&self) -> usize {
        self.lock().runs.values().filter(|run| run.ended.is_none()).count()
    }

    /// The Tasks that have a run in this pod.
    pub fn in_pod(&self, pod: &Uid) -> Vec<(Key, Uid)> {
        self.lock().in_pod(pod).map(|(task, run)| (run.task.clone(), task.clone())).collect()
    }

    /// What is known of the run of a Task.
    pub fn view(&self, task: &Uid) -> Option<RunView> {
        self.lock().runs.get(task).map(|run| {
            let progress = run.report.lock();
            let last = progress.steps.last();
            RunView {
                target: run.target.clone(),
                begun_at: run.begun_at,
                started_at: progress.started_at,
                obstacle: progress.obstacle.clone(),
                steps: progress.steps.len(),
                step_started_at: last.map(|step| step.started_at),
                last_step: last.and_then(|step| step.end.clone()),
                ended: run.ended.clone(),
            }
        })
    }

    /// Reads a run so far, with its outputs, which are not copied for it.
    pub fn read<T>(&self, task: &Uid, read: impl FnOnce(&Progress) -> T) -> T {
        let report = self.lock().runs.get(task).map(|run| run.report.clone());
        match report {
            Some(report) => read(&report.lock()),
            None => read(&Progress::default()),
        }
    }

    /// Lets go of a run whose result is on record, or that nobody wants.
    pub fn forget(&self, task: &Uid) {
        if let Some(run) = self.lock().remove(task) {
            run.work.abort();
            self.runner.forget(&run.target, task);
        }
    }

    /// Lets go of a run of which nothing was sent. The pod is not told: where a stream broke just then, it knows of the run all the same, and what
    /// it has on record is what keeps a step from being started twice.
    pub fn discard(&self, task: &Uid) {
        if let Some(run) = self.lock().remove(task) {
            run.work.abort();
        }
    }

    /// Lets go of all runs: what they started goes on in the pods, for whoever asks next.
    pub fn let_go(&self) {
        for run in std::mem::take(&mut *self.lock()).runs.into_values() {
            run.work.abort();
        }
    }

    /// The runs under this key of Tasks other than `present`: those whose object is gone.
    pub fn orphans(&self, key: &Key, present: Option<&Uid>) -> Vec<Orphan> {
        let active = self.lock();
        let gone = active.named(key).filter(|(uid, _)| Some(*uid) != present);
        gone.map(|(uid, run)| Orphan { task: uid.clone(), target: run.target.clone(), ended: run.ended.clone() })
            .collect()
    }

    async fn follow(self: Arc<Self>, request: Request, report: Report, controls: watch::Receiver<RunControl>) {
        let (task, task_uid) = (request.task.clone(), request.task_uid.clone());
        let run = std::panic::AssertUnwindSafe(self.runner.run(request, &report, controls)).catch_unwind();
        let (end, left) = run.await.unwrap_or_else(|_| {
            (RunEnd::Lost("the runner failed; this is a bug in the operator".into()), Leftovers::Unknown)
        });
        let at = self.clock.now();
        if let Some(run) = self.lock().runs.get_mut(&task_uid) {
            run.ended = Some(Ended { end, left, at });
        }
        (self.wake_task)(task);
    }

    fn lock(&self) -> MutexGuard<'_, Active> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
