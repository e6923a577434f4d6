//! What is known of a Sandbox, its pod, its Tasks and its pool.

use std::{sync::Arc, time::Duration};

use arl_crds::{Sandbox, SandboxStatus};
use jiff::Timestamp;

use crate::{
    cache::{Cache, ClaimRefusal, PodIndex, Row, SandboxRow, TaskRow},
    object::{Key, Uid, Version},
    pod::Pod,
    runs::LiveView,
};

/// All of it from caches, so possibly old, except where `confirm` has looked again.
pub(super) struct Observed {
    pub(super) row: Arc<SandboxRow>,
    pub(super) pool_exists: bool,
    /// Whether the pool may have no more pods for all who wait.
    pub(super) pool_is_at_limit: bool,
    /// The fingerprint of the pool's template.
    pub(super) template: Option<String>,
    /// The pod that it is its turn to claim.
    pub(super) candidate: Option<Version>,
    /// Why it may not claim a pod yet that is there.
    pub(super) refusal: Option<ClaimRefusal>,
    /// Pods it owns, on record or not.
    pub(super) owned: Vec<Arc<Pod>>,
    /// Its pod on record, where somebody gave that to another owner.
    pub(super) given_away: Option<Pod>,
    /// The Task on record that sets it up, while that has not ended on record.
    pub(super) setup_task: Option<Arc<TaskRow>>,
    /// Whether unfinished Tasks name it.
    pub(super) has_unfinished: bool,
    /// Since when the Task at the head of the queue has been running, if it has.
    pub(super) running_since: Option<Timestamp>,
    /// When its last Task ended, as far as that was seen.
    pub(super) last_finished: Option<Timestamp>,
    /// What the agent in its pod says of live processes and clients, which need no Task. It may be old.
    pub(super) live: LiveView,
    pub(super) watching_since: Timestamp,
    pub(super) released_ttl: Option<Duration>,
}

impl Observed {
    pub(super) fn read(
        cache: &Cache,
        key: &Key,
        (now, watching_since): (Timestamp, Timestamp),
        released_ttl: Option<Duration>,
    ) -> Option<Self> {
        let tables = cache.read();
        let row = Arc::clone(tables.sandboxes.get(key)?);
        if row.sandbox.metadata.deletion_timestamp.is_some() {
            return None;
        }
        Some(Self {
            pool_exists: tables.pools.get(&row.pool()).is_some_and(|pool| pool.metadata.deletion_timestamp.is_none()),
            pool_is_at_limit: row.is_waiting() && tables.is_at_limit(&row.pool()),
            template: tables.template(&row.pool()).map(str::to_owned),
            candidate: tables.candidate(key).map(|pod| Version::of(&**pod)),
            refusal: tables.claim_refusal(&row, now),
            owned: tables.pods.under(&PodIndex::controlled_by(&*row.sandbox)).cloned().collect(),
            given_away: None,
            setup_task: Some(&*row).filter(|row| has_open_setup(row)).and_then(|row| tables.setup_task(row)).cloned(),
            has_unfinished: tables.queued(key).next().is_some(),
            running_since: tables.queued(key).next().and_then(TaskRow::started_at),
            last_finished: tables.last_finished.get(&row.id()).copied(),
            live: LiveView::default(),
            watching_since,
            released_ttl,
            row,
        })
    }

    /// Looks again at whose turn it is, after a claim that was refused.
    pub(super) fn look_again(&mut self, cache: &Cache, now: Timestamp) {
        let tables = cache.read();
        self.candidate = tables.candidate(&self.key()).map(|pod| Version::of(&**pod));
        self.refusal = tables.claim_refusal(&self.row, now);
    }

    pub(super) fn sandbox(&self) -> &Sandbox {
        &self.row.sandbox
    }

    pub(super) fn key(&self) -> Key {
        self.row.key()
    }

    pub(super) fn uid(&self) -> Uid {
        Uid::of(self.sandbox())
    }

    pub(super) fn status(&self) -> Option<&SandboxStatus> {
        self.sandbox().status.as_ref()
    }

    pub(super) fn is_unallocated(&self) -> bool {
        self.row.is_waiting()
    }

    /// Its pod on record, where that is among the pods it owns.
    pub(super) fn pod(&self) -> Option<&Pod> {
        let uid = self.row.pod_uid()?;
        self.owned.iter().map(AsRef::as_ref).find(|pod| Uid::of(*pod) == uid)
    }

    /// Whether a pod was made from an earlier template than its pool has now.
    pub(super) fn is_of_earlier_template(&self, pod: &Pod) -> bool {
        self.template.as_deref().zip(pod.template_hash()).is_some_and(|(present, of_pod)| present != of_pod)
    }

    /// The pod on record, if it is not where it should be.
    pub(super) fn missing_pod(&self) -> Option<Key> {
        if self.row.is_released() || self.pod().is_some() {
            return None;
        }
        self.row.pod()
    }

    /// The Task on record that sets it up, if it is not where it should be.
    pub(super) fn missing_setup(&self) -> Option<(Key, Uid)> {
        let is_missing = has_open_setup(&self.row) && self.setup_task.is_none() && !self.row.is_released();
        self.row.setup_task().filter(|_| is_missing)
    }

    pub(super) fn pool_name(&self) -> &str {
        &self.sandbox().spec.pool_ref
    }
}

/// Whether a setup is on record, and no end of it.
fn has_open_setup(row: &SandboxRow) -> bool {
    row.setup().is_some_and(|setup| !setup.state.is_finished())
}
