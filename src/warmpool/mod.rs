//! WarmPool: keeps `replicas` idle pods of the template.
//!
//! Promises: a claimed pod is replaced at once; pods never exceed replicas, plus one while a changed template rolls; a pod
//! that was just claimed is never deleted; a template that cannot work costs one pod or one refused create at a time, with
//! growing pauses; the status says what is wrong and what to do.
//!
//! Woken by its own changes and by those of its pods, see [`crate::triggers`].

mod manifest;
mod observe;
mod plan;
mod setback;
mod status;
mod trouble;

use std::sync::Arc;

use arl_crds::{WarmPool, reason::EventReason};
use futures::{StreamExt, stream};

use crate::{
    cache::Cache,
    clock::Clock,
    controller::{Next, Reconcile},
    effects::{Effects, Event, Failure, Outcome},
    object::{Key, Version},
};
use observe::Observed;
use setback::{Setback, Setbacks};

/// Creates and deletes of one pool in flight at once.
const AT_ONCE: usize = 8;

/// Looks after WarmPools.
pub struct WarmPools {
    cache: Arc<Cache>,
    effects: Arc<Effects>,
    clock: Clock,
    setbacks: Setbacks,
}

impl WarmPools {
    /// Reads `cache`, writes through `effects`.
    pub fn new(cache: Arc<Cache>, effects: Arc<Effects>, clock: Clock) -> Self {
        Self { cache, effects, clock, setbacks: Setbacks::default() }
    }

    /// Does what the plan says and returns what stood in its way.
    async fn carry_out(&self, pool: &WarmPool, plan: &plan::Plan) -> Result<Option<Setback>, Failure> {
        let deletes = plan.delete.iter().cloned().map(|pod| async move { self.effects.delete_pod(&pod).await });
        for outcome in at_once(deletes).await {
            outcome?;
        }
        let pods = plan.create.iter().map(|number| manifest::pod(pool, *number)).collect::<Vec<_>>();
        let pending = pods.into_iter().map(|pod| async move { self.effects.create_pod(&pod).await });
        let created = at_once(pending).await;
        let mut refused = None;
        for outcome in created {
            if let Outcome::Refused(refusal) = outcome? {
                refused = Some(Setback::refused(&refusal));
            }
        }
        Ok(refused.or_else(|| plan.ended.clone().map(Setback::ended)))
    }
}

/// All results, with a bounded number of calls in flight.
async fn at_once<T>(calls: impl Iterator<Item: Future<Output = T>>) -> Vec<T> {
    stream::iter(calls).buffer_unordered(AT_ONCE).collect().await
}

impl Reconcile for WarmPools {
    const KIND: &'static str = "WarmPool";

    async fn reconcile(&self, key: &Key) -> Next {
        let Some(mut observed) = Observed::read(&self.cache, key, &self.setbacks) else {
            return Ok(None);
        };
        tracing::Span::current().record("uid", observed.uid().0.as_str());
        let now = self.clock.now();
        let plan = plan::plan(&observed, now);
        let setback = self.carry_out(&observed.pool, &plan).await?;
        observed.setback = self.setbacks.update(&observed.uid(), setback, plan.cleared, now);

        let wanted = status::status(&observed, &plan, now);
        if observed.pool.status.as_ref() != Some(&wanted) {
            let version = Version::of(&*observed.pool);
            if let Outcome::Done(_) = self.effects.write_status::<WarmPool>(&version, &wanted).await? {
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
        Ok(observed.setback.map(|s| s.until).filter(|until| *until > now && plan.short > 0))
    }
}
