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
        rows.filter(|row| self.pods.count(&PodIndex::controlled_by(&*row.sandbox)) == 0)
    }

    /// The pods of `pool` that can be claimed, in the order in which they should be: those of the present template first,
    /// then those that became ready first. One that a Sandbox has on record is not among them.
    pub fn claimable(&self, pool: &Key) -> impl Iterator<Item = &Pod> {
        let of = self.pools.get(pool).map(|of| (of.spec.fingerprint(), Uid::of(&**of)));
        let turns = of
            .into_iter()
            .flat_map(|(template, uid)| [true, false].map(|first| (first, template.clone(), uid.clone())));
        turns.flat_map(move |(first, template, uid)| {
            let idle = self.pods.under(&PodIndex::Idle(pool.clone())).map(AsRef::as_ref);
            idle.filter(move |pod: &&Pod| {
                pod.is_claimable()
                    && (pod.template_hash() == Some(template.as_str())) == first
                    && pod.controller().as_ref() == Some(&uid)
                    && self.sandboxes.count(&SandboxIndex::Holder(Uid::of(*pod))) == 0
            })
        })
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(namespace: &str, name: &str, labels: &Value, owner: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "namespace": namespace, "uid": name, "labels": labels,
                "ownerReferences": [{ "apiVersion": "v1", "kind": "Any", "name": "any", "uid": owner, "controller": true }],
            },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] },
        }))
        .unwrap()
    }

    fn tables() -> Tables {
        let object = |kind: &str, name: &str, spec: Value| {
            json!({
                "apiVersion": "arl.infra.io/v1alpha1", "kind": kind, "spec": spec,
                "metadata": { "name": name, "namespace": "ns", "uid": name },
            })
        };
        let mut tables = Tables::default();
        let pool = object("WarmPool", "pool", json!({ "replicas": 1, "template": { "spec": {} } }));
        tables.pools.apply(serde_json::from_value(pool).unwrap());
        let sandbox = object("Sandbox", "sandbox", json!({ "poolRef": "pool" }));
        tables.sandboxes.apply(SandboxRow::new(serde_json::from_value(sandbox).unwrap()));
        tables
    }

    #[test]
    fn labels_alone_do_not_make_a_pod_the_pools() {
        let mut tables = tables();
        let labels = json!({ "arl.infra.io/warmpool": "pool", "arl.infra.io/pod-state": "ready" });
        tables.pods.apply(pod("ns", "its-own", &labels, "pool"));
        tables.pods.apply(pod("ns", "labelled", &labels, "a-replicaset"));
        tables.pods.apply(pod("other", "elsewhere", &labels, "pool"));
        let names: Vec<_> = tables.claimable(&Key::new("ns", "pool")).filter_map(|p| p.metadata.name.clone()).collect();
        assert_eq!(names, ["its-own"]);
    }

    #[test]
    fn a_pod_that_names_an_owner_in_another_namespace_is_not_its() {
        let mut tables = tables();
        let labels = json!({ "arl.infra.io/warmpool": "pool", "arl.infra.io/pod-state": "allocated" });
        tables.pods.apply(pod("other", "forged", &labels, "sandbox"));
        let row = tables.sandboxes.rows().next().unwrap();
        assert_eq!(tables.pods.count(&PodIndex::controlled_by(&*row.sandbox)), 0);
        assert_eq!(tables.waiting(&Key::new("ns", "pool")).count(), 1, "it still waits for a pod of its own");
        tables.pods.apply(pod("ns", "owned", &labels, "sandbox"));
        assert_eq!(tables.waiting(&Key::new("ns", "pool")).count(), 0);
    }
}
