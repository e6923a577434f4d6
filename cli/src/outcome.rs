//! Tasks as they go on and end.

use std::time::Duration;

use arl_agent::message::live::{Output, printed::Printed};
use arl_crds::{StepState, Task, TaskState, TaskStatus, condition};
use futures::{FutureExt, future::BoxFuture};
use tokio::time::timeout;

use crate::{
    connect::Connection,
    failure::{Failure, TIMED_OUT},
    progress::Delay,
    step_output::{Position, StepOutput},
    versions::Versions,
};

/// How long the last piece may take once the Task has finished.
const REST_MAX: Duration = Duration::from_secs(1);
/// Of a command that said nothing, since it never ran.
const NOT_STARTED: [u8; 2] = [126, 127];

/// The exit code of a Task's command. A failure has what a code alone does not say.
pub fn outcome(status: &TaskStatus) -> Result<u8, Failure> {
    let succeeded = condition::find(&status.conditions, "Succeeded");
    let reason = succeeded.map_or("", |condition| condition.reason.as_str());
    let message = succeeded.map_or("", |condition| condition.message.as_str());
    // The code is of the last command, which may have ended well: then it was no command that failed.
    let failed = status.exit_code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
    match (status.state, reason, failed) {
        (Some(TaskState::Succeeded), ..) => Ok(0),
        (_, "StepFailed", Some(code)) if status.steps.len() <= 1 && !NOT_STARTED.contains(&code) => Ok(code),
        (_, "StepFailed" | "OOMKilled", Some(code)) => Err(Failure { code, ..Failure::ours(message) }),
        (_, "TimedOut", _) => Err(Failure { code: TIMED_OUT, ..Failure::ours(message) }),
        _ => Err(Failure::ours(format!("the Task failed ({reason}): {message}"))),
    }
}

/// Who gets the outputs of a Task's steps.
pub trait Sink: Send {
    /// Whether any are wanted.
    fn is_listening(&self) -> bool {
        true
    }

    /// Takes what a step printed.
    fn put(&mut self, step: &str, output: Output, data: &[u8]) -> impl Future<Output = Result<(), Failure>> + Send;

    /// So many bytes are missing before what comes next of it.
    fn missing(&mut self, step: &str, bytes: u64) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Outputs of steps, none of them twice.
#[derive(Debug)]
pub struct Outputs<S> {
    /// So many steps have been told to their end.
    told: usize,
    /// As far as they came live.
    live: Position,
    sink: S,
}

impl<S: Sink> Outputs<S> {
    /// For this one.
    pub fn to(sink: S) -> Self {
        Self { told: 0, live: Position::default(), sink }
    }

    /// Tells those of the steps that have ended since.
    pub async fn ended(&mut self, status: &TaskStatus) -> Result<(), Failure> {
        let has_ended = |state| matches!(state, StepState::Succeeded | StepState::Failed | StepState::Skipped);
        let ended = status.steps.iter().take_while(|step| has_ended(step.state)).count();
        for (index, step) in status.steps.iter().enumerate().take(ended).skip(self.told) {
            for (output, text) in [(Output::Stdout, &step.stdout), (Output::Stderr, &step.stderr)] {
                let (recorded, is_cut) = (text.as_deref().unwrap_or_default(), step.truncated == Some(true));
                let (missing, rest) = self.live.rest(index, output, recorded, is_cut);
                if missing > 0 {
                    self.sink.missing(&step.name, missing).await?;
                }
                if !rest.is_empty() {
                    self.sink.put(&step.name, output, rest).await?;
                }
            }
        }
        self.told = self.told.max(ended);
        Ok(())
    }

    /// Tells what came live.
    async fn piece(&mut self, names: &[String], piece: &Printed) -> Result<(), Failure> {
        let missing = self.live.take(piece);
        let name = names.get(usize::try_from(piece.step).unwrap_or(usize::MAX)).map_or("", String::as_str);
        if missing > 0 {
            self.sink.missing(name, missing).await?;
        }
        self.sink.put(name, piece.output, &piece.data).await
    }
}

/// Tells the outputs of a Task's steps until the Task has finished: live from its pod, as far as that can be, and what is left from its
/// status.
pub async fn follow<S: Sink>(
    connection: &Connection,
    name: &str,
    mut outputs: Outputs<S>,
) -> Result<TaskStatus, Failure> {
    let mut versions = Versions::<Task>::of(connection, name);
    let mut live = Live::Unopened;
    let (mut names, mut was_there) = (Vec::new(), false);
    let (mut delay, mut loss) = (Delay::from_now(), Delay::from_now());
    loop {
        let version = tokio::select! {
            version = versions.next() => version?,
            () = delay.tell() => continue,
            () = loss.tell() => continue,
            piece = live.next() => {
                match piece {
                    Ok(Some(piece)) => outputs.piece(&names, &piece).await?,
                    // What it has not told is in the status.
                    Ok(None) => live = Live::Over,
                    // Where the Task ends meanwhile too, nothing is lost.
                    Err(failure) => {
                        live = Live::Over;
                        loss = Delay::because(format!("outputs come when a step has ended: {}", failure.message));
                    }
                }
                continue;
            }
        };
        let Some(task) = version else {
            return Err(if was_there {
                Failure::ours(format!("Task {name} was deleted before it had finished"))
            } else {
                connection.missing::<Task>(name)
            });
        };
        was_there = true;
        delay.of(&task);
        let status = task.status.clone().unwrap_or_default();
        if status.state.is_some_and(TaskState::is_finished) {
            // The rest of it is on its way.
            if let Live::Open(output) = &mut live {
                while let Ok(Ok(Some(piece))) = timeout(REST_MAX, output.next()).await {
                    outputs.piece(&names, &piece).await?;
                }
            }
            outputs.ended(&status).await?;
            return Ok(status);
        }
        if matches!(live, Live::Unopened) && status.state == Some(TaskState::Running) && outputs.sink.is_listening() {
            names = task.spec.steps.iter().map(|step| step.name.clone()).collect();
            live = Live::opening(connection.clone(), task);
        }
        if matches!(live, Live::Over | Live::Unopened) {
            outputs.ended(&status).await?;
        }
    }
}

/// The way to a pod's outputs.
enum Live {
    Unopened,
    Opening(BoxFuture<'static, Result<Option<StepOutput>, Failure>>),
    Open(StepOutput),
    Over,
}

impl Live {
    fn opening(connection: Connection, task: Task) -> Self {
        Self::Opening(async move { StepOutput::open(&connection, &task).await }.boxed())
    }

    async fn next(&mut self) -> Result<Option<Printed>, Failure> {
        if let Self::Opening(opening) = self {
            let Some(output) = opening.await? else { return Ok(None) };
            *self = Self::Open(output);
        }
        match self {
            Self::Open(output) => output.next().await,
            _ => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_task_ends_as_its_command_did() {
        let of_steps = |steps: &[Option<i32>], state: &str, reason: &str, code: Option<i32>| {
            let condition = json!({ "type": "Succeeded", "status": "False", "reason": reason, "message": "why",
                "lastTransitionTime": "2026-01-01T00:00:00Z" });
            let steps: Vec<_> =
                steps.iter().map(|code| json!({ "name": "s", "state": "Failed", "exitCode": code })).collect();
            let status = json!({ "state": state, "exitCode": code, "conditions": [condition], "steps": steps });
            outcome(&serde_json::from_value(status).unwrap()).map_err(|failure| (failure.code, failure.message))
        };
        let of = |state: &str, reason: &str, code| of_steps(&[code], state, reason, code);
        assert_eq!(of("Succeeded", "Succeeded", Some(0)), Ok(0));
        assert_eq!(of("Failed", "StepFailed", Some(7)), Ok(7));
        assert_eq!(of("Failed", "StepFailed", Some(127)), Err((127, "why".into())), "it is not there");
        assert_eq!(of("Failed", "OOMKilled", Some(137)), Err((137, "why".into())));
        assert_eq!(of_steps(&[Some(0), Some(7)], "Failed", "StepFailed", Some(7)), Err((7, "why".into())), "which one");
        assert_eq!(of("Failed", "TimedOut", Some(124)), Err((124, "why".into())));
        for (reason, code) in
            [("StepFailed", Some(0)), ("OOMKilled", Some(0)), ("StepFailed", None), ("StepFailed", Some(256))]
        {
            let expected = Err((125, format!("the Task failed ({reason}): why")));
            assert_eq!(of_steps(&[Some(0), None], "Failed", reason, code), expected, "{code:?} is no failed command's");
        }
        assert_eq!(of("Failed", "PodLost", None), Err((125, "the Task failed (PodLost): why".into())));
    }
}
