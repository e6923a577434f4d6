//! What the operator knows of the cluster: each kind watched once, kept in tables, and each change told to [`triggers`].
//!
//! Everything here is a past state of the API server, possibly an old one. Nothing that is read here makes a write safe:
//! writes carry the version they were decided on, see [`crate::effects`].

mod rows;
mod table;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use arl_crds::WarmPool;
use jiff::Timestamp;

pub use rows::{PodIndex, SandboxIndex, SandboxRow, TaskIndex, TaskRow};
pub use table::{Change, Row, Table};
pub use watch::{Source, Watch};

use crate::{object::Key, object::Uid, pod::Pod};

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
    pub last_finished: BTreeMap<Uid, Timestamp>,
}

impl Tables {
    /// The Sandboxes that wait for a pod of `pool`, first come first. One that already owns a pod is not among them:
    /// its status will say so in a moment.
    pub fn waiting(&self, pool: &Key) -> impl Iterator<Item = &SandboxRow> {
        let rows = self.sandboxes.under(&SandboxIndex::Waiting(pool.clone())).map(AsRef::as_ref);
        rows.filter(|row| self.pods.count(&PodIndex::Controller(Uid::of(&*row.sandbox))) == 0)
    }

    /// The pods of `pool` that can be claimed, in the order in which they should be: those of the present template first,
    /// then those that became ready first. One that a Sandbox has on record is not among them.
    pub fn claimable(&self, pool: &Key) -> impl Iterator<Item = &Pod> {
        let template = self.pools.get(pool).map(|p| p.spec.fingerprint());
        let of_template = move |pod: &&Pod| pod.template_hash() == template.as_deref();
        let of_another = {
            let same = of_template.clone();
            move |pod: &&Pod| !same(pod)
        };
        let pods = || {
            let idle = self.pods.under(&PodIndex::Idle(pool.clone())).map(AsRef::as_ref);
            idle.filter(|pod: &&Pod| {
                pod.is_claimable() && self.sandboxes.count(&SandboxIndex::Holder(Uid::of(*pod))) == 0
            })
        };
        pods().filter(of_template).chain(pods().filter(of_another))
    }

    /// Those who wait for a pod of `pool` and the pods there are, both in order: each takes the pod at its own place, so that no
    /// two choose the same.
    pub fn turns(&self, pool: &Key) -> impl Iterator<Item = (&SandboxRow, &Pod)> {
        self.waiting(pool).zip(self.claimable(pool))
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
