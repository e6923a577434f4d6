//! WarmPool: keeps `replicas` idle pods of the template, or as many as are asked for where it has `scaling`.
//!
//! Promises: a claimed pod is replaced, at once or after a burst of claims; after some pods the pool is looked at again, so that
//! none is made that is no longer asked for; pods never exceed what is wanted, plus one while a changed template rolls, nor `scaling.maxPods`; a pod that was
//! just claimed is never deleted; a template that cannot work costs one pod or one refused create at a time, with growing pauses;
//! the status says what is wrong and what to do.
//!
//! Woken by its own changes and by those of its pods, see [`crate::triggers`].

mod carry_out;
mod context;
mod inject;
mod late;
mod manifest;
mod memory;
mod observe;
mod plan;
mod problem;
mod record;
mod refill;
mod scaling;
mod setback;
mod status;

use std::{sync::Arc, time::Duration};

use crate::{
    cache::Watch,
    clock::Clock,
    controller::{Next, Reconcile},
    effects::{Effects, Event, Failure, Haste, PodEvent, Warning},
    metrics::Metrics,
    object::{Key, Uid, Version},
    pod::{Pod, Target},
    runs::Runs,
    stalled::{self, Obstacle},
};
use arl_crds::{WarmPool, reason::EventReason};
use carry_out::Progress;
use context::Context;
pub use inject::AgentImage;
use jiff::Timestamp;
use memory::{Asked, Memories, Memory};
use observe::Observed;
use scaling::Limit;

/// Whether an idle pod has ended or is kept from starting; those of its pool were seen to take `start` to be ready.
pub fn is_failing(pod: &Pod, start: Duration, now: Timestamp) -> bool {
    pod.is_terminal() || problem::of(pod, None, start, now).is_some()
}

/// Looks after WarmPools.
pub struct WarmPools {
    context: Context,
    runs: Arc<Runs>,
}

impl WarmPools {
    /// Reads what `watch` knows, writes through `effects`; pods get their agent from `agent`; `runs` may open streams to them.
    pub fn new(
        watch: Arc<Watch>,
        effects: Arc<Effects>,
        clock: Clock,
        agent: AgentImage,
        runs: Arc<Runs>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let context = Context { watch, effects, clock, agent, metrics, memories: Memories::default() };
        Self { context, runs }
    }

    /// Once for each pod, and again where it was not ready meanwhile: a stream that breaks is opened again by itself, and one that
    /// is given up, since the pod is of no use or gone, is not tried at each of the pool's changes; one without room is.
    fn connect(&self, observed: &Observed, pods: Vec<Target>) {
        self.context.remember(observed, |memory| memory.connect(pods, |target| self.runs.connect(target)));
    }

    /// Looks at the Events of a pod that is late or crashes. They only explain: where they cannot be had, the pod's status is all there is.
    async fn ask(&self, observed: &mut Observed, pod: Option<&Version>) {
        let Some(pod) = pod else { return };
        let in_hook = observed.alive().any(|alive| Uid::of(alive) == pod.uid && late::may_be_in_hook(alive));
        let warning = match self.context.effects.warning_about(pod, in_hook).await {
            Ok(warning) => warning,
            Err(failure) if failure.is_refusal() => Warning::Found(Some(PodEvent::unreadable())),
            Err(failure) => {
                tracing::debug!(%failure, "the pod's Events cannot be read");
                Warning::Unknown
            }
        };
        // The look may have taken long.
        let asked = Asked::after(observed.asked.as_ref(), pod.uid.clone(), warning, self.context.clock.now());
        observed.asked = Some(asked.clone());
        self.context.remember(observed, |memory| memory.asked = Some(asked));
    }

    /// Says when it is written, where it waits, which it may if the pool is looked at again then.
    async fn write_status(&self, observed: &Observed, returns: bool, now: Timestamp) -> Next {
        let (wanted, recorded) = (status::status(observed, now), observed.pool.status.as_ref());
        if recorded == Some(&wanted) {
            self.context.remember(observed, Memory::recorded);
            return Ok(None);
        }
        let may_wait = returns && status::may_wait(recorded, &wanted);
        if let Some(until) = self.context.remember(observed, |memory| memory.put_off_status(may_wait, now)) {
            return Ok(Some(until));
        }
        self.context.record(Haste::Unhurried, observed, &wanted).await?;
        Ok(None)
    }
}

impl Reconcile for WarmPools {
    const KIND: &'static str = "WarmPool";
    const NAME: &'static str = "warmpool";

    async fn reconcile(&self, key: &Key) -> Next {
        let planned_at = self.context.clock.now();
        let Some(mut observed) = self.context.observe(key, planned_at) else {
            self.context.memories.forget(key);
            return Ok(None);
        };
        tracing::Span::current().record("uid", observed.uid().0.as_str());
        if observed.is_gone {
            return Ok(None);
        }
        let mut plan = plan::plan(&observed, planned_at);
        self.connect(&observed, std::mem::take(&mut plan.connect));
        let Progress { setback, created, failure, was_slow } = self.context.carry_out_visibly(&observed, &plan).await;
        // Calls may have taken long.
        let now = self.context.clock.now();
        let is_over = plan.over.is_so(created);
        let is_taken = self.context.memories.of(key, &observed.uid(), |memory| {
            memory.level = observed.is_elastic().then_some(observed.scale.level);
            memory.put_off_since = observed.refill.put_off(plan.yields_until.is_some(), plan.short, now);
            memory.admitted(created);
            observed.setback = memory.update(setback, is_over, now);
            memory.ended = observed.lost().map(Uid::of).collect();
            observed.warnings.clone_from(&memory.warnings);
            memory.taken > observed.last_number
        });
        if was_slow {
            // What was seen before is old by now.
            let Some(seen) = self.context.observe(key, now) else {
                return Ok(None);
            };
            observed = Observed { warnings: observed.warnings, ..seen };
        }
        self.ask(&mut observed, plan.ask.as_ref()).await;
        // The counts are true whatever else fails.
        let written_at = self.write_status(&observed, failure.is_none(), now).await?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        if plan.rolling_begins && created {
            self.context.effects.event(Event::about(
                &*observed.pool,
                EventReason::TemplateChanged,
                "the template changed; idle pods are being replaced one by one",
            ));
        }
        // What ended is counted; where nothing is to be waited for, there may be no watch event before its pod is gone.
        let is_free =
            plan.ended.is_some() && plan.short > 0 && observed.setback.as_ref().is_none_or(|s| s.until <= now);
        // A pool that did not grow for its setback may now that it is over.
        if is_taken || is_free || (is_over && observed.setback.is_none() && observed.scale.limit == Some(Limit::Held)) {
            return Ok(Some(now));
        }
        let until = observed.setback.as_ref().map(|s| s.until).max(Some(observed.late_until));
        // What was due while the calls were made, the plan has not seen.
        let until = until.filter(|until| *until > planned_at && plan.short > 0).or(plan.yields_until);
        let look_again = plan::look_again(&observed, planned_at).into_iter().chain(observed.scale.look_again);
        Ok(look_again.chain(until).chain(written_at).min())
    }

    async fn show(&self, key: &Key, obstacle: Option<Obstacle<'_>>) -> Result<(), Failure> {
        let object = self.context.watch.cache.read().pools.get(key).map(Arc::clone);
        let Some(object) = object else { return Ok(()) };
        if let Some(written) =
            stalled::show(&self.context.effects, &*object, obstacle, self.context.clock.now()).await?
        {
            self.context.watch.learn::<WarmPool>(written);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
