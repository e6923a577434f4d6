//! What is known of a pool and its pods.

use std::{collections::BTreeSet, sync::Arc};

use arl_crds::{WarmPool, reason::WarmPoolReason};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{
    inject::AgentImage,
    manifest,
    memory::{Asked, Memories},
    problem,
    refill::Refill,
    scaling::{self, Bounds, Demand, Level, Scale},
    setback::Setback,
};
use crate::{
    cache::{Cache, PodIndex, PoolDemand},
    effects::PodEvent,
    object::{Key, Uid},
    pod::Pod,
};

/// All of it from caches: pods may be missing that exist, and be there that are gone. Names make creation safe, versions
/// make deletion safe.
pub(super) struct Observed {
    pub(super) pool: Arc<WarmPool>,
    /// The fingerprint of its template.
    pub(super) template: String,
    /// What its next pods get their agent from.
    pub(super) agent: AgentImage,
    pub(super) idle: Vec<Arc<Pod>>,
    /// Pods that the pool controls and that somebody labelled so that they are not among its idle ones. No claim does that: it changes the owner too.
    pub(super) strays: Vec<Arc<Pod>>,
    pub(super) allocated: usize,
    /// The highest number of any pod that is or was in sight, or whose name is taken. What was counts as well, or the view in which the last pod has
    /// gone and its successors are still missing would ask for numbers below theirs.
    pub(super) last_number: i64,
    /// Until then, pods that another operator saw may be missing.
    pub(super) late_until: Timestamp,
    /// Whether the API server said that the pool is gone.
    pub(super) is_gone: bool,
    pub(super) setback: Option<Setback>,
    /// The pods that had ended, or were disrupted or relabelled, at the look before.
    pub(super) known_ended: BTreeSet<Uid>,
    /// The late pod whose Events were looked at last.
    pub(super) asked: Option<Asked>,
    /// What the API server warned of when this process last created a pod, if it has.
    pub(super) warnings: Option<Vec<String>>,
    /// Whether the API server takes long to answer what is asked for the pool just now.
    pub(super) is_unanswered: bool,
    pub(super) refill: Refill,
    /// What is asked of it, where it follows that.
    pub(super) demand: Demand,
    /// The idle pods that it should have.
    pub(super) scale: Scale,
}

impl Observed {
    /// Nothing where the pool is gone or going: its idle pods are the garbage collector's.
    pub(super) fn read(
        cache: &Cache,
        key: &Key,
        memories: &Memories,
        agent: &AgentImage,
        now: Timestamp,
    ) -> Option<Self> {
        let tables = cache.read();
        let pool = tables.pools.get(key).filter(|pool| pool.metadata.deletion_timestamp.is_none())?;
        let uid = Uid::of(&**pool);
        let of_state = |index: PodIndex| tables.pods.under(&index);
        // A pool of the same name may have been deleted a moment ago, with its pods still in sight: an idle pod counts
        // only if this very pool controls it.
        let idle: Vec<Arc<Pod>> = of_state(PodIndex::Idle(key.clone()))
            .filter(|pod| pod.controller().as_ref() == Some(&uid))
            .cloned()
            .collect();
        let controlled = PodIndex::controlled_by(&**pool);
        let has_others = tables.pods.count(&controlled) > idle.len();
        let is_other = |pod: &Pod| !(pod.is_idle() && pod.pool().as_ref() == Some(key));
        // What a Sandbox may have to do with is not the pool's to delete.
        let is_stray =
            |pod: &Pod| is_other(pod) && !pod.is_deleting() && pod.sandbox().is_none() && !tables.is_on_record(pod);
        let others = has_others.then(|| of_state(controlled)).into_iter().flatten();
        let strays = others.filter(|pod| is_stray(pod)).cloned().collect();
        // A name is taken whoever controls its pod.
        let pods = [PodIndex::Idle(key.clone()), PodIndex::Allocated(key.clone())].map(of_state);
        let pods = pods.into_iter().flatten().map(|pod| &pod.metadata);
        let in_sight = manifest::last_number(pool, pods).unwrap_or(0);
        let recorded = pool.status.as_ref().and_then(|s| s.last_pod_number);
        let recorded = recorded.filter(|number| (0..manifest::NUMBER_MAX).contains(number)).unwrap_or(0);
        let asked_of_it = tables.demand.get(key);
        let demand = Demand {
            waiting: tables.without_pod(key),
            would_claim: tables.would_claim(key),
            claimed_lately: asked_of_it.map_or(0, |demand| demand.claimed_lately(now)),
            start: asked_of_it.map(PoolDemand::start).unwrap_or_default(),
            hit_rate: asked_of_it.and_then(PoolDemand::hit_rate),
        };
        let (level, mut observed) = memories.of(key, &uid, |memory| {
            memory.look(now);
            let late_until = memory.record.late_until(recorded, in_sight.max(memory.taken), now);
            let observed = Self {
                last_number: memory.record.number(),
                late_until,
                is_gone: memory.is_gone,
                allocated: tables.held(key),
                idle,
                strays,
                setback: memory.setback.clone(),
                known_ended: memory.ended.clone(),
                asked: memory.asked.clone(),
                warnings: None,
                is_unanswered: false,
                refill: Refill {
                    last_claim: asked_of_it.and_then(|demand| demand.last_claim),
                    put_off_since: memory.put_off_since,
                },
                demand,
                scale: Scale::fixed(replicas(pool)),
                template: tables.template(key).unwrap_or_default().to_owned(),
                agent: agent.clone(),
                pool: Arc::clone(pool),
            };
            (memory.level, observed)
        });
        observed.scale = observed.scaled(level, now);
        Some(observed)
    }

    /// The idle pods that it should have, where it was at this level.
    fn scaled(&self, level: Option<Level>, now: Timestamp) -> Scale {
        let least = replicas(&self.pool);
        let Some(scaling) = &self.pool.spec.scaling else { return Scale::fixed(least) };
        let bounds = Bounds::of(least, scaling, self.allocated);
        let recorded = || {
            let wanted = self.pool.status.as_ref().and_then(|status| usize::try_from(status.wanted?).ok());
            Level::recorded(wanted.unwrap_or(least), &bounds, now)
        };
        let is_held = self.setback.as_ref().is_some_and(Setback::slows) || self.none_will_start(now);
        scaling::scale(&bounds, &self.demand, level.unwrap_or_else(recorded), is_held, now)
    }

    /// Whether more pods would be of no more use than those there are, of which none is ready and none is on its way.
    fn none_will_start(&self, now: Timestamp) -> bool {
        let fails = |pod: &Pod| {
            let problem = problem::of(pod, self.said_of(pod), self.demand.start, now);
            problem.is_some_and(|problem| problem.reason != WarmPoolReason::PodsLate)
        };
        let mut alive = self.alive().peekable();
        alive.peek().is_some() && alive.all(|pod| !pod.is_ready() && fails(pod))
    }

    /// Whether the pool is still what was observed: asked before each of several creates, which take a while together.
    pub(super) fn is_current(&self, cache: &Cache) -> bool {
        let tables = cache.read();
        let asked = |pool: &WarmPool| {
            let ObjectMeta { uid, generation, deletion_timestamp, .. } = &pool.metadata;
            (uid.clone(), *generation, deletion_timestamp.is_some())
        };
        tables.pools.get(&Key::of(&*self.pool)).is_some_and(|pool| asked(pool) == asked(&self.pool))
    }

    pub(super) fn uid(&self) -> Uid {
        Uid::of(&*self.pool)
    }

    /// The idle pods that it should have.
    pub(super) fn wanted(&self) -> usize {
        self.scale.wanted
    }

    /// Whether the number of its idle pods follows what is asked for.
    pub(super) fn is_elastic(&self) -> bool {
        self.pool.spec.scaling.is_some()
    }

    /// Why an idle pod that is deleted is to be replaced; nothing where it is just one too many.
    pub(super) fn why_replaced(&self, uid: &Uid) -> Option<&'static str> {
        let is_it = |pod: &&Arc<Pod>| Uid::of(&***pod) == *uid;
        if self.strays.iter().any(|pod| is_it(&pod)) {
            return Some("relabelled");
        }
        let pod = self.idle.iter().find(is_it)?;
        match () {
            () if pod.is_terminal() => Some("ended"),
            () if self.is_outdated(pod) => Some("outdated"),
            () => None,
        }
    }

    /// Whether a pod was made from an earlier template.
    pub(super) fn is_of_earlier_template(&self, pod: &Pod) -> bool {
        pod.template_hash() != Some(&self.template)
    }

    /// Whether another pod is to take the place of this one, which was made otherwise than it would be now. That its agent is of another image counts
    /// only where it cannot be had of that: an upgrade of the operator is no reason to replace pods that are well. By what the pod was asked for
    /// with, since admission may change where images come from.
    pub(super) fn is_outdated(&self, pod: &Pod) -> bool {
        // One that does not say which it is was made by an earlier operator.
        let is_of_another_agent = || pod.agent_image() != Some(self.agent.fingerprint().as_str());
        self.is_of_earlier_template(pod) || problem::lacks_agent(pod) && !pod.is_ready() && is_of_another_agent()
    }

    /// The idle pods that have ended and are not being deleted yet.
    pub(super) fn ended(&self) -> impl Iterator<Item = &Pod> {
        self.idle.iter().map(AsRef::as_ref).filter(|pod| pod.is_terminal() && !pod.is_deleting())
    }

    /// The idle pods that somebody else deletes, as a drain does. They are there until their containers have ended.
    pub(super) fn disrupted(&self) -> impl Iterator<Item = &Pod> {
        self.idle.iter().map(AsRef::as_ref).filter(|pod| pod.is_disrupted())
    }

    /// The pods that are, or soon will be, none of its idle ones, without a claim.
    pub(super) fn lost(&self) -> impl Iterator<Item = &Pod> {
        self.ended().chain(self.disrupted()).chain(self.strays.iter().map(AsRef::as_ref))
    }

    /// How many pods that have ended are still there though they were to be deleted, where there are too many for more to be made
    /// in their place.
    pub(super) fn clogged(&self) -> Option<usize> {
        let left = self.ended().filter(|pod| self.known_ended.contains(&Uid::of(*pod))).count();
        (left > self.wanted()).then_some(left)
    }

    /// The idle pods that are, or will be, of use.
    pub(super) fn alive(&self) -> impl Iterator<Item = &Pod> {
        self.idle.iter().map(AsRef::as_ref).filter(|pod| pod.is_alive())
    }
    /// What the Events of a pod say, if they were looked at.
    pub(super) fn said_of(&self, pod: &Pod) -> Option<&PodEvent> {
        self.asked.as_ref().filter(|asked| asked.pod == Uid::of(pod))?.said.as_ref()
    }
}

fn replicas(pool: &WarmPool) -> usize {
    usize::try_from(pool.spec.replicas).unwrap_or(0)
}
