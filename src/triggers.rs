//! Which change wakes whom. All wiring between the kinds is here: pure functions from a change to the objects that it
//! concerns.

use std::collections::BTreeSet;

use arl_crds::{Sandbox, Task, WarmPool};
use jiff::Timestamp;

use crate::{
    cache::{Change, Row, SandboxRow, Source, Table, Tables, TaskRow},
    clock::Clock,
    object::{Key, Uid},
    pod::Pod,
};

/// An object that has to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wake {
    /// A WarmPool.
    Pool(Key),
    /// A Sandbox.
    Sandbox(Key),
    /// A Task.
    Task(Key),
}

/// Each once, in the order given.
pub fn distinct(wakes: Vec<Wake>) -> Vec<Wake> {
    let mut seen = BTreeSet::new();
    wakes.into_iter().filter(|w| seen.insert(w.clone())).collect()
}

/// The Sandboxes whose turn it is: as many of those that wait as there are pods to claim.
fn whose_turn(pool: &Key, tables: &Tables) -> impl Iterator<Item = Wake> {
    let pods = tables.claimable(pool).len();
    let next: Vec<_> = match pods {
        0 => Vec::new(),
        _ => tables.waiting(pool).into_iter().take(pods).map(|row| Wake::Sandbox(row.key())).collect(),
    };
    next.into_iter()
}

fn head_of_queue(sandbox: &Key, tables: &Tables) -> Option<Wake> {
    tables.queued(sandbox).first().map(|row| Wake::Task(row.key()))
}

impl Source for WarmPool {
    type Object = Self;

    fn row(mut object: Self) -> Self {
        object.metadata.managed_fields = None;
        object
    }

    fn table(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.pools
    }

    fn wakes(change: &Change<Self>, tables: &Tables) -> Vec<Wake> {
        let Some(key) = change.key() else { return Vec::new() };
        let mut wakes = vec![Wake::Pool(key.clone())];
        if change.differs(Uid::of) {
            wakes.extend(tables.waiting(&key).iter().map(|row| Wake::Sandbox(row.key())));
        }
        wakes
    }
}

impl Source for Pod {
    type Object = Self;

    fn row(object: Self) -> Self {
        object.slim()
    }

    fn table(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.pods
    }

    fn wakes(change: &Change<Self>, tables: &Tables) -> Vec<Wake> {
        let mut wakes = Vec::new();
        for sandbox in change.either(Pod::sandbox) {
            wakes.extend(head_of_queue(&sandbox, tables));
            wakes.push(Wake::Sandbox(sandbox));
        }
        for pool in change.either(Pod::pool) {
            wakes.extend(whose_turn(&pool, tables));
            wakes.push(Wake::Pool(pool));
        }
        wakes
    }
}

impl Source for SandboxRow {
    type Object = Sandbox;

    fn row(mut object: Sandbox) -> Self {
        object.metadata.managed_fields = None;
        Self::new(object)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.sandboxes
    }

    fn wakes(change: &Change<Self>, tables: &Tables) -> Vec<Wake> {
        let Some(key) = change.key() else { return Vec::new() };
        let mut wakes: Vec<Wake> = vec![Wake::Sandbox(key.clone())];
        if change.differs(SandboxRow::is_waiting) {
            change.either(|row| Some(row.pool())).for_each(|pool| wakes.extend(whose_turn(&pool, tables)));
        }
        if change.differs(|row| (Uid::of(&*row.sandbox), row.pod_uid(), row.is_released())) {
            wakes.extend(tables.queued(&key).iter().map(|row| Wake::Task(row.key())));
        } else {
            wakes.extend(head_of_queue(&key, tables));
        }
        wakes
    }

    fn remember(change: &Change<Self>, tables: &mut Tables, _: &Clock) {
        let after = change.after.as_ref().map(|row| Uid::of(&*row.sandbox));
        if let Some(before) =
            change.before.as_ref().map(|row| Uid::of(&*row.sandbox)).filter(|b| Some(b) != after.as_ref())
        {
            tables.last_finished.remove(&before);
        }
    }
}

impl Source for TaskRow {
    type Object = Task;

    fn row(object: Task) -> Self {
        Self::new(object)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.tasks
    }

    fn wakes(change: &Change<Self>, tables: &Tables) -> Vec<Wake> {
        let Some(key) = change.key() else { return Vec::new() };
        let mut wakes = vec![Wake::Task(key)];
        if change.differs(|row| (row.state(), row.sandbox())) {
            for sandbox in change.either(|row| Some(row.sandbox())) {
                wakes.extend(head_of_queue(&sandbox, tables));
                wakes.push(Wake::Sandbox(sandbox));
            }
        }
        wakes
    }

    /// A Task that was deleted in flight ended when that was seen.
    fn remember(change: &Change<Self>, tables: &mut Tables, clock: &Clock) {
        let ended: Option<(Uid, Timestamp)> = match (&change.before, &change.after) {
            (_, Some(row)) if row.state().is_finished() => row.sandbox_uid().zip(row.completed_at()),
            (Some(row), None) if row.started_at().is_some() && !row.state().is_finished() => {
                row.sandbox_uid().map(|uid| (uid, clock.now()))
            }
            _ => None,
        };
        if let Some((sandbox, at)) = ended {
            let last = tables.last_finished.entry(sandbox).or_insert(at);
            *last = (*last).max(at);
        }
    }
}
