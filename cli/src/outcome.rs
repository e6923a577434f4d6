//! Tasks as they go on and end.

use std::pin::pin;

use arl_crds::{StepState, Task, TaskState, TaskStatus, condition};
use futures::TryStreamExt;
use kube::runtime::watcher;

use crate::{
    connect::Connection,
    failure::{Failure, TIMED_OUT},
    print,
};

/// The exit code of a Task's command, or why there is none.
pub fn outcome(status: &TaskStatus) -> Result<u8, Failure> {
    let succeeded = condition::find(&status.conditions, "Succeeded");
    let reason = succeeded.map_or("", |condition| condition.reason.as_str());
    let message = succeeded.map_or("", |condition| condition.message.as_str());
    match (status.state, reason, status.exit_code) {
        (Some(TaskState::Succeeded), ..) => Ok(0),
        (_, "StepFailed" | "OOMKilled", Some(code)) => Ok(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
        (_, "TimedOut", _) => Err(Failure { code: TIMED_OUT, ..Failure::ours(message) }),
        _ => Err(Failure::ours(format!("the Task failed ({reason}): {message}"))),
    }
}

/// Outputs of steps that have not been printed.
#[derive(Debug, Default)]
pub struct Outputs {
    /// So many steps have been printed.
    pub printed: usize,
    /// Only of this step.
    pub step: Option<String>,
    /// With the step's name before each line.
    pub has_prefix: bool,
}

impl Outputs {
    /// Prints those of the steps that have ended since.
    pub fn print(&mut self, status: &TaskStatus) -> Result<(), Failure> {
        let has_ended = |state| matches!(state, StepState::Succeeded | StepState::Failed | StepState::Skipped);
        let ended = status.steps.iter().take_while(|step| has_ended(step.state)).count();
        for step in status.steps.iter().take(ended).skip(self.printed) {
            if self.step.as_ref().is_none_or(|wanted| *wanted == step.name) {
                print::data(&self.lines(&step.name, step.stdout.as_deref()))?;
                print::raw(&self.lines(&step.name, step.stderr.as_deref()));
            }
        }
        self.printed = self.printed.max(ended);
        Ok(())
    }

    fn lines(&self, step: &str, output: Option<&str>) -> String {
        let output = output.unwrap_or_default();
        if !self.has_prefix {
            return output.to_owned();
        }
        output.split_inclusive('\n').flat_map(|line| ["[", step, "] ", line]).collect()
    }
}

/// Prints the outputs of a Task's steps as they end, until the Task has.
pub async fn follow(connection: &Connection, name: &str, mut outputs: Outputs) -> Result<TaskStatus, Failure> {
    let mut versions = pin!(watcher::watch_object(connection.api::<Task>(), name));
    let mut was_there = false;
    loop {
        let version =
            versions.try_next().await.map_err(|error| Failure::ours(format!("cannot watch Task {name}: {error}")))?;
        match version.flatten() {
            Some(task) => {
                was_there = true;
                let status = task.status.unwrap_or_default();
                outputs.print(&status)?;
                if status.state.is_some_and(TaskState::is_finished) {
                    return Ok(status);
                }
            }
            None if was_there => return Err(Failure::ours(format!("Task {name} was deleted before it had finished"))),
            None => {
                return Err(Failure::ours(format!("there is no Task {name} in namespace {}", connection.namespace)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_task_ends_as_its_command_did() {
        let of = |state: &str, reason: &str, code: Option<i32>| {
            let condition = json!({ "type": "Succeeded", "status": "False", "reason": reason, "message": "why",
                "lastTransitionTime": "2026-01-01T00:00:00Z" });
            let status = json!({ "state": state, "exitCode": code, "conditions": [condition] });
            outcome(&serde_json::from_value(status).unwrap()).map_err(|failure| (failure.code, failure.message))
        };
        assert_eq!(of("Succeeded", "Succeeded", Some(0)), Ok(0));
        assert_eq!(of("Failed", "StepFailed", Some(7)), Ok(7));
        assert_eq!(of("Failed", "TimedOut", Some(124)), Err((124, "why".into())));
        assert_eq!(of("Failed", "PodLost", None), Err((125, "the Task failed (PodLost): why".into())));
    }

    #[test]
    fn a_line_can_have_its_step_before_it() {
        let prefixed = Outputs { has_prefix: true, ..Outputs::default() };
        assert_eq!(prefixed.lines("a", Some("x\ny")), "[a] x\n[a] y");
        assert_eq!(Outputs::default().lines("a", None), "");
    }
}
