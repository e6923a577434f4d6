//! Pools of a run, and what a pool says of itself to claims that wait for it.

use arl_crds::{
    WarmPool, WarmPoolSpec,
    condition::{self, PODS_FAILING},
    reason::WarmPoolReason,
};
use futures::future::pending;
use kube::api::PostParams;

use crate::{
    client::Client,
    deletion,
    error::Error,
    object_name::check_name,
    watch::{Seen, first},
};

/// What keeps a pool from having pods until somebody changes the pool, or what it names.
const LASTING: [WarmPoolReason; 5] = [
    WarmPoolReason::ImagePullBackOff,
    WarmPoolReason::CrashLoopBackOff,
    WarmPoolReason::CreateContainerError,
    WarmPoolReason::Refused,
    WarmPoolReason::InvalidTemplate,
];

impl Client {
    /// Makes a pool that belongs to this client's run: [`Client::reap`] deletes it too. Its pods are not waited for; a claim does that. Needs
    /// the right to create WarmPools.
    pub async fn create_pool(&self, name: &str, spec: WarmPoolSpec) -> Result<(), Error> {
        check_name("WarmPool", name)?;
        let mut pool = WarmPool::new(name, spec);
        pool.metadata.labels = Some(self.labels().into_iter().collect());
        let created = self.pools().create(&PostParams::default(), &pool).await;
        created.map(drop).map_err(Error::api("create", format!("WarmPool {name}")))
    }

    /// Deletes a pool and its idle pods; Sandboxes keep theirs. One that is gone already is no error.
    pub async fn delete_pool(&self, name: &str) -> Result<(), Error> {
        self.delete_pool_of(name, None).await
    }

    /// The same, where it has this uid.
    pub(crate) async fn delete_pool_of(&self, name: &str, uid: Option<String>) -> Result<(), Error> {
        check_name("WarmPool", name)?;
        let deleted = deletion::delete(&self.pools(), name, uid).await;
        deleted.map_err(Error::api("delete", format!("WarmPool {name}")))
    }
}

/// The reason and message of what is wrong with its pods, if something is. What was wrong before its last change may be no more.
pub(crate) fn failing(pool: &WarmPool) -> Option<(&str, &str)> {
    let failing = condition::find_true(&pool.status.as_ref()?.conditions, PODS_FAILING)?;
    if failing.observed_generation < pool.metadata.generation {
        return None;
    }
    Some((&failing.reason, &failing.message))
}

/// The same where it has no pod at all, not even one that might come back, and will have none.
fn hopeless(pool: &WarmPool) -> Option<(String, String)> {
    let status = pool.status.as_ref()?;
    let (reason, message) = failing(pool)?;
    let is_lasting = WarmPoolReason::parse(reason).is_some_and(|reason| LASTING.contains(&reason));
    (is_lasting && status.ready == 0 && status.allocated == 0).then(|| (reason.to_owned(), message.to_owned()))
}

/// Resolves once there is no use in waiting for a pod of this pool; never where that cannot be known.
pub(crate) async fn until_hopeless(client: &Client, name: &str) -> (String, String) {
    let seen = client.watched_pools().object(name);
    // The watch may have told of it before it was asked.
    let now = client.pools().get_opt(name).await.ok().flatten();
    if let Some(found) = now.as_ref().and_then(hopeless) {
        return found;
    }
    let found = first(seen, |pool| match pool {
        Seen::There(pool) => hopeless(pool),
        _ => None,
    });
    match found.await {
        Some(found) => found,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pool(reason: &str, status: &str, ready: i32, allocated: i32) -> WarmPool {
        let condition = json!({
            "type": "PodsFailing", "status": status, "reason": reason, "message": "m", "lastTransitionTime": "2024-01-01T00:00:00Z",
        });
        let object = json!({
            "apiVersion": "arl.infra.io/v1alpha1", "kind": "WarmPool", "metadata": {"name": "p"},
            "spec": {"replicas": 1, "template": {"spec": {"containers": []}}},
            "status": {"ready": ready, "allocated": allocated, "conditions": [condition]},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_pool_is_hopeless_without_pods_and_with_a_cause_that_lasts() {
        let found = |reason, status, ready, allocated| hopeless(&pool(reason, status, ready, allocated)).is_some();
        for reason in LASTING {
            assert!(found(reason.as_str(), "True", 0, 0), "{reason:?}");
        }
        assert!(!found("ImagePullBackOff", "False", 0, 0));
        assert!(!found("Unschedulable", "True", 0, 0), "a node may come");
        assert!(!found("QuotaExceeded", "True", 0, 0), "another pool may give one back");
        assert!(!found("ImagePullBackOff", "True", 0, 3), "one may be given back");
        assert!(!found("ImagePullBackOff", "True", 1, 0));
    }

    #[test]
    fn a_pool_that_was_changed_since_is_not_hopeless() {
        let mut changed = pool("InvalidTemplate", "True", 0, 0);
        changed.metadata.generation = Some(2);
        let of = |generation| {
            let mut pool = changed.clone();
            pool.status.as_mut().unwrap().conditions[0].observed_generation = Some(generation);
            hopeless(&pool).is_some()
        };
        assert_eq!((of(1), of(2)), (false, true));
    }
}
