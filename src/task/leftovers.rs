//! What is left of Tasks in pods: runs whose Task is gone, and processes that cannot be ended.

use arl_crds::{Task, reason::EventReason};

use super::Tasks;
use crate::{
    cache::SandboxIndex,
    effects::{Deleted, Event, Failure},
    object::{Key, Uid, Version},
    pod::Target,
    runs::{Leftovers, RunControl},
};

impl Tasks {
    /// Ends the runs of Tasks that were deleted in flight.
    pub(super) async fn end_orphans(&self, key: &Key, present: Option<&Uid>) -> Result<(), Failure> {
        for orphan in self.runs.orphans(key, present) {
            let Some(ended) = orphan.ended else {
                // A cache that is late has no word of a Task either.
                if self.effects.read::<Task>(key).await?.is_some_and(|task| Uid::of(&task) == orphan.task) {
                    continue;
                }
                tracing::info!(uid = %orphan.task, "the Task was deleted; its run ends");
                self.runs.control(&orphan.task, RunControl::Cancel);
                continue;
            };
            if let Leftovers::Survivors(message) = ended.left {
                self.give_up(&key.name, &orphan.target, &message).await?;
            }
            self.runs.forget(&orphan.task);
        }
        Ok(())
    }

    /// Deletes a pod in which something runs that cannot be ended; its Sandbox then is released.
    pub(super) async fn give_up(&self, task: &str, target: &Target, why: &str) -> Result<(), Failure> {
        // A kubelet that reports on it meanwhile is no reason to leave it.
        while let Some(pod) = self.effects.read_pod(&target.pod).await?.filter(|pod| Uid::of(pod) == target.pod_uid) {
            match self.effects.delete_pod(&Version::of(&pod)).await? {
                Deleted::Done => {
                    self.tell_of_given_up(task, target, why);
                    break;
                }
                Deleted::Gone => break,
                Deleted::Changed => {}
            }
        }
        Ok(())
    }

    fn tell_of_given_up(&self, task: &str, Target { pod, pod_uid, .. }: &Target, why: &str) {
        let index = SandboxIndex::Holder(pod.namespace.clone(), pod_uid.clone());
        let held_by = self.watch.cache.read().sandboxes.under(&index).next().cloned();
        if let Some(row) = held_by {
            let note = format!("Task {task}: {why}; pod {} is deleted", pod.name);
            self.effects.event(Event::about(&*row.sandbox, EventReason::PodGivenUp, note));
        }
    }
}
