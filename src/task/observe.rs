//! What is known of a Task, its Sandbox, its pod and its run.

use std::{sync::Arc, time::Duration};

use arl_crds::{ExecutorMode, Sandbox, TaskStatus};
use jiff::Timestamp;

use crate::{
    cache::{Cache, PodIndex, Row, SandboxRow, TaskRow},
    object::{Key, Uid},
    pod::Pod,
    runs::{RunEnd, RunView, Runs},
};

/// The most bytes that a Sandbox's variables may add to a Task's steps without room being asked for: about what the cache keeps of steps.
const ADDED_ENV_FREE: usize = 4 * 1024;

/// From caches, so possibly old, except the run, which is this process's own.
pub(super) struct Observed {
    pub(super) row: Arc<TaskRow>,
    pub(super) sandbox: Option<Arc<SandboxRow>>,
    /// Whether its Sandbox is there, and cannot be read.
    pub(super) sandbox_is_unread: bool,
    /// The Sandbox's pod on record, where it is still the Sandbox's.
    pub(super) pod: Option<Arc<Pod>>,
    /// That pod, where it is the Sandbox's no more: it was given to another owner.
    pub(super) given_away: Option<Pod>,
    /// The pod of its run, whoever's it is.
    pub(super) run_pod: Option<Arc<Pod>>,
    /// Whether its Sandbox, which has no pod on record, is being given one.
    pub(super) awaits_claim: bool,
    /// The Task that comes first, if it is not this one.
    pub(super) behind: Option<String>,
    /// The run of this Task in this process.
    pub(super) run: Option<RunView>,
    pub(super) finished_ttl: Option<Duration>,
    /// Set where a live look found the Sandbox gone that the cache still has.
    pub(super) sandbox_is_gone: bool,
}

/// Whether a Task may be this Sandbox's: by what is on record, else by the pod that it runs in, else by its name, which is used again. One
/// that is being deleted takes no Tasks that it does not have yet.
fn may_be_of(recorded: Option<Uid>, runs_in: Option<&Uid>, sandbox: &SandboxRow) -> bool {
    let is_going = sandbox.sandbox.metadata.deletion_timestamp.is_some();
    match (recorded, runs_in) {
        (Some(recorded), _) => recorded == Uid::of(&*sandbox.sandbox) || !is_going,
        (None, Some(pod)) => sandbox.pod_uid().as_ref() == Some(pod),
        (None, None) => !is_going,
    }
}

impl Observed {
    pub(super) fn read(cache: &Cache, key: &Key, runs: &Runs, finished_ttl: Option<Duration>) -> Option<Self> {
        let tables = cache.read();
        let row = Arc::clone(tables.tasks.get(key)?);
        let (sandbox_key, run) = (row.sandbox(), runs.view(&Uid::of(&*row.task)));
        let takes = |sandbox: &&Arc<SandboxRow>| {
            may_be_of(row.sandbox_uid(), run.as_ref().map(|run| &run.target.pod_uid), sandbox)
        };
        let sandbox = tables.sandboxes.get(&sandbox_key).filter(takes).cloned();
        let pod = sandbox.as_ref().and_then(|sandbox| {
            let owned = PodIndex::controlled_by(&*sandbox.sandbox);
            let held = sandbox.pod_uid()?;
            tables.pods.under(&owned).find(|pod| Uid::of(&***pod) == held).cloned()
        });
        let run_pod = run.as_ref().and_then(|run| {
            tables.pods.get(&run.target.pod).filter(|pod| Uid::of(&***pod) == run.target.pod_uid).cloned()
        });
        let owns_any =
            |sandbox: &SandboxRow| tables.pods.under(&PodIndex::controlled_by(&*sandbox.sandbox)).next().is_some();
        let awaits_claim = sandbox.as_deref().is_some_and(|sandbox| {
            sandbox.is_waiting() && (tables.candidate(&sandbox_key).is_some() || owns_any(sandbox))
        });
        let head = tables.head(&sandbox_key).map(TaskRow::key).filter(|head| head != key);
        // The clocks of API servers differ: what came first need not be the first by its creation.
        let at_work = || {
            let is_unfinished = |(task, uid): &(Key, Uid)| {
                let row = tables.tasks.get(task).filter(|row| Uid::of(&*row.task) == *uid);
                *task != *key && row.is_some_and(|row| !row.state().is_finished())
            };
            runs.in_pod(&Uid::of(&**pod.as_ref()?)).into_iter().find(is_unfinished).map(|(task, _)| task)
        };
        let first = head.or_else(at_work);
        Some(Self {
            run,
            behind: first.map(|first| first.name),
            sandbox,
            pod,
            run_pod,
            awaits_claim,
            given_away: None,
            row,
            finished_ttl,
            sandbox_is_unread: tables.sandboxes.is_unread(&sandbox_key),
            sandbox_is_gone: false,
        })
    }

    pub(super) fn uid(&self) -> Uid {
        Uid::of(&*self.row.task)
    }

    pub(super) fn sandbox_object(&self) -> Option<&Sandbox> {
        self.sandbox.as_ref().map(|row| &*row.sandbox)
    }

    /// The Sandbox it belongs to: the one on record, else the one there is.
    pub(super) fn sandbox_uid(&self) -> Option<Uid> {
        self.recorded_sandbox().or_else(|| self.sandbox_object().map(Uid::of))
    }

    /// Whether it can only have come for this Sandbox: an old cache put one on record that was deleted before.
    fn came_for(&self, sandbox: &SandboxRow) -> bool {
        !self.was_started() && self.row.setup_of.is_none() && sandbox.arrival < self.row.arrival
    }

    /// The Sandbox on record, where that can be the one it came for.
    fn recorded_sandbox(&self) -> Option<Uid> {
        let recorded = self.row.sandbox_uid()?;
        let another = self.sandbox.as_ref().filter(|sandbox| Uid::of(&*sandbox.sandbox) != recorded);
        (!another.is_some_and(|another| self.came_for(another))).then_some(recorded)
    }

    /// Whether the Sandbox that it belongs to is no more, or going.
    pub(super) fn sandbox_deleted(&self) -> bool {
        let present = self.sandbox.as_ref().filter(|s| s.sandbox.metadata.deletion_timestamp.is_none());
        let present = present.filter(|_| !self.sandbox_is_gone).map(|s| Uid::of(&*s.sandbox));
        match self.recorded_sandbox() {
            Some(recorded) => present != Some(recorded),
            // A short run is not on record before its end.
            None => self.run.is_some() && present.is_none(),
        }
    }

    /// Whether it is the Task on record that sets up its Sandbox.
    pub(super) fn is_setup(&self, sandbox: &SandboxRow) -> bool {
        sandbox.setup().is_some_and(|setup| setup.task_uid == self.uid().0)
    }

    /// Whether it has the name of its Sandbox's setup, which another Task is or was.
    pub(super) fn is_setup_again(&self, sandbox: &SandboxRow) -> bool {
        self.row.setup_of.is_some() && sandbox.setup().is_some() && !self.is_setup(sandbox)
    }

    /// Whether its Sandbox has a pod, and has to be set up before this Task runs in it.
    pub(super) fn waits_for_setup(&self) -> bool {
        let sandbox = self.sandbox.as_deref().filter(|sandbox| sandbox.pod_uid().is_some());
        sandbox.is_some_and(|sandbox| !sandbox.is_set_up() && !self.is_setup(sandbox))
    }

    /// When it was created: what runs in a Sandbox does so in that order, and so its agent tells a new one from one long forgotten. The setup
    /// runs before all others, some of which may have been created before it.
    pub(super) fn created(&self) -> Option<Timestamp> {
        if self.row.setup_of.is_some() {
            return Some(Timestamp::UNIX_EPOCH);
        }
        self.row.task.metadata.creation_timestamp.as_ref().map(|at| at.0)
    }

    /// Whether it is being deleted, which somebody's finalizer may keep it from for long.
    pub(super) fn is_deleting(&self) -> bool {
        self.row.task.metadata.deletion_timestamp.is_some()
    }

    /// Whether it is to end, waiting or running.
    pub(super) fn is_cancelled(&self) -> bool {
        self.row.task.spec.cancel || self.is_deleting()
    }

    /// Whether it was started and its pod is no more.
    pub(super) fn pod_is_lost(&self) -> bool {
        !self.row.state().is_finished()
            && self.was_started()
            && !self.sandbox_deleted()
            && !self.pod.as_ref().is_some_and(|pod| pod.is_alive())
    }

    /// Whether it is to end for what the cache does not have, and may only not have yet.
    pub(super) fn is_in_doubt(&self) -> bool {
        let is_going = self.sandbox.as_ref().is_some_and(|s| s.sandbox.metadata.deletion_timestamp.is_some());
        !self.row.state().is_finished() && (self.pod_is_lost() || self.sandbox_deleted() && !is_going)
    }

    /// Takes over what the API server has of its Sandbox. Another one of its name is not the one whose pod it ran in.
    pub(super) fn confirm_sandbox(&mut self, found: Option<SandboxRow>) {
        let found = found.map(Arc::new).filter(|found| self.is_of(found));
        self.sandbox_is_gone = found.is_none();
        let known = self.sandbox.take();
        self.sandbox = found.or(known.filter(|known| self.is_of(known)));
    }

    /// Whether it belongs to this Sandbox: by what is on record, or by the pod that it runs in.
    fn is_of(&self, sandbox: &SandboxRow) -> bool {
        match (self.row.sandbox_uid(), &self.run) {
            (Some(recorded), _) => Uid::of(&*sandbox.sandbox) == recorded || self.came_for(sandbox),
            (None, Some(run)) => sandbox.pod_uid().as_ref() == Some(&run.target.pod_uid),
            (None, None) => false,
        }
    }

    /// The pod that it was started in, if the cache does not have it.
    pub(super) fn missing_pod(&self) -> Option<Key> {
        let is_missing = self.pod.is_none() && self.was_started() && !self.sandbox_deleted();
        self.sandbox.as_ref().filter(|_| is_missing)?.pod()
    }

    /// The pod that the cache has and no run could be started in: it may be gone.
    pub(super) fn unreachable_pod(&self) -> Option<Key> {
        let could_not = matches!(self.run.as_ref()?.ended.as_ref()?.end, RunEnd::NotStarted(_));
        self.pod.as_deref().filter(|_| could_not).map(Key::of)
    }

    /// Takes over what the API server has of its pod.
    pub(super) fn confirm_pod(&mut self, found: Option<Pod>) {
        let Some(sandbox) = &self.sandbox else { return };
        let (owner, held, is_released) = (Uid::of(&*sandbox.sandbox), sandbox.pod_uid(), sandbox.is_released());
        // One whose owner somebody took off it is still the Sandbox's, which puts that back.
        let mut found = found.filter(|pod| held == Some(Uid::of(pod)));
        if let Some((found, seen)) =
            found.as_mut().zip(self.pod.as_deref()).filter(|(pod, seen)| Uid::of(&**pod) == Uid::of(*seen))
        {
            found.last_end.clone_from(&seen.last_end);
        }
        match found {
            Some(pod) if pod.is_given_away(&owner) => self.given_away = Some(pod),
            found => self.pod = found.filter(|_| !is_released).map(Arc::new),
        }
    }

    /// What keeps its run from being started, or from being heard of, in words.
    pub(super) fn obstacle(&self) -> Option<&str> {
        Some(self.run.as_ref()?.obstacle.as_ref()?.0.as_str())
    }

    /// Whether its pod has the agent, as far as that is known.
    pub(super) fn has_agent(&self) -> bool {
        self.pod.as_ref().is_some_and(|pod| pod.mode() == ExecutorMode::Agent)
    }

    /// Whether the status names another step than the one in progress.
    pub(super) fn shows_another_step(&self, run: &RunView) -> bool {
        let current = run.steps.checked_sub(1).and_then(|i| self.row.task.spec.steps.get(i)).map(|step| &step.name);
        current.is_some() && current != self.row.status().and_then(|s| s.step.as_ref())
    }

    /// How long it is kept once it has finished. That of a setup goes with its Sandbox.
    pub(super) fn ttl(&self) -> Option<Duration> {
        let own = self.row.task.spec.ttl_seconds_after_finished;
        let default = self.finished_ttl.filter(|_| self.row.setup_of.is_none());
        own.map(|s| Duration::from_secs(u64::try_from(s).unwrap_or(0))).or(default)
    }

    /// The end on record, where its run has ended too and is still known: the answer to the call that wrote it never came.
    pub(super) fn ended_unheard(&self) -> Option<&TaskStatus> {
        let has_ended = self.run.as_ref().is_some_and(|run| run.ended.is_some());
        self.row.status().filter(|_| has_ended && self.row.state().is_finished())
    }

    /// Whether the spec has changed since its status was written.
    pub(super) fn is_behind(&self) -> bool {
        let generation = self.row.task.metadata.generation;
        self.row.status().is_some_and(|s| s.observed_generation != generation)
    }

    /// How many bytes its steps will take that are not in memory: those that the cache leaves out, and what its Sandbox's variables add
    /// to each, where that is much.
    pub(super) fn carried(&self) -> usize {
        let env = self.sandbox_object().map_or(0, |sandbox| sandbox.spec.env_size());
        let added = env.saturating_mul(self.row.task.spec.steps.len());
        self.row.left_out.saturating_add(if added > ADDED_ENV_FREE { added } else { 0 })
    }

    /// Whether a step may have been started.
    pub(super) fn was_started(&self) -> bool {
        self.run.is_some() || self.row.status().is_some_and(|s| s.started_at.is_some())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_task_is_of_the_sandbox_on_record_or_of_that_whose_pod_it_runs_in() {
        let sandbox = |is_going: bool| {
            let object = json!({
                "apiVersion": "arl.infra.io/v1alpha1", "kind": "Sandbox",
                "metadata": { "name": "s", "uid": "this", "deletionTimestamp": is_going.then_some("2026-01-01T00:00:00Z") },
                "spec": { "poolRef": "pool" }, "status": { "phase": "Ready", "podName": "p", "podUID": "its" },
            });
            SandboxRow::new(serde_json::from_value(object).unwrap())
        };
        for (recorded, pod, stays, goes) in [
            (None, None, true, false),
            (None, Some("its"), true, true),
            (None, Some("another"), false, false),
            (Some("this"), None, true, true),
            (Some("this"), Some("its"), true, true),
            (Some("another"), None, true, false),
            (Some("another"), Some("another"), true, false),
        ] {
            let uid = |uid: &str| Uid(uid.into());
            let may_be = |is_going| may_be_of(recorded.map(uid), pod.map(uid).as_ref(), &sandbox(is_going));
            assert_eq!((may_be(false), may_be(true)), (stays, goes), "{recorded:?} {pod:?}");
        }
    }
}
