//! WarmPool: keeps `replicas` idle pods of the template.
//!
//! Promises: a claimed pod is replaced; after some pods the pool is looked at again, so that none is made that is no longer
//! asked for; pods never exceed replicas, plus one while a changed template rolls; a pod that was just claimed is never deleted;
//! a template that cannot work costs one pod or one refused create at a time, with growing pauses; the status says what is
//! wrong and what to do.
//!
//! Woken by its own changes and by those of its pods, see [`crate::triggers`].

mod inject;
mod manifest;
mod memory;
mod observe;
mod plan;
mod record;
mod setback;
mod status;
mod trouble;

use std::sync::Arc;

use crate::{
    cache::Watch,
    clock::Clock,
    controller::{Next, Reconcile},
    effects::{Effects, Event, Failure, Outcome},
    metrics::Metrics,
    object::{Key, Version},
    pod::Pod,
};
use arl_crds::{WarmPool, reason::EventReason};
pub use inject::AgentImage;
use kube::ResourceExt;
use memory::Memories;
use observe::Observed;
use setback::Setback;

/// Whether an idle pod has ended or is kept from starting.
pub fn is_failing(pod: &Pod) -> bool {
    pod.is_terminal() || trouble::of(pod).is_some()
}

/// Looks after WarmPools.
pub struct WarmPools {
    watch: Arc<Watch>,
    effects: Arc<Effects>,
    clock: Clock,
    agent: AgentImage,
    metrics: Arc<Metrics>,
    memories: Memories,
}

impl WarmPools {
    /// Reads what `watch` knows, writes through `effects`; pods get their agent from `agent`.
    pub fn new(
        watch: Arc<Watch>,
        effects: Arc<Effects>,
        clock: Clock,
        agent: AgentImage,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { watch, effects, clock, agent, metrics, memories: Memories::default() }
    }

    /// Does what the plan says and returns what stood in its way.
    async fn carry_out(&self, observed: &Observed, plan: &plan::Plan) -> Result<Option<Setback>, Failure> {
        let pool = &*observed.pool;
        for pod in &plan.delete {
            if let Outcome::Done(()) = self.effects.delete_pod(pod).await?
                && let Some(reason) = observed.why_replaced(&pod.uid)
            {
                self.metrics.pod_replacements.with([&pod.key.namespace, &pool.name_any(), reason]).inc();
            }
        }
        // One after the other: where a number is in sight, all lower ones are, and a stale view asks for names that exist.
        for number in &plan.create {
            if !observed.is_current(&self.watch.cache) {
                break;
            }
            if let Outcome::Refused(refusal) =
                self.effects.create_pod(&manifest::pod(pool, *number, &self.agent)).await?
            {
                return Ok(Some(Setback::refused(&refusal)));
            }
        }
        Ok(plan.ended.clone().map(Setback::ended))
    }
}

impl Reconcile for WarmPools {
    const KIND: &'static str = "WarmPool";
    const NAME: &'static str = "warmpool";

    async fn reconcile(&self, key: &Key) -> Next {
        let now = self.clock.now();
        let Some(mut observed) = Observed::read(&self.watch.cache, key, &self.memories, now) else {
            self.memories.forget(key);
            return Ok(None);
        };
        tracing::Span::current().record("uid", observed.uid().0.as_str());
        let plan = plan::plan(&observed, now);
        let setback = self.carry_out(&observed, &plan).await?;
        observed.setback = self.memories.of(key, &observed.uid(), |memory| memory.update(setback, plan.cleared, now));

        let wanted = status::status(&observed, now);
        if observed.pool.status.as_ref() != Some(&wanted) {
            let version = Version::of(&*observed.pool);
            if let Outcome::Done(pool) = self.effects.write_status::<WarmPool>(&version, &wanted).await? {
                self.watch.learn::<WarmPool>(pool);
                for (reason, note) in status::events(observed.pool.status.as_ref(), &wanted) {
                    self.effects.event(Event::about(&*observed.pool, reason, note));
                }
            }
        }
        if plan.rolling_begins {
            self.effects.event(Event::about(
                &*observed.pool,
                EventReason::TemplateChanged,
                "the template changed; idle pods are being replaced one by one",
            ));
        }
        let until = observed.setback.map(|s| s.until).max(Some(observed.late_until));
        Ok(until.filter(|until| *until > now && plan.short > 0))
    }
}
