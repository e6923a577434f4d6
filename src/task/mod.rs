//! Task: runs an ordered list of steps in a Sandbox's pod and reports what came of it.
//!
//! Promises: one Task at a time per Sandbox, first come first served; waiting never fails by itself and always says why; a step
//! is started at most once, whatever crashes; every end is reported, with the output there was; a finished Task never changes.
//!
//! Woken by its own changes, by those of its Sandbox and pod, when it comes to the head of the queue, and when its run is over.

mod observe;
mod plan;
mod report;
mod status;

use std::{sync::Arc, time::Duration};

use arl_crds::{Task, TaskState, TaskStatus, reason::EventReason};

use crate::{
    cache::{TaskRow, Watch},
    clock::Clock,
    controller::{Next, Reconcile},
    effects::{Effects, Event, Failure, Outcome},
    object::{Key, Uid, Version},
    runs::{Request, Runs, Target},
};
use observe::Observed;
use plan::{Decision, Verdict};

/// Looks after Tasks.
pub struct Tasks {
    watch: Arc<Watch>,
    effects: Arc<Effects>,
    runs: Arc<Runs>,
    clock: Clock,
    /// How long a finished Task is kept that does not say so itself.
    finished_ttl: Option<Duration>,
}

impl Tasks {
    /// Reads what `watch` knows, writes through `effects`, executes through `runs`.
    pub fn new(
        watch: Arc<Watch>,
        effects: Arc<Effects>,
        runs: Arc<Runs>,
        clock: Clock,
        finished_ttl: Option<Duration>,
    ) -> Self {
        Self { watch, effects, runs, clock, finished_ttl }
    }

    /// Ends the runs of Tasks that were deleted in flight.
    fn end_orphans(&self, key: &Key, present: Option<&Uid>) {
        for uid in self.runs.orphans(key, present) {
            tracing::info!(%uid, "the Task was deleted; its run ends");
            self.runs.drop_run(&uid);
        }
    }

    /// The Sandbox may have gone a moment ago, and its pod with it: the truer reason is asked for.
    async fn confirm(&self, observed: &mut Observed) -> Result<(), Failure> {
        if observed.pod_is_lost() {
            let sandbox = self.effects.read::<arl_crds::Sandbox>(&observed.row.sandbox()).await?;
            observed.sandbox_is_gone =
                !matches!(sandbox, Outcome::Done(s) if Some(Uid::of(&s)) == observed.sandbox_uid());
        }
        Ok(())
    }

    /// Puts "started" on record first: what may have started is never started again.
    async fn start(&self, observed: &Observed, target: &Target) -> Result<(), Failure> {
        let wanted = status::running(observed, target, self.clock.now());
        let version = Version::of(&*observed.row.task);
        let Outcome::Done(task) = self.effects.write_status::<Task>(&version, &wanted).await? else {
            return Ok(());
        };
        let timeout = task.spec.timeout().unwrap_or_default();
        let steps = task.spec.steps.clone();
        self.runs.start(Request { task: version.key, task_uid: version.uid, steps, timeout, target: target.clone() });
        self.watch.learn::<TaskRow>(task);
        Ok(())
    }

    async fn finish(&self, observed: &Observed, verdict: &Verdict) -> Result<(), Failure> {
        let uid = observed.uid();
        let steps = self.runs.progress(&uid);
        let full = report::finished(observed, verdict, &steps, self.clock.now());
        let mut outcome = Outcome::TooLarge;
        for budget in report::BUDGETS {
            let fitted = report::fit(full.clone(), budget);
            outcome = self.write(observed, &fitted).await?;
            if outcome != Outcome::TooLarge {
                break;
            }
        }
        if outcome == Outcome::Done(()) || outcome == Outcome::Gone {
            self.runs.drop_run(&uid);
        }
        Ok(())
    }

    async fn write(&self, observed: &Observed, wanted: &TaskStatus) -> Result<Outcome<()>, Failure> {
        if observed.row.status() == Some(wanted) {
            return Ok(Outcome::Done(()));
        }
        let version = Version::of(&*observed.row.task);
        Ok(match self.effects.write_status::<Task>(&version, wanted).await? {
            Outcome::Done(task) => {
                if let Some((reason, note)) = status::event(wanted) {
                    self.effects.event(Event::about(&task, reason, note));
                }
                self.watch.learn::<TaskRow>(task);
                Outcome::Done(())
            }
            Outcome::Stale => Outcome::Stale,
            Outcome::TooLarge => Outcome::TooLarge,
            Outcome::Refused(refusal) => {
                tracing::error!(refusal.message, "the API server refuses this status; this is a bug in the operator");
                Outcome::Refused(refusal)
            }
            Outcome::Gone | Outcome::Exists => Outcome::Gone,
        })
    }
}

impl Reconcile for Tasks {
    const KIND: &'static str = "Task";

    async fn reconcile(&self, key: &Key) -> Next {
        let observed = Observed::read(&self.watch.cache, key, &self.runs, self.finished_ttl);
        self.end_orphans(key, observed.as_ref().map(Observed::uid).as_ref());
        let Some(mut observed) = observed else { return Ok(None) };
        tracing::Span::current().record("uid", observed.uid().0.as_str());
        self.confirm(&mut observed).await?;
        let plan = plan::plan(&observed, self.clock.now());
        match &plan.decision {
            Decision::Rest => {}
            Decision::Wait(reason) => {
                drop(self.write(&observed, &status::waiting(&observed, *reason, self.clock.now())).await?);
            }
            Decision::Start(target) => self.start(&observed, target).await?,
            Decision::Finish(verdict) => self.finish(&observed, verdict).await?,
            Decision::Expire => drop(self.effects.delete::<Task>(&Version::of(&*observed.row.task)).await?),
        }
        Ok(plan.look_again)
    }
}

/// The Event that a state is worth, if any.
fn event_reason(state: Option<TaskState>) -> Option<EventReason> {
    match state? {
        TaskState::Succeeded => Some(EventReason::TaskSucceeded),
        TaskState::Failed => Some(EventReason::TaskFailed),
        TaskState::Pending | TaskState::Running => None,
    }
}
