//! Makes Tasks.

use arl_crds::{Task, json_size};
use kube::api::PostParams;

use super::{Cause, Effects, Failure, Haste, permits::weight};
use crate::object::Key;

const NOT_THE_SAME: &str = "a Task of that name is there, and is not what was to be made: delete it";

impl Effects {
    /// Makes a Task, whose name is nobody else's; one that is there already was made before.
    pub async fn create_task(&self, task: &Task) -> Result<Task, Failure> {
        let (verb, kind, key, api) = ("create", "Task", Key::of(task), self.objects(&Key::of(task)));
        let (none, weight) = (PostParams::default(), weight(json_size(&task.spec)));
        let failure = match self.call_in(Haste::Awaited, weight, verb, kind, &key, api.create(&none, task)).await {
            Err(failure) if failure.exists() => failure,
            made => return made,
        };
        let is_it = |found: &Task| (&found.spec.steps, &found.spec.timeout) == (&task.spec.steps, &task.spec.timeout);
        match self.read::<Task>(&key).await? {
            Some(found) if is_it(&found) => Ok(found),
            Some(_) => Err(failure.advising(NOT_THE_SAME)),
            None => Err(Failure::new(verb, kind, &key, Cause::Unconfirmed(format!("Task {}", key.name)))),
        }
    }
}
