//! What is known of a pool and its pods.

use std::sync::Arc;

use arl_crds::WarmPool;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{
    manifest,
    memory::{Asked, Memories},
    refill::Refill,
    setback::Setback,
};
use crate::{
    cache::{Cache, PodIndex},
    object::{Key, Uid},
    pod::Pod,
};

/// All of it from caches: pods may be missing that exist, and be there that are gone. Names make creation safe, versions
/// make deletion safe.
pub(super) struct Observed {
    pub(super) pool: Arc<WarmPool>,
    /// The fingerprint of its template.
    pub(super) template: String,
    pub(super) idle: Vec<Arc<Pod>>,
    pub(super) allocated: usize,
    /// The highest number of any pod that is or was in sight, or whose name is taken. What was counts as well, or the view in which the last pod has
    /// gone and its successors are still missing would ask for numbers below theirs.
    pub(super) last_number: i64,
    /// Until then, pods that another operator saw may be missing.
    pub(super) late_until: Timestamp,
    pub(super) setback: Option<Setback>,
    /// The late pod whose Events were looked at last.
    pub(super) asked: Option<Asked>,
    /// What the API server warned of when this process last created a pod, if it has.
    pub(super) warnings: Option<Vec<String>>,
    pub(super) refill: Refill,
}

impl Observed {
    /// Nothing where the pool is gone or going: its idle pods are the garbage collector's.
    pub(super) fn read(cache: &Cache, key: &Key, memories: &Memories, now: Timestamp) -> Option<Self> {
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
        let allocated: Vec<&Arc<Pod>> = of_state(PodIndex::Allocated(key.clone())).collect();
        let pods = idle.iter().chain(allocated.iter().copied()).map(|pod| &pod.metadata);
        let in_sight = manifest::last_number(pool, pods).unwrap_or(0);
        let recorded = pool.status.as_ref().and_then(|s| s.last_pod_number).unwrap_or(0);
        let recorded = recorded.clamp(0, manifest::NUMBER_MAX);
        let (late_until, taken, setback, asked, put_off_since) = memories.of(key, &uid, |memory| {
            let late_until = memory.record.late_until(recorded, in_sight.max(memory.taken), now);
            (late_until, memory.taken, memory.setback.clone(), memory.asked.clone(), memory.put_off_since)
        });
        Some(Self {
            last_number: in_sight.max(recorded).max(taken),
            late_until,
            allocated: allocated.iter().filter(|pod| pod.is_alive()).count(),
            idle,
            setback,
            asked,
            warnings: None,
            refill: Refill { last_claim: tables.last_claim.get(key).copied(), put_off_since },
            template: tables.template(key).unwrap_or_default().to_owned(),
            pool: Arc::clone(pool),
        })
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

    pub(super) fn replicas(&self) -> usize {
        usize::try_from(self.pool.spec.replicas).unwrap_or(0)
    }

    /// Why an idle pod that is deleted is to be replaced; nothing where it is just one too many.
    pub(super) fn why_replaced(&self, uid: &Uid) -> Option<&'static str> {
        let pod = self.idle.iter().find(|pod| Uid::of(&***pod) == *uid)?;
        match () {
            () if pod.is_terminal() => Some("ended"),
            () if pod.template_hash() != Some(&self.template) => Some("outdated"),
            () => None,
        }
    }

    /// The idle pods that are, or will be, of use.
    pub(super) fn alive(&self) -> impl Iterator<Item = &Pod> {
        self.idle.iter().map(AsRef::as_ref).filter(|pod| pod.is_alive())
    }
    /// What the Events of a pod say, if they were looked at.
    pub(super) fn said_of(&self, pod: &Pod) -> Option<&str> {
        self.asked.as_ref().filter(|asked| asked.pod == Uid::of(pod))?.said.as_deref()
    }
}
