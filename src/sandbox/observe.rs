//! What is known of a Sandbox, its pod, its Tasks and its pool.

use std::{sync::Arc, time::Duration};

use arl_crds::{
    Sandbox, SandboxStatus, WarmPool,
    condition::{self, PODS_FAILING, STALLED},
    text::printable,
};
use jiff::Timestamp;

use crate::{
    cache::{Cache, ClaimRefusal, PodIndex, Row, SandboxRow, TaskRow},
    object::{Key, Uid, Version},
    pod::Pod,
    runs::LiveView,
};

/// What a pool says is quoted up to here: each Sandbox that waits for it has that on record.
const QUOTED_MAX: usize = 256;

/// All of it from caches, so possibly old, except where `confirm` has looked again.
pub(super) struct Observed {
    pub(super) row: Arc<SandboxRow>,
    pub(super) pool_exists: bool,
    /// Whether the pool may have no more pods for all who wait.
    pub(super) pool_is_at_limit: bool,
    /// What the pool says of why it may have no pod, in short, while this waits for one.
    pub(super) pool_says: Option<String>,
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
            pool_says: tables.pools.get(&row.pool()).filter(|_| row.is_waiting()).and_then(|pool| trouble(pool)),
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

/// What keeps a pool from ready pods, in its own words.
fn trouble(pool: &WarmPool) -> Option<String> {
    let conditions = &pool.status.as_ref()?.conditions;
    let said = [PODS_FAILING, STALLED].iter().find_map(|type_| condition::find_true(conditions, type_))?;
    Some(printable(&format!("{}: {}", said.reason, said.message), QUOTED_MAX))
}

/// Whether a setup is on record, and no end of it.
fn has_open_setup(row: &SandboxRow) -> bool {
    row.setup().is_some_and(|setup| !setup.state.is_finished())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_what_a_pool_says_its_trouble_is_quoted_in_short() {
        let condition = |type_: &str, status: &str, message: &str| json!({ "type": type_, "status": status, "reason": "R", "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z" });
        let long = "x".repeat(9_000);
        for (conditions, expected) in [
            (json!([]), None),
            (json!([condition("Ready", "False", "why"), condition("PodsFailing", "False", "none")]), None),
            (json!([condition("Stalled", "True", "refused")]), Some("R: refused")),
            (json!([condition("Stalled", "True", "refused"), condition("PodsFailing", "True", "why")]), Some("R: why")),
            (json!([condition("PodsFailing", "True", &long)]), Some("R: xxx")),
        ] {
            let mut pool =
                WarmPool::new("p", serde_json::from_value(json!({ "replicas": 1, "template": {} })).unwrap());
            pool.status = serde_json::from_value(json!({ "conditions": conditions })).unwrap();
            let said = trouble(&pool);
            assert!(said.as_ref().is_none_or(|said| said.len() <= QUOTED_MAX), "{said:?}");
            assert!(said.as_deref().unwrap_or_default().starts_with(expected.unwrap_or_default()), "{said:?}");
            assert_eq!(said.is_some(), expected.is_some(), "{said:?}");
        }
    }
}
