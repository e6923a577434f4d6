//! WarmPool: keeps `replicas` idle pods of the template, or as many as are asked for where it has `scaling`.
//!
//! Promises: a claimed pod is replaced, at once or after a burst of claims; after some pods the pool is looked at again, so that
//! none is made that is no longer asked for; pods never exceed what is wanted, plus one while a changed template rolls, nor `scaling.maxPods`; a pod that was
//! just claimed is never deleted; a template that cannot work costs one pod or one refused create at a time, with growing pauses;
//! the status says what is wrong and what to do.
//!
//! Woken by its own changes and by those of its pods, see [`crate::triggers`].

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

use std::{pin::pin, sync::Arc, time::Duration};

use crate::{
    cache::{Watch, abridged_fingerprint},
    clock::Clock,
    controller::{Next, Reconcile},
    effects::{Created, Deleted, Effects, Event, Failure, Haste, PodEvent, Warning, Written},
    metrics::Metrics,
    object::{Key, Uid, Version},
    pod::{Pod, Target},
    runs::Runs,
    stalled::{self, Obstacle},
};
use arl_crds::{WarmPool, WarmPoolStatus, reason::EventReason};
use futures::future::join;
pub use inject::AgentImage;
use jiff::Timestamp;
use memory::{Asked, Memories, Memory};
use observe::Observed;
use scaling::Limit;
use setback::Setback;
use tokio::time::{Instant, timeout};

/// After so long, a pool is looked at again before more of its pods are created or deleted: calls may be slow.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// After so long, what is known of a pool is on record though a call has not been answered: a webhook may take long.
const UNANSWERED: Duration = Duration::from_secs(5);

/// Whether an idle pod has ended or is kept from starting; those of its pool were seen to take `start` to be ready.
pub fn is_failing(pod: &Pod, start: Duration, now: Timestamp) -> bool {
    pod.is_terminal() || problem::of(pod, None, start, now).is_some()
}

/// Looks after WarmPools.
pub struct WarmPools {
    watch: Arc<Watch>,
    effects: Arc<Effects>,
    clock: Clock,
    agent: AgentImage,
    runs: Arc<Runs>,
    metrics: Arc<Metrics>,
    memories: Memories,
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
        Self { watch, effects, clock, agent, runs, metrics, memories: Memories::default() }
    }

    /// Does what the plan says. Where that takes long, what is known is on record before it is done, and is what the pool says from then on.
    async fn carry_out_visibly(&self, observed: &mut Observed, plan: &plan::Plan) -> Progress {
        let progress = {
            let mut carried = pin!(self.carry_out(observed, plan));
            match timeout(UNANSWERED, &mut carried).await {
                Ok(progress) => return progress,
                Err(_) => join(carried, self.record_unanswered(observed)).await.0,
            }
        };
        if observed.is_current(&self.watch.cache)
            && let Some(pool) = self.watch.cache.read().pools.get(&Key::of(&*observed.pool))
        {
            observed.pool = Arc::clone(pool);
        }
        progress
    }

    /// Writes the status as it is before a call that takes long has ended. Where that fails, it is written after the call.
    async fn record_unanswered(&self, observed: &Observed) {
        let now = self.clock.now();
        let seen = Observed::read(&self.watch.cache, &Key::of(&*observed.pool), &self.memories, now);
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
    async fn carry_out(&self, observed: &Observed, plan: &plan::Plan) -> Progress {
        let deleted = self.delete_pods(observed, &plan.delete).await;
        match self.create_pods(observed, plan).await {
            Ok(created) => Progress { setback: plan.ended.clone(), created, failure: deleted.err() },
            Err(failure) => {
                let setback = Some(Setback::of(&failure, observed.pool.spec.executor.mode));
                // A refusal has its pause and its condition; it is not the API that fails.
                let failure = deleted.err().or(Some(failure).filter(|f| !f.is_refusal()));
                Progress { setback, created: false, failure }
            }
        }
    }

    /// Once for each pod, and again where it was not ready meanwhile: a stream that breaks is opened again by itself, and one that
    /// is given up, since the pod is of no use or gone, is not tried at each of the pool's changes; one without room is.
    fn connect(&self, observed: &Observed, pods: Vec<Target>) {
        self.remember(observed, |memory| memory.connect(pods, |target| self.runs.connect(target)));
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
    async fn create_pods(&self, observed: &Observed, plan: &plan::Plan) -> Result<bool, Failure> {
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

    fn remember<T>(&self, observed: &Observed, with: impl FnOnce(&mut Memory) -> T) -> T {
        self.memories.of(&Key::of(&*observed.pool), &observed.uid(), with)
    }

    /// Looks at the Events of a pod that is late or crashes. They only explain: where they cannot be had, the pod's status is all there is.
    async fn ask(&self, observed: &mut Observed, pod: Option<&Version>) {
        let Some(pod) = pod else { return };
        let warning = match self.effects.warning_about(pod).await {
            Ok(warning) => warning,
            Err(failure) if failure.is_refusal() => Warning::Found(Some(PodEvent::unreadable())),
            Err(failure) => {
                tracing::debug!(%failure, "the pod's Events cannot be read");
                Warning::Unknown
            }
        };
        // The look may have taken long.
        let asked = Asked::after(observed.asked.as_ref(), pod.uid.clone(), warning, self.clock.now());
        observed.asked = Some(asked.clone());
        self.remember(observed, |memory| memory.asked = Some(asked));
    }

    /// Says when it is written, where it waits, which it may if the pool is looked at again then.
    async fn write_status(&self, observed: &Observed, returns: bool, now: Timestamp) -> Next {
        let (wanted, recorded) = (status::status(observed, now), observed.pool.status.as_ref());
        if recorded == Some(&wanted) {
            self.remember(observed, Memory::recorded);
            return Ok(None);
        }
        let may_wait = returns && status::may_wait(recorded, &wanted);
        if let Some(until) = self.remember(observed, |memory| memory.put_off_status(may_wait, now)) {
            return Ok(Some(until));
        }
        self.record(Haste::Unhurried, observed, &wanted).await?;
        Ok(None)
    }

    async fn record(&self, haste: Haste, observed: &Observed, wanted: &WarmPoolStatus) -> Result<(), Failure> {
        match self.effects.write_status_in::<WarmPool>(haste, &Version::of(&*observed.pool), wanted, 0).await? {
            Written::Done(pool) => {
                self.watch.learn::<WarmPool>(pool);
                self.remember(observed, Memory::recorded);
                for (reason, note) in status::events(observed.pool.status.as_ref(), wanted) {
                    self.effects.event(Event::about(&*observed.pool, reason, note));
                }
            }
            Written::Changed => {}
            Written::Gone => self.remember(observed, |memory| memory.is_gone = true),
            Written::TooLarge(failure) => return Err(failure),
        }
        Ok(())
    }
}

/// How far the API let a plan be carried out.
struct Progress {
    /// What stood in the way of pods, to be shown and waited for.
    setback: Option<Setback>,
    /// Whether a pod was created.
    created: bool,
    /// A call that is to be tried again.
    failure: Option<Failure>,
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
        if observed.is_gone {
            return Ok(None);
        }
        let mut plan = plan::plan(&observed, now);
        self.connect(&observed, std::mem::take(&mut plan.connect));
        let Progress { setback, created, failure } = self.carry_out_visibly(&mut observed, &plan).await;
        let is_over = plan.over.is_so(created);
        let is_taken = self.memories.of(key, &observed.uid(), |memory| {
            memory.level = observed.is_elastic().then_some(observed.scale.level);
            memory.put_off_since = observed.refill.put_off(plan.yields_until.is_some(), plan.short, now);
            memory.admitted(created);
            // A call may have taken long, and what it says holds from now on.
            observed.setback = memory.update(setback, is_over, self.clock.now());
            memory.ended = observed.ended().chain(observed.disrupted()).map(Uid::of).collect();
            observed.warnings.clone_from(&memory.warnings);
            memory.taken > observed.last_number
        });
        self.ask(&mut observed, plan.ask.as_ref()).await;
        // The counts are true whatever else fails.
        let written_at = self.write_status(&observed, failure.is_none(), now).await?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        if plan.rolling_begins {
            self.effects.event(Event::about(
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
        let until = until.filter(|until| *until > now && plan.short > 0).or(plan.yields_until);
        let look_again = plan::look_again(&observed, now).into_iter().chain(observed.scale.look_again);
        Ok(look_again.chain(until).chain(written_at).min())
    }

    async fn show(&self, key: &Key, obstacle: Option<Obstacle<'_>>) -> Result<(), Failure> {
        let object = self.watch.cache.read().pools.get(key).map(Arc::clone);
        let Some(object) = object else { return Ok(()) };
        if let Some(written) = stalled::show(&self.effects, &*object, obstacle, self.clock.now()).await? {
            self.watch.learn::<WarmPool>(written);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
