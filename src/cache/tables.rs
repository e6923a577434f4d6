//! The tables: one a kind, and what is known beside them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use arl_crds::WarmPool;
use jiff::Timestamp;

use super::{
    abridge::abridged_fingerprint,
    demand::PoolDemand,
    outages::Outages,
    pairing::{Pairing, Rank},
    pods::PodIndex,
    refused::{ClaimRefusal, Refusals},
    rows::{SandboxId, SandboxIndex, SandboxRow, TaskIndex, TaskRow},
    table::{Row, Table},
};
use crate::{
    arrival::Arrival,
    object::{Key, Uid, Version},
    pod::Pod,
};

/// The tables, one a kind.
#[derive(Debug, Default)]
pub struct Tables {
    /// Pools.
    pub pools: Table<WarmPool>,
    /// Sandboxes.
    pub sandboxes: Table<SandboxRow>,
    /// Tasks.
    pub tasks: Table<TaskRow>,
    /// The pods of all pools, idle and allocated.
    pub pods: Table<Pod>,
    /// When the last Task of a Sandbox was seen to end; outlives the Task, ends with the Sandbox.
    pub last_finished: BTreeMap<SandboxId, Timestamp>,
    /// Nodes that take no new pods, where nodes may be watched.
    closed_nodes: BTreeSet<String>,
    /// What was asked of each pool lately; ends with the pool.
    pub demand: BTreeMap<Key, PoolDemand>,
    templates: BTreeMap<Key, Template>,
    pairing: Pairing,
    refused: Refusals,
}

/// What pods of a pool are compared with: computed once, since templates are large.
#[derive(Debug)]
struct Template {
    uid: Uid,
    generation: Option<i64>,
    fingerprint: String,
}

impl Tables {
    /// Whether there are objects of ours in a namespace.
    pub fn has_any_in(&self, namespace: &str) -> bool {
        self.pools.has_any_in(namespace) || self.sandboxes.has_any_in(namespace) || self.tasks.has_any_in(namespace)
    }

    /// The Sandboxes that have no pod of `pool` on record, first come first.
    pub fn waiting(&self, pool: &Key) -> impl Iterator<Item = &SandboxRow> {
        self.sandboxes.under(&SandboxIndex::Waiting(pool.clone())).map(AsRef::as_ref)
    }

    /// How many Sandboxes have no pod of `pool`: those that would take one, and those that sit out. One whose claim is seen has one, though that
    /// is not on record yet.
    pub fn without_pod(&self, pool: &Key) -> usize {
        self.would_claim(pool) + self.sitting_out(pool).count()
    }

    fn sitting_out<'a>(&'a self, pool: &'a Key) -> impl Iterator<Item = (&'a Key, &'a Uid)> {
        self.refused.sitting_out(pool).filter(move |(key, uid)| {
            self.sandboxes.get(key).is_some_and(|row| row.is_waiting() && Uid::of(&*row.sandbox) == **uid)
        })
    }

    /// How many pods of `pool` Sandboxes hold.
    pub fn held(&self, pool: &Key) -> usize {
        self.pods.count(&PodIndex::Held(pool.clone()))
    }

    /// How many Sandboxes would take a pod of `pool` if there were one.
    pub fn would_claim(&self, pool: &Key) -> usize {
        self.pairing.would_claim(pool)
    }

    /// Whether more Sandboxes wait for a pod of `pool` than its `maxPods` leaves pods for.
    pub fn is_at_limit(&self, pool: &Key) -> bool {
        let scaling = self.pools.get(pool).and_then(|pool| pool.spec.scaling.as_ref());
        let Some(most) = scaling.and_then(|scaling| usize::try_from(scaling.max_pods?).ok()) else { return false };
        let left = most.saturating_sub(self.held(pool)).checked_sub(self.would_claim(pool));
        // Each Sandbox that waits asks: no more are counted than it takes.
        left.is_none_or(|left| self.sitting_out(pool).nth(left).is_some())
    }

    /// The pod that it is a Sandbox's turn to claim.
    pub fn candidate(&self, sandbox: &Key) -> Option<&Arc<Pod>> {
        self.pods.get(self.pairing.pod_of(sandbox)?)
    }

    /// The Sandbox whose turn it is to claim a pod.
    pub fn claimer(&self, pod: &Key) -> Option<&Key> {
        self.pairing.sandbox_of(pod)
    }

    /// The fingerprint of a pool's template.
    pub fn template(&self, pool: &Key) -> Option<&str> {
        self.templates.get(pool).map(|template| template.fingerprint.as_str())
    }

    /// A pool changed. Returns whether its pods rank otherwise now.
    pub fn set_template(&mut self, pool: &Key, now: Option<&WarmPool>) -> bool {
        let Some(now) = now else { return self.templates.remove(pool).is_some() };
        let (uid, generation) = (Uid::of(now), now.metadata.generation);
        let before = self.templates.get(pool);
        if before.is_some_and(|t| t.uid == uid && t.generation == generation && generation.is_some()) {
            return false;
        }
        let fingerprint = abridged_fingerprint(now).map_or_else(|| now.spec.fingerprint(), str::to_owned);
        let same = before.is_some_and(|t| t.uid == uid && t.fingerprint == fingerprint);
        self.templates.insert(pool.clone(), Template { uid, generation, fingerprint });
        !same
    }

    /// These Sandboxes and pods may have begun or ceased to wait for each other. Returns the Sandboxes whose turn it newly is, or
    /// is no more.
    pub fn pair(&mut self, sandboxes: impl IntoIterator<Item = Key>, pods: impl IntoIterator<Item = Key>) -> Vec<Key> {
        let mut changed = BTreeSet::new();
        // Whoever has got a pod waits no more before the pod is gone for the others.
        for sandbox in sandboxes {
            let place = self.place(&sandbox);
            changed.extend(self.pairing.set_sandbox(&sandbox, place));
        }
        for pod in pods {
            let rank = self.rank(&pod);
            changed.extend(self.pairing.set_pod(&pod, rank));
        }
        changed.iter().flat_map(|pool| self.pairing.match_waiting(pool)).collect()
    }

    /// Where a Sandbox waits. One that already owns a pod does not: its status will say so in a moment. Nor does one that sits out.
    fn place(&self, sandbox: &Key) -> Option<(Key, Arrival)> {
        let row = self.sandboxes.get(sandbox).filter(|row| row.is_waiting())?;
        let has_pod = self.pods.count(&PodIndex::controlled_by(&*row.sandbox)) > 0;
        (!has_pod && !self.refused.sits_out(&Uid::of(&*row.sandbox))).then(|| (row.pool(), row.place()))
    }

    /// Where a pod is in the order in which its pool's are claimed. One that a Sandbox has on record is not.
    fn rank(&self, pod: &Key) -> Option<(Key, Rank)> {
        let pod = self.pods.get(pod).filter(|pod| pod.is_claimable())?;
        let pool = pod.pool()?;
        let template = self.templates.get(&pool).filter(|template| pod.controller().as_ref() == Some(&template.uid))?;
        let is_outdated = pod.template_hash() != Some(template.fingerprint.as_str());
        let times_refused = self.refused.times(&Uid::of(&**pod));
        let is_on_record = self.is_on_record(pod);
        let (is_unsteady, node_is_closed) = (pod.is_unsteady(), self.closed_nodes.contains(&pod.spec.node_name));
        let ready_since = pod.ready_since();
        (!is_on_record).then_some((pool, Rank { times_refused, is_unsteady, node_is_closed, is_outdated, ready_since }))
    }

    /// Whether a Sandbox has this pod on record.
    pub fn is_on_record(&self, pod: &Pod) -> bool {
        self.sandboxes.count(&SandboxIndex::Holder(pod.key().namespace, Uid::of(pod))) > 0
    }

    /// The claim of this pod was refused. Returns the Sandboxes whose turn it newly is.
    pub fn refuse_pod(&mut self, pod: &Version, message: String, now: Timestamp) -> Vec<Key> {
        self.prune_refusals(now);
        self.refused.pod(&pod.uid, message, now);
        self.pair([], [pod.key.clone()])
    }

    /// The claims of this Sandbox were refused. Returns the Sandboxes whose turn it newly is.
    pub fn refuse_sandbox(&mut self, row: &SandboxRow, message: String, now: Timestamp) -> Vec<Key> {
        self.prune_refusals(now);
        self.refused.sandbox((row.pool(), row.key()), &Uid::of(&*row.sandbox), message, now);
        self.pair([row.key()], [])
    }

    /// A claim of a pod of this pool was refused, and cost that.
    pub fn refuse_pool(&mut self, pool: Key, message: String, now: Timestamp) {
        self.refused.pool(pool, message, now);
    }

    /// Whether claims of this pool cost it pods.
    pub fn is_costly(&self, pool: &Key) -> bool {
        self.refused.is_costly(pool)
    }

    /// A pod of this pool, whose claims cost it pods, is to be claimed: one at a time.
    ///
    /// # Errors
    /// Where it is not the time for one.
    pub fn try_one(&mut self, pool: &Key, now: Timestamp) -> Result<(), ClaimRefusal> {
        self.refused.try_one(pool, now)
    }

    /// A claim of this pool holds. Returns the Sandboxes that wait to hear so.
    pub fn claim_holds(&mut self, pool: &Key) -> Vec<Key> {
        let waiting = self.refused.holds(pool).then(|| self.sandboxes.under(&SandboxIndex::Waiting(pool.clone())));
        waiting.into_iter().flatten().map(|row| row.key()).collect()
    }

    fn prune_refusals(&mut self, now: Timestamp) {
        let sandboxes = &self.sandboxes;
        self.refused.prune(now, |key, uid| sandboxes.get(key).is_some_and(|row| Uid::of(&*row.sandbox) == *uid));
    }

    /// Whether a Sandbox has sat out long enough.
    pub fn may_resume(&self, row: &SandboxRow, now: Timestamp) -> bool {
        self.refused.may_resume(&Uid::of(&*row.sandbox), now)
    }

    /// It takes its place in the queue again. Returns the Sandboxes whose turn it newly is.
    pub fn resume(&mut self, row: &SandboxRow) -> Vec<Key> {
        self.refused.resume(&Uid::of(&*row.sandbox));
        self.pair([row.key()], [])
    }

    /// What keeps a Sandbox from a pod now: its own refusal, or that of its pool or of the pod which it is its turn to claim.
    pub fn claim_refusal(&self, row: &SandboxRow, now: Timestamp) -> Option<ClaimRefusal> {
        // One that its claim was put back in part of is still in sight.
        let own = || self.pods.under(&PodIndex::controlled_by(&*row.sandbox)).next();
        let turn = self.candidate(&row.key()).or_else(own).map(|pod| Uid::of(&**pod));
        self.refused.between((&row.pool(), &Uid::of(&*row.sandbox)), turn.as_ref(), now)
    }

    /// The nodes that take no new pods, without those that are listed.
    pub fn closed_nodes_but(&self, listed: &BTreeSet<String>) -> Vec<String> {
        self.closed_nodes.difference(listed).cloned().collect()
    }

    /// A node takes new pods, or takes none. Returns the Sandboxes whose turn it newly is.
    pub fn set_node(&mut self, node: &str, is_closed: bool) -> Vec<Key> {
        let changes =
            if is_closed { self.closed_nodes.insert(node.to_owned()) } else { self.closed_nodes.remove(node) };
        if !changes {
            return Vec::new();
        }
        let on_it = self.pods.rows().filter(|pod| pod.is_idle() && pod.spec.node_name == node);
        let pods: Vec<Key> = on_it.map(Key::of).collect();
        self.pair([], pods)
    }

    /// The Task of `sandbox` whose turn it is: that of its setup, until it is set up, else the first that is unfinished.
    pub fn head(&self, sandbox: &Key) -> Option<&TaskRow> {
        let unfinished = self.sandboxes.get(sandbox).filter(|row| !row.is_set_up());
        let of_setup = unfinished.and_then(|row| self.setup_task(row)).map(AsRef::as_ref);
        of_setup.or_else(|| self.queued(sandbox).next())
    }

    /// The Task on record that sets up this Sandbox, where it is there.
    pub fn setup_task(&self, sandbox: &SandboxRow) -> Option<&Arc<TaskRow>> {
        let (task, uid) = sandbox.setup_task()?;
        self.tasks.get(&task).filter(|found| Uid::of(&*found.task) == uid)
    }

    /// The unfinished Tasks that name `sandbox`, first come first.
    pub fn queued(&self, sandbox: &Key) -> impl Iterator<Item = &TaskRow> {
        self.tasks.under(&TaskIndex::Unfinished(sandbox.clone())).map(AsRef::as_ref)
    }
}

/// The tables, shared.
#[derive(Debug, Default)]
pub struct Cache {
    tables: RwLock<Tables>,
    /// Watches that fail.
    pub outages: Outages,
}

impl Cache {
    /// The tables as they are now.
    pub fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tables, to be changed by what a watch reports.
    pub fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}
