//! Sandbox: claims one pod and holds it until it is released, deleted or idle too long.
//!
//! Promises: first come, first served; one pod at most in a Sandbox's life and one Sandbox at most in a pod's; two writes an
//! allocation (the claim, the status); a lost workspace is said to be lost, never replaced by an empty one; nothing is given
//! up while a Task needs it.
//!
//! Woken by its own changes, its pod's, its Tasks', its pool's coming and going, and when a pod is there for it to claim.

mod confirm;
mod idle;
mod live;
mod measure;
mod observe;
mod plan;
mod setup;
mod setup_task;
mod status;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arl_crds::{
    Sandbox,
    reason::{EventReason, SandboxReason},
};
use jiff::Timestamp;

use crate::{
    cache::{ClaimRefusal, Row, SandboxRow, Wake, Watch},
    clock::Clock,
    controller::{Next, Reconcile},
    effects::{Claim, Claimed, Deleted, Effects, Event, Failure, Written},
    metrics::Metrics,
    object::{Key, Uid, Version},
    pod::Pod,
    runs::Runs,
    stalled::{self, Obstacle},
    traces,
};
use observe::Observed;
use plan::{Decision, Plan};

/// Pods that are tried one after the other where claims are refused, before others get their turn.
const CLAIMS: usize = 3;

/// Looks after Sandboxes.
pub struct Sandboxes {
    watch: Arc<Watch>,
    effects: Arc<Effects>,
    runs: Arc<Runs>,
    clock: Clock,
    /// How long a released Sandbox is kept that does not say so itself.
    released_ttl: Option<std::time::Duration>,
    metrics: Arc<Metrics>,
    /// When the caches were complete: what ended before is known only from what was recorded.
    watching_since: Timestamp,
    /// Sandboxes with a claim whose status is not known to be written. Empty after a restart, whose first list of pods shows such claims.
    claiming: Mutex<BTreeMap<Key, Uid>>,
}

impl Sandboxes {
    /// Reads what `watch` knows, which is complete since now; writes through `effects`; has the pods prepared for `runs`.
    pub fn new(
        watch: Arc<Watch>,
        effects: Arc<Effects>,
        runs: Arc<Runs>,
        clock: Clock,
        released_ttl: Option<std::time::Duration>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let watching_since = clock.now();
        Self { watch, effects, runs, clock, released_ttl, metrics, watching_since, claiming: Mutex::default() }
    }

    fn is_claiming(&self, observed: &Observed) -> bool {
        self.claiming().get(&observed.key()) == Some(&observed.uid())
    }

    fn claiming(&self) -> MutexGuard<'_, BTreeMap<Key, Uid>> {
        self.claiming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a pod, one after the other where they are refused, and decides on what came of that.
    /// None where somebody was faster, or the pod changed: its change wakes whoever is next, this Sandbox too.
    async fn claim(&self, observed: &mut Observed, mut plan: Plan) -> Result<Option<Plan>, Failure> {
        let mut refusal = None;
        for left in (0..CLAIMS).rev() {
            let Decision::Claim(claim) = &plan.decision else { break };
            if let Err(waits) = self.watch.cache.try_one(&observed.row.pool(), self.clock.now()) {
                observed.refusal = Some(waits);
                plan = plan::plan(observed, self.clock.now());
                break;
            }
            let claimed = self.claim_one(observed, &claim.clone()).await?;
            match claimed {
                Claimed::Done(pod) => observed.owned.push(Arc::new(pod.slim())),
                Claimed::Lost => {
                    observed.refusal = refusal;
                    return Ok(observed.refusal.is_some().then(Plan::refused));
                }
                Claimed::Refused(failure) => {
                    let message = failure.cause().to_string();
                    refusal = Some(ClaimRefusal { message, retry_at: self.clock.now() });
                    observed.look_again(&self.watch.cache, self.clock.now());
                    if left == 0 || observed.candidate.is_none() || observed.refusal.is_some() {
                        self.sit_out(&observed.row, &failure);
                        observed.look_again(&self.watch.cache, self.clock.now());
                    }
                }
                Claimed::HalfUndone(failure) => {
                    let (pool, message) = (observed.row.pool(), failure.cause().to_string());
                    self.watch.cache.write().refuse_pool(pool, message, self.clock.now());
                    observed.look_again(&self.watch.cache, self.clock.now());
                }
            }
            plan = plan::plan(observed, self.clock.now());
        }
        Ok(Some(plan))
    }

    async fn claim_one(&self, observed: &Observed, claim: &Claim) -> Result<Claimed, Failure> {
        let (namespace, pool) = (observed.key().namespace, observed.row.pool());
        let refused = |failure: &Failure| {
            self.measure(&pool, |metrics| {
                metrics.claims.with([&namespace, &pool.name, "refused"]).inc();
            });
            let message = failure.cause().to_string();
            let next = self.watch.cache.write().refuse_pod(&claim.pod, message, self.clock.now());
            self.wake_others(next, &observed.row);
        };
        self.claiming().insert(observed.key(), observed.uid());
        // Of one that failed it is not known whether it had an effect.
        let claimed = self.effects.claim(claim).await.inspect_err(|failure| {
            if failure.refusal().is_some() {
                refused(failure);
            }
        })?;
        match &claimed {
            Claimed::Done(pod) => {
                self.wake_others(self.watch.cache.claim_holds(&pool), &observed.row);
                self.watch.learn::<Pod>((**pod).clone());
            }
            Claimed::Lost => {
                self.measure(&pool, |metrics| {
                    metrics.claim_conflicts.with([&namespace, &pool.name]).inc();
                });
                self.claiming().remove(&observed.key());
            }
            Claimed::Refused(failure) | Claimed::HalfUndone(failure) => {
                refused(failure);
                self.claiming().remove(&observed.key());
            }
        }
        Ok(claimed)
    }

    /// Its claims are refused: others get their turn.
    fn sit_out(&self, row: &SandboxRow, failure: &Failure) {
        let (message, now) = (failure.cause().to_string(), self.clock.now());
        let next = self.watch.cache.write().refuse_sandbox(row, message, now);
        self.wake_others(next, row);
    }

    fn wake_others(&self, sandboxes: Vec<Key>, than: &SandboxRow) {
        let this = than.key();
        sandboxes.into_iter().filter(|key| *key != this).for_each(|key| (self.watch.wake)(Wake::Sandbox(key)));
    }

    fn observe(&self, key: &Key) -> Option<Observed> {
        let now = self.clock.now();
        let row = self.watch.cache.read().sandboxes.get(key).cloned()?;
        if self.watch.cache.read().may_resume(&row, now) {
            let next = self.watch.cache.write().resume(&row);
            self.wake_others(next, &row);
        }
        let mut observed = Observed::read(&self.watch.cache, key, (now, self.watching_since), self.released_ttl)?;
        observed.live = row.pod_uid().map(|pod| self.runs.live(key, &pod)).unwrap_or_default();
        Some(observed)
    }

    async fn write_status(&self, observed: &Observed, decision: &Decision) -> Result<bool, Failure> {
        let wanted = status::status(observed, decision, self.clock.now());
        if observed.sandbox().status.as_ref() == Some(&wanted) {
            return Ok(true);
        }
        let version = Version::of(observed.sandbox());
        let sandbox = match self.effects.write_status::<Sandbox>(&version, &wanted, observed.row.left_out).await? {
            Written::Done(sandbox) => sandbox,
            Written::Changed | Written::Gone => return Ok(false),
            Written::TooLarge(failure) => return Err(failure),
        };
        self.watch.learn::<SandboxRow>(sandbox);
        if observed.is_unallocated() && wanted.pod_uid.is_some() {
            let (trace, now) = (self.effects.traces().id(|| traces::of_sandbox(observed.sandbox())), self.clock.now());
            self.measure(&observed.row.pool(), |metrics| measure::claimed(metrics, observed, trace, now));
            let pod = wanted.pod_name.as_deref().unwrap_or_default();
            self.effects.traces().take(|| traces::claim(&observed.row, pod, self.clock.now()));
        }
        self.claiming().remove(&observed.key());
        for (reason, note) in status::events(observed.sandbox().status.as_ref(), &wanted) {
            self.effects.event(Event::about(observed.sandbox(), reason, note));
        }
        Ok(true)
    }

    /// Counts, while the pool is there: what is counted of it is forgotten with it.
    fn measure(&self, pool: &Key, count: impl FnOnce(&Metrics)) {
        let tables = self.watch.cache.read();
        if tables.pools.get(pool).is_some() {
            count(&self.metrics);
        }
    }

    async fn expire(&self, observed: &Observed) -> Result<(), Failure> {
        if !self.is_confirmed(observed).await? {
            return Ok(());
        }
        let is_released = observed.row.is_released();
        let note =
            if is_released { "without a pod for its ttl; deleted" } else { "idle for its ttl; deleted with its pod" };
        match self.effects.delete::<Sandbox>(&Version::of(observed.sandbox())).await? {
            Deleted::Done => self.effects.event(Event::about(observed.sandbox(), EventReason::Expired, note)),
            Deleted::Changed | Deleted::Gone => {}
        }
        Ok(())
    }

    async fn delete_pods(&self, pods: &[Version]) -> Result<(), Failure> {
        for pod in pods {
            // The watch event of one that changed reconciles it again.
            let _: Deleted = self.effects.delete_pod(pod).await?;
        }
        Ok(())
    }
}

impl Reconcile for Sandboxes {
    const KIND: &'static str = "Sandbox";
    const NAME: &'static str = "sandbox";

    async fn reconcile(&self, key: &Key) -> Next {
        let Some(mut observed) = self.observe(key) else {
            // One that is deleted while it claims has no status that would be written.
            self.claiming().remove(key);
            self.runs.forget_live(key);
            return Ok(None);
        };
        tracing::Span::current().record("uid", observed.uid().0.as_str());
        self.effects.traces().name_in_log(|| traces::of_sandbox(observed.sandbox()));
        self.confirm(&mut observed).await?;
        let plan = plan::plan(&observed, self.clock.now());
        let Some(plan) = self.claim(&mut observed, plan).await? else { return Ok(None) };
        let Some(plan) = self.make_setup(&mut observed, plan).await? else { return Ok(None) };
        let Plan { decision, surplus, look_again, asks } = plan;
        if let Some(target) = decision.held(&observed).and_then(Pod::target) {
            self.runs.prepare(key, &target, asks);
        } else if decision == Decision::Released {
            self.runs.forget_live(key);
        }
        match &decision {
            Decision::Expire => self.expire(&observed).await?,
            Decision::Release(_) if decision.needs_confirmation() && !self.is_confirmed(&observed).await? => {}
            _ => {
                if self.write_status(&observed, &decision).await? {
                    self.delete_pods(&surplus).await?;
                }
            }
        }
        Ok(look_again)
    }

    async fn show(&self, key: &Key, obstacle: Option<Obstacle<'_>>) -> Result<(), Failure> {
        let row = self.watch.cache.read().sandboxes.get(key).cloned();
        let Some(row) = row else { return Ok(()) };
        if let Some(Obstacle { failure, .. }) = obstacle.filter(|_| row.is_waiting())
            && failure.is_of("claim")
        {
            // Nobody is to wait behind it, and its condition has a reason for this.
            self.sit_out(&row, failure);
            let refused = Decision::Wait(SandboxReason::ClaimRefused);
            if let Some(observed) = self.observe(key)
                && self.write_status(&observed, &refused).await.is_ok()
            {
                return Ok(());
            }
        }
        if let Some(written) = stalled::show(&self.effects, &*row.sandbox, obstacle, self.clock.now()).await? {
            self.watch.learn::<SandboxRow>(written);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
