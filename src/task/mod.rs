//! Task: runs an ordered list of steps in a Sandbox's pod and reports what came of it.
//!
//! Promises: one Task at a time per Sandbox, first come first served; waiting never fails by itself and always says why; a step
//! is started at most once, whatever crashes; every end is reported, with the output there was; a finished Task never changes.
//!
//! Woken by its own changes, by those of its Sandbox and pod, when it comes to the head of the queue, and when its run is over.

mod decision;
mod deletion;
mod leftovers;
mod measure;
mod observe;
mod plan;
mod report;
mod status;
mod waiting;

use std::{sync::Arc, time::Duration};

use arl_crds::{ExecutorMode, Sandbox, Task, TaskStatus};

use crate::{
    cache::{Row, SandboxRow, Source, TaskRow, Watch},
    clock::Clock,
    controller::{Next, Reconcile},
    effects::{Deleted, Effects, Event, Failure, Written},
    metrics::Metrics,
    object::{Key, Uid, Version},
    pod::{Pod, Target},
    runs::{Request, Runs},
    stalled::{self, Obstacle},
    traces,
};
use decision::{Decision, Verdict};
use observe::Observed;

/// Looks after Tasks.
pub struct Tasks {
    watch: Arc<Watch>,
    effects: Arc<Effects>,
    runs: Arc<Runs>,
    clock: Clock,
    /// How long a finished Task is kept that does not say so itself.
    finished_ttl: Option<Duration>,
    metrics: Arc<Metrics>,
}

impl Tasks {
    /// Reads what `watch` knows, writes through `effects`, executes through `runs`.
    pub fn new(
        watch: Arc<Watch>,
        effects: Arc<Effects>,
        runs: Arc<Runs>,
        clock: Clock,
        finished_ttl: Option<Duration>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { watch, effects, runs, clock, finished_ttl, metrics }
    }

    /// The end of a Task is final, and a cache may be late: what ends one is asked for. The Sandbox may have gone a moment ago, too, and its
    /// pod with it, which is the truer reason.
    async fn confirm(&self, observed: &mut Observed) -> Result<(), Failure> {
        if let Some(pod) = observed.unreachable_pod() {
            observed.confirm_pod(self.effects.read_pod(&pod).await?.map(Pod::slim));
        }
        if observed.is_in_doubt() {
            let sandbox = self.effects.read::<Sandbox>(&observed.row.sandbox()).await?;
            observed.confirm_sandbox(sandbox.map(|sandbox| SandboxRow::row(sandbox, self.clock.now())));
            if let Some(pod) = observed.missing_pod() {
                observed.confirm_pod(self.effects.read_pod(&pod).await?.map(Pod::slim));
            }
        }
        Ok(())
    }

    /// What may have started is never started again: with plain exec "started" is put on record here first, while the agent
    /// keeps that record in the pod, so that a short Task costs one write. Says whether it has a run now; else something will wake it.
    async fn start(&self, observed: &Observed, target: &Target) -> Result<bool, Failure> {
        let version = Version::of(&*observed.row.task);
        let started_at = observed.row.started_at();
        let is_started = started_at.is_some();
        let carried = if is_started { 0 } else { observed.carried() };
        let room = if carried > 0 { self.runs.room(&version.key, carried) } else { None };
        if carried > 0 && room.is_none() {
            self.put_status(observed, &status::without_room(observed, self.clock.now())).await?;
            return Ok(false);
        }
        let mut steps = match target.mode {
            ExecutorMode::Exec => {
                let wanted = status::starting(observed, target, self.clock.now());
                let task = match self.effects.write_status::<Task>(&version, &wanted, observed.row.left_out).await? {
                    Written::Done(task) => task,
                    Written::Changed | Written::Gone => return Ok(false),
                    Written::TooLarge(failure) => return Err(failure),
                };
                let steps = task.spec.steps.clone();
                self.watch.learn::<TaskRow>(task);
                steps
            }
            ExecutorMode::Agent if !is_started && observed.row.left_out > 0 => {
                match self.effects.read::<Task>(&version.key).await? {
                    Some(task) if Uid::of(&task) == version.uid => task.spec.steps,
                    // There will be a watch event of its deletion.
                    Some(_) | None => return Ok(false),
                }
            }
            ExecutorMode::Agent => observed.row.task.spec.steps.clone(),
        };
        let sandbox_env = observed.sandbox_object().map(|sandbox| sandbox.spec.env.clone()).unwrap_or_default();
        for step in &mut steps {
            step.add_env(&sandbox_env);
        }
        let timeout = observed.row.task.spec.timeout().unwrap_or_default();
        if is_started {
            self.metrics.runs_reattached.inc();
        }
        let (task, task_uid) = (version.key, version.uid);
        let (created, target) = (observed.created(), target.clone());
        self.runs.start(Request { task, task_uid, created, steps, sandbox_env, room, timeout, target, started_at });
        Ok(true)
    }

    /// Shows how far the run has come.
    async fn record(&self, observed: &Observed) -> Result<(), Failure> {
        if let Some(run) = &observed.run {
            let now = self.clock.now();
            let status = self
                .runs
                .read(&observed.uid(), |progress| status::in_progress(observed, &run.target, &progress.steps, now));
            self.put_status(observed, &status).await?;
        }
        Ok(())
    }

    /// Puts on record that its end is its end under the spec that it has now.
    async fn acknowledge(&self, observed: &Observed) -> Result<(), Failure> {
        let version = Version::of(&*observed.row.task);
        // The cache need not have all of the status.
        let is_behind =
            |task: &Task| task.status.as_ref().and_then(|s| s.observed_generation) != task.metadata.generation;
        let found = self.effects.read::<Task>(&version.key).await?;
        let Some(task) = found.filter(|task| Uid::of(task) == version.uid && is_behind(task)) else { return Ok(()) };
        match self.effects.write_generation(&task).await? {
            Written::Done(task) => self.watch.learn::<TaskRow>(task),
            // Its watch event reconciles it again.
            Written::Changed | Written::Gone => {}
            Written::TooLarge(failure) => return Err(failure),
        }
        Ok(())
    }

    async fn finish(&self, observed: &Observed, verdict: &Verdict) -> Result<(), Failure> {
        let uid = observed.uid();
        if let Some(run) = observed.run.as_ref().filter(|_| verdict.gives_up_pod) {
            self.give_up(&observed.row.key().name, &run.target, &verdict.message).await?;
        }
        let now = self.clock.now();
        let mut status = self.runs.read(&uid, |progress| report::finished(observed, verdict, &progress.steps, now));
        let mut too_large = None;
        for extent in report::EXTENTS {
            let is_less = report::reduce(&mut status, extent);
            if too_large.is_some() {
                if !is_less {
                    continue;
                }
                self.metrics.status_shrunk.inc();
            }
            match self.write(observed, &status).await? {
                Written::Done(()) => {
                    self.release_run(observed, &status);
                    return Ok(());
                }
                Written::Gone => {
                    self.runs.forget(&uid);
                    return Ok(());
                }
                Written::Changed => return Ok(()),
                Written::TooLarge(failure) => too_large = Some(failure),
            }
        }
        too_large.map_or(Ok(()), Err)
    }

    /// The end of the Task is on record: it is counted, and nothing is kept of its run.
    fn release_run(&self, observed: &Observed, status: &TaskStatus) {
        let (uid, traces) = (observed.uid(), self.effects.traces());
        let trace = traces.id(|| trace(observed, Some(status)));
        self.runs.read(&uid, |run| measure::finished(&self.metrics, &observed.row, status, &run.steps, trace));
        traces.take(|| traces::task(&observed.row, status, observed.sandbox_object()));
        self.runs.forget(&uid);
    }

    async fn write(&self, observed: &Observed, wanted: &TaskStatus) -> Result<Written<()>, Failure> {
        if observed.row.status() == Some(wanted) {
            return Ok(Written::Done(()));
        }
        let version = Version::of(&*observed.row.task);
        Ok(match self.effects.write_status::<Task>(&version, wanted, observed.row.left_out).await? {
            Written::Done(task) => {
                if let Some((reason, note)) = status::event(wanted) {
                    self.effects.event(Event::about(&task, reason, note));
                }
                self.watch.learn::<TaskRow>(task);
                Written::Done(())
            }
            Written::Changed => Written::Changed,
            Written::Gone => Written::Gone,
            Written::TooLarge(failure) => Written::TooLarge(failure),
        })
    }

    /// Shows where the Task stands, if it has not changed since; if it has, its watch event reconciles it again.
    async fn put_status(&self, observed: &Observed, wanted: &TaskStatus) -> Result<(), Failure> {
        match self.write(observed, wanted).await? {
            Written::Done(()) | Written::Changed | Written::Gone => Ok(()),
            Written::TooLarge(failure) => Err(failure),
        }
    }
}

impl Reconcile for Tasks {
    const KIND: &'static str = "Task";
    const NAME: &'static str = "task";

    async fn reconcile(&self, key: &Key) -> Next {
        let observed = Observed::read(&self.watch.cache, key, &self.runs, self.finished_ttl);
        self.end_orphans(key, observed.as_ref().map(Observed::uid).as_ref()).await?;
        if observed.as_ref().is_none_or(|observed| observed.row.state().is_finished()) {
            self.runs.waits_no_more(key);
        }
        let Some(mut observed) = observed else { return Ok(None) };
        tracing::Span::current().record("uid", observed.uid().0.as_str());
        self.effects.traces().name_in_log(|| trace(&observed, observed.row.status()));
        if let Some(status) = observed.ended_unheard() {
            self.release_run(&observed, status);
        }
        self.confirm(&mut observed).await?;
        let plan = plan::plan(&observed, self.clock.now());
        match &plan.decision {
            Decision::Rest => {}
            Decision::Wait(reason) => {
                self.put_status(&observed, &status::waiting(&observed, *reason, self.clock.now())).await?;
            }
            Decision::Start(target) => {
                if !self.start(&observed, target).await? {
                    return Ok(None);
                }
            }
            Decision::Record => self.record(&observed).await?,
            Decision::Ask(control) => self.runs.control(&observed.uid(), *control),
            Decision::BeginAgain => self.runs.discard(&observed.uid()),
            Decision::Finish(verdict) => self.finish(&observed, verdict).await?,
            Decision::Acknowledge => self.acknowledge(&observed).await?,
            Decision::Expire => {
                // The watch event of one that changed reconciles it again.
                let _: Deleted = self.effects.delete::<Task>(&Version::of(&*observed.row.task)).await?;
            }
        }
        Ok(plan.look_again)
    }

    async fn show(&self, key: &Key, obstacle: Option<Obstacle<'_>>) -> Result<(), Failure> {
        let object = self.watch.cache.read().tasks.get(key).map(|row| Arc::clone(&row.task));
        let Some(object) = object else { return Ok(()) };
        if let Some(written) = stalled::show(&self.effects, &*object, obstacle, self.clock.now()).await? {
            self.watch.learn::<TaskRow>(written);
        }
        Ok(())
    }
}

fn trace(observed: &Observed, status: Option<&TaskStatus>) -> Option<traces::Context> {
    traces::of_task(&observed.row.task, status, observed.sandbox_object())
}

#[cfg(test)]
mod tests;
