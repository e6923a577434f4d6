//! What is asked of the API server before a Sandbox decides on what a cache may have wrong.

use std::sync::Arc;

use arl_crds::{Sandbox, Task};
use kube::Resource;

use super::{Sandboxes, observe::Observed};
use crate::{
    cache::TaskRow,
    effects::{Astray, Cause, Failure},
    object::{Key, Uid, Version},
    pod::Pod,
    runs::LiveState,
};

impl Sandboxes {
    /// Looks again at what a cache may have wrong, where the plan is about to rest on it.
    pub(super) async fn confirm(&self, observed: &mut Observed) -> Result<(), Failure> {
        let uid = observed.uid();
        if observed.is_unallocated() && self.is_claiming(observed) {
            let found = self.effects.read_pods_of(&observed.key()).await?;
            // Names are used again: only a pod that this very Sandbox controls counts.
            observed.owned =
                found.into_iter().filter(|pod| pod.controller().as_ref() == Some(&uid)).map(Arc::new).collect();
        } else if let Some(pod) = observed.missing_pod() {
            let found = self.effects.read_pod(&pod).await?;
            let found = found.filter(|pod| observed.row.pod_uid() == Some(Uid::of(pod)));
            observed.owned.clear();
            match found {
                Some(pod) if pod.is_given_away(&uid) => observed.given_away = Some(pod),
                Some(pod) => observed.owned.extend(self.taken_back(observed, pod).await?.map(Arc::new)),
                None => {}
            }
        }
        if let Some((task, uid)) = observed.missing_setup() {
            let found = self.effects.read::<Task>(&task).await?.filter(|found| Uid::of(found) == uid);
            observed.setup_task = found.map(|found| Arc::new(TaskRow::new(found)));
        }
        Ok(())
    }

    /// Its pod. What somebody took off it is put back: without the label there is no watch event of it, and without the owner it would stay
    /// when its Sandbox goes.
    async fn taken_back(&self, observed: &Observed, pod: Pod) -> Result<Option<Pod>, Failure> {
        let uid = observed.uid();
        if !pod.is_alive() || (pod.controller().as_ref() == Some(&uid) && pod.pool() == Some(observed.row.pool())) {
            return Ok(Some(pod.slim()));
        }
        // One that is deleted with `--cascade=orphan` is to leave its pod behind.
        let present = self.effects.read::<Sandbox>(&observed.key()).await?;
        let present =
            present.filter(|sandbox| Uid::of(sandbox) == uid && sandbox.metadata.deletion_timestamp.is_none());
        let Some(owner) = present.and_then(|sandbox| sandbox.controller_owner_ref(&())) else { return Ok(None) };
        let (sandbox, pool, key) = (observed.key().name, observed.row.pool().name, Key::of(&pod));
        let Some(pod) = self.effects.take_back(Astray { pod, pool, sandbox, owner }).await? else {
            return Err(Failure::new("take back", "Pod", &key, Cause::Unconfirmed(format!("Pod {}", key.name))));
        };
        tracing::warn!(pod = %key, "somebody took the owner or labels off this pod, which its Sandbox has on record; they are put back");
        self.watch.learn::<Pod>(pod.clone());
        Ok(Some(pod.slim()))
    }

    /// Whether its Tasks are still as this was decided on, by the API server's word, and no live process has begun. A change since wakes
    /// this Sandbox again.
    pub(super) async fn is_confirmed(&self, observed: &Observed) -> Result<bool, Failure> {
        let is_known = |task: &Version| {
            let known = self.watch.cache.read().tasks.get(&task.key).map(|row| Version::of(&*row.task));
            known.as_ref() == Some(task)
        };
        self.effects.confirm_tasks(&observed.key(), is_known).await?;
        let tables = self.watch.cache.read();
        let last_finished = tables.last_finished.get(&observed.row.id()).copied();
        let pod = observed.row.pod_uid();
        let is_live = pod.is_some_and(|pod| self.runs.live(&observed.key(), &pod).state == LiveState::Active);
        Ok(tables.queued(&observed.key()).next().is_none() && last_finished == observed.last_finished && !is_live)
    }
}
