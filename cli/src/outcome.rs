//! Tasks as they go on and end.

use std::time::Duration;

use arl_agent::message::live::{Output, printed::Printed};
use arl_crds::{StepState, Task, TaskState, TaskStatus, condition};
use tokio::time::timeout;

use crate::{
    connect::Connection,
    failure::{Failure, TIMED_OUT},
    print,
    step_output::{Position, StepOutput},
    versions::Versions,
};

/// How long the last piece may take once the Task has finished.
const REST_MAX: Duration = Duration::from_secs(1);

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
    printed: usize,
    /// Only of this step.
    step: Option<String>,
    /// With the step's name before each line.
    has_prefix: bool,
    /// As far as they came live.
    live: Position,
    /// Whether the last piece that came live ended in the middle of a line.
    is_open: bool,
}

impl Outputs {
    /// All of them, or only those of a step.
    pub fn of(step: Option<String>, has_prefix: bool) -> Self {
        Self { step, has_prefix, ..Self::default() }
    }

    /// None at all.
    pub fn silent() -> Self {
        Self { step: Some(String::new()), ..Self::default() }
    }

    /// Prints those of the steps that have ended since.
    pub fn print(&mut self, status: &TaskStatus) -> Result<(), Failure> {
        let has_ended = |state| matches!(state, StepState::Succeeded | StepState::Failed | StepState::Skipped);
        let ended = status.steps.iter().take_while(|step| has_ended(step.state)).count();
        for (index, step) in status.steps.iter().enumerate().take(ended).skip(self.printed) {
            if self.is_wanted(&step.name) {
                let [out, err] =
                    [(Output::Stdout, &step.stdout), (Output::Stderr, &step.stderr)].map(|(output, text)| {
                        self.lines(&step.name, self.live.rest(index, output, text.as_deref().unwrap_or_default()))
                    });
                print::bytes(out.as_bytes())?;
                print::raw(err.as_bytes());
            }
        }
        self.printed = self.printed.max(ended);
        Ok(())
    }

    /// Prints what came live.
    fn piece(&mut self, names: &[String], piece: &Printed) -> Result<(), Failure> {
        let missing = self.live.take(piece);
        let name = names.get(usize::try_from(piece.step).unwrap_or(usize::MAX)).map_or("", String::as_str);
        if !self.is_wanted(name) {
            return Ok(());
        }
        if missing > 0 {
            print::note(format!("[{missing} bytes are left out]"));
        }
        let prefixed = self.has_prefix.then(|| {
            let text = String::from_utf8_lossy(&piece.data);
            let lines = self.lines(name, &text);
            let start = format!("[{name}] ");
            if self.is_open { lines.strip_prefix(&start).unwrap_or(&lines).to_owned() } else { lines }
        });
        self.is_open = piece.data.last().is_some_and(|byte| *byte != b'\n');
        let data = prefixed.as_ref().map_or(piece.data.as_slice(), |text| text.as_bytes());
        match piece.output {
            Output::Stdout => print::bytes(data),
            Output::Stderr => {
                print::raw(data);
                Ok(())
            }
        }
    }

    fn is_wanted(&self, step: &str) -> bool {
        self.step.as_ref().is_none_or(|wanted| *wanted == step)
    }

    fn lines(&self, step: &str, output: &str) -> String {
        if !self.has_prefix {
            return output.to_owned();
        }
        output.split_inclusive('\n').flat_map(|line| ["[", step, "] ", line]).collect()
    }
}

/// Prints the outputs of a Task's steps until the Task has finished: live from its pod, as far as that can be, and what is left from its
/// status.
pub async fn follow(connection: &Connection, name: &str, mut outputs: Outputs) -> Result<TaskStatus, Failure> {
    let mut versions = Versions::<Task>::of(connection, name);
    let mut live = Live::Unopened;
    let (mut names, mut was_there) = (Vec::new(), false);
    loop {
        let version = tokio::select! {
            version = versions.next() => version?,
            piece = live.next() => {
                match piece {
                    Ok(Some(piece)) => outputs.piece(&names, &piece)?,
                    // What it has not told is in the status.
                    Ok(None) | Err(_) => live = Live::Over,
                }
                continue;
            }
        };
        let Some(task) = version else {
            let place = &connection.namespace;
            return Err(Failure::ours(if was_there {
                format!("Task {name} was deleted before it had finished")
            } else {
                format!("there is no Task {name} in namespace {place}")
            }));
        };
        was_there = true;
        let status = task.status.clone().unwrap_or_default();
        if status.state.is_some_and(TaskState::is_finished) {
            // The rest of it is on its way.
            if let Live::Open(output) = &mut live {
                while let Ok(Ok(Some(piece))) = timeout(REST_MAX, output.next()).await {
                    outputs.piece(&names, &piece)?;
                }
            }
            outputs.print(&status)?;
            return Ok(status);
        }
        if matches!(live, Live::Unopened)
            && status.state == Some(TaskState::Running)
            && outputs.step.as_deref() != Some("")
        {
            names = task.spec.steps.iter().map(|step| step.name.clone()).collect();
            live = match StepOutput::open(connection, &task).await {
                Ok(Some(output)) => Live::Open(output),
                Ok(None) => Live::Over,
                Err(failure) => {
                    print::note(format!("outputs come when a step has ended: {}", failure.message));
                    Live::Over
                }
            };
        }
        if matches!(live, Live::Over | Live::Unopened) {
            outputs.print(&status)?;
        }
    }
}

/// The way to a pod's outputs.
enum Live {
    Unopened,
    Open(StepOutput),
    Over,
}

impl Live {
    async fn next(&mut self) -> Result<Option<Printed>, Failure> {
        match self {
            Self::Open(output) => output.next().await,
            Self::Unopened | Self::Over => std::future::pending().await,
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
        assert_eq!(prefixed.lines("a", "x\ny"), "[a] x\n[a] y");
        assert_eq!(Outputs::default().lines("a", "x"), "x");
    }
}
