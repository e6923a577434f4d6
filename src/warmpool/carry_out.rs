//! Doing what a plan says: pods are deleted and created, as far as the API lets it.

use std::{pin::pin, sync::Arc, time::Duration};

use arl_crds::WarmPool;
use futures::future::join;
use tokio::time::{Instant, timeout};

use super::{context::Context, manifest, observe::Observed, plan::Plan, setback::Setback, status};
use crate::{
    cache::abridged_fingerprint,
    effects::{Created, Deleted, Failure, Haste},
    object::{Key, Uid, Version},
    pod::Pod,
};

/// After so long, a pool is looked at again before more of its pods are created or deleted: calls may be slow.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// After so long, what is known of a pool is on record though a call has not been answered: a webhook may take long.
const UNANSWERED: Duration = Duration::from_secs(5);

/// How far the API let a plan be carried out.
pub(super) struct Progress {
    /// What stood in the way of pods, to be shown and waited for.
    pub(super) setback: Option<Setback>,
    /// Whether a pod was created.
    pub(super) created: bool,
    /// A call that is to be tried again.
    pub(super) failure: Option<Failure>,
    /// Whether it took so long that what was observed before may be old.
    pub(super) was_slow: bool,
}

impl Context {
    /// Does what the plan says. Where that takes long, what is known is on record before it is done.
    pub(super) async fn carry_out_visibly(&self, observed: &Observed, plan: &Plan) -> Progress {
        let mut carried = pin!(self.carry_out(observed, plan));
        if let Ok(progress) = timeout(UNANSWERED, &mut carried).await {
            return progress;
        }
        let (progress, ()) = join(carried, Box::pin(self.record_unanswered(observed))).await;
        Progress { was_slow: true, ..progress }
    }

    /// Writes the status as it is before a call that takes long has ended. It is written after the call too.
    async fn record_unanswered(&self, observed: &Observed) {
        let now = self.clock.now();
        let seen = self.observe(&Key::of(&*observed.pool), now);
        let Some(mut seen) = seen.filter(|seen| seen.uid() == observed.uid()) else { return };
        seen.is_unanswered = true;
        let wanted = status::status(&seen, now);
        // Those calls that nobody waits for may all take long.
        if seen.pool.status.as_ref() != Some(&wanted)
            && let Err(failure) = self.record(Haste::Awaited, &seen, &wanted).await
        {
            tracing::warn!(%failure, "what is known of the pool is not on record while a call takes long");
        }
    }

    /// Does what the plan says, as far as the API lets it.
    async fn carry_out(&self, observed: &Observed, plan: &Plan) -> Progress {
        let deleted = self.delete_pods(observed, &plan.delete).await;
        match self.create_pods(observed, plan).await {
            Ok(created) => Progress { setback: plan.ended.clone(), created, failure: deleted.err(), was_slow: false },
            Err(failure) => {
                let setback = Some(Setback::of(&failure, observed.pool.spec.executor.mode));
                // A refusal has its pause and its condition; it is not the API that fails.
                let failure = deleted.err().or(Some(failure).filter(|f| !f.is_refusal()));
                Progress { setback, created: false, failure, was_slow: false }
            }
        }
    }

    async fn delete_pods(&self, observed: &Observed, pods: &[Version]) -> Result<(), Failure> {
        let pool = Key::of(&*observed.pool);
        let mut failed = Ok(());
        let until = Instant::now() + LOOK_AGAIN;
        let mut deleted = false;
        for pod in pods {
            // There is a watch event of each deletion.
            if deleted && Instant::now() >= until {
                break;
            }
            match (self.effects.delete_pod(pod).await, observed.why_replaced(&pod.uid)) {
                (Ok(Deleted::Done), reason) => {
                    deleted = true;
                    let tables = self.watch.cache.read();
                    // What is counted of a pool is forgotten with it.
                    if let Some(reason) = reason.filter(|_| tables.pools.get(&pool).is_some()) {
                        self.metrics.pod_replacements.with([&pool.namespace, &pool.name, reason]).inc();
                    }
                }
                // The watch event of what changed or is gone reconciles it again.
                (Ok(Deleted::Changed | Deleted::Gone), _) => {}
                // Others may be deleted all the same.
                (Err(failure), _) if failure.is_refusal() => failed = failed.and(Err(failure)),
                (Err(failure), _) => return Err(failure),
            }
        }
        failed
    }

    /// One after the other: where a number is in sight, all lower ones are, and a stale view asks for names that exist. Says
    /// whether any was created.
    async fn create_pods(&self, observed: &Observed, plan: &Plan) -> Result<bool, Failure> {
        let mut created = false;
        if plan.create.is_empty() {
            return Ok(created);
        }
        // Where it has changed meanwhile, its watch event reconciles it again.
        let Some(pool) = self.with_template(observed).await? else { return Ok(created) };
        let until = Instant::now() + LOOK_AGAIN;
        for (made, number) in plan.create.iter().enumerate() {
            // There is a watch event of each creation.
            if Instant::now() >= until || !observed.is_current(&self.watch.cache) {
                break;
            }
            let pod = manifest::pod(&pool, *number, &self.agent);
            let haste = if made < plan.awaited { Haste::Awaited } else { Haste::Unhurried };
            match self.effects.create_pod(&pod, haste).await? {
                Created::Done { mut warnings } => {
                    created = true;
                    warnings.extend(manifest::unused(&pool));
                    self.remember(observed, |memory| memory.warnings = Some(warnings));
                }
                Created::Exists(found) => self.note_taken(observed, &found, *number),
            }
        }
        Ok(created)
    }

    /// The name is taken. Of a pod of the pool's there will be a watch event; of one that is not, or whose number is above `NUMBER_MAX` since
    /// somebody forged it, there will be none, and the number is passed over.
    fn note_taken(&self, observed: &Observed, pod: &Pod, number: i64) {
        let pool = Key::of(&*observed.pool);
        if pod.pool().as_ref() != Some(&pool) || number > manifest::NUMBER_MAX {
            tracing::warn!(pod = %Key::of(pod), "there is a pod of this name that is not the pool's, or has too high a number; the pool goes on with the next");
            self.remember(observed, |memory| memory.taken = memory.taken.max(number));
        }
    }

    /// The pool with its template, of which the cache may not have all.
    async fn with_template(&self, observed: &Observed) -> Result<Option<Arc<WarmPool>>, Failure> {
        if abridged_fingerprint(&observed.pool).is_none() {
            return Ok(Some(Arc::clone(&observed.pool)));
        }
        let pool = self.effects.read::<WarmPool>(&Key::of(&*observed.pool)).await?;
        Ok(pool
            .filter(|pool| Uid::of(pool) == observed.uid() && pool.spec.fingerprint() == observed.template)
            .map(Arc::new))
    }
}
