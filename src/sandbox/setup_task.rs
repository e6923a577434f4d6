//! Makes the Task that runs the setup of a Sandbox.

use std::sync::Arc;

use arl_crds::{Sandbox, Task, TaskSpec, setup_task};
use kube::Resource;

use super::{
    Sandboxes,
    observe::Observed,
    plan::{self, Decision, Plan},
};
use crate::{cache::TaskRow, effects::Failure, object::Uid};

impl Sandboxes {
    /// Makes the Task of the setup where it is to be made, and decides on what came of that; nothing where the Sandbox is not any more what
    /// that was decided on, of which there will be a watch event.
    pub(super) async fn make_setup(&self, observed: &mut Observed, plan: Plan) -> Result<Option<Plan>, Failure> {
        if plan.decision != Decision::MakeSetup {
            return Ok(Some(plan));
        }
        // A cache that is late does not know of one that was made and is gone, and has the steps left out.
        let found = self.effects.read::<Sandbox>(&observed.key()).await?.filter(|found| is_as_decided(observed, found));
        let Some(task) = found.as_ref().and_then(task) else { return Ok(None) };
        let made = self.effects.create_task(&task).await?;
        let row = TaskRow::new(made.clone());
        self.watch.learn::<TaskRow>(made);
        observed.setup_task = Some(Arc::new(row));
        Ok(Some(plan::plan(observed, self.clock.now())))
    }
}

fn is_as_decided(observed: &Observed, found: &Sandbox) -> bool {
    let status = found.status.as_ref();
    Uid::of(found) == observed.uid()
        && found.metadata.deletion_timestamp.is_none()
        && status.is_some_and(|s| s.pod_uid.clone().map(Uid) == observed.row.pod_uid() && s.setup.is_none())
}

/// Owned by the Sandbox, so that it goes with it.
fn task(sandbox: &Sandbox) -> Option<Task> {
    let (setup, owner) = (sandbox.spec.setup.clone()?, sandbox.controller_owner_ref(&())?);
    let spec = TaskSpec {
        sandbox_ref: owner.name.clone(),
        timeout: setup.timeout,
        steps: setup.steps,
        cancel: false,
        ttl_seconds_after_finished: None,
    };
    let mut task = Task::new(&setup_task(&owner.name, &owner.uid), spec);
    task.metadata.namespace.clone_from(&sandbox.metadata.namespace);
    task.metadata.owner_references = Some(vec![owner]);
    Some(task)
}
