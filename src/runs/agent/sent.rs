//! A run as it is sent to a pod.

use std::time::Duration;

use arl_agent::{
    frame::{self, TO_AGENT_MAX},
    message::{self, RunId, Start, ToAgent, Variable},
};
use arl_crds::{Action, Step};
use jiff::Timestamp;
use tokio_tungstenite::tungstenite::Bytes;

use crate::{
    pod::Target,
    runs::{Request, Room},
};

/// What is kept of a run that is sent to a pod.
pub(super) struct Sent {
    pub(super) id: RunId,
    pub(super) target: Target,
    pub(super) steps: usize,
    pub(super) timeout: Duration,
    /// Since when it is on record as started.
    pub(super) started_at: Option<Timestamp>,
}

impl Sent {
    /// Nothing where the Task's uid cannot be a run's.
    pub(super) fn of(request: &Request) -> Option<Self> {
        let id = RunId::new(&request.task_uid.0)?;
        let Request { target, steps, timeout, started_at, created, .. } = request;
        // No Task is started before it is there.
        let started_at = started_at.map(|at| created.map_or(at, |created| at.max(created)));
        Some(Self { id, target: target.clone(), steps: steps.len(), timeout: *timeout, started_at })
    }
}

/// A frame, and the room that it takes in memory for as long as anybody has it.
struct Held {
    frame: Vec<u8>,
    _room: Option<Room>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

/// The frame that asks for a run. The agent closes a stream on which a longer one comes.
pub(super) fn start(request: Request, run: &RunId) -> Result<Bytes, String> {
    let start = ToAgent::Start(Start {
        run: run.clone(),
        task: request.task.name,
        timeout_ms: u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX),
        steps: request.steps.iter().map(step).collect(),
        created: request.created.and_then(|at| u64::try_from(at.as_second()).ok()),
    });
    let frame = frame::encode(&start);
    if frame.len() > TO_AGENT_MAX {
        return Err(format!(
            "the steps, each with the variables in spec.env of the Sandbox, have {} bytes, and the agent takes {TO_AGENT_MAX}; \
             split the Task, or use a Sandbox with fewer variables",
            frame.len()
        ));
    }
    Ok(Bytes::from_owner(Held { frame, _room: request.room }))
}

fn step(step: &Step) -> message::Step {
    let action = match step.action() {
        Ok(Action::Command(command)) => message::Action::Command(command.to_vec()),
        Ok(Action::FilePatch { path, content }) => {
            message::Action::File { path: path.to_owned(), content: content.to_owned() }
        }
        // Refused before a run begins; the agent refuses an empty command as well.
        Err(_) => message::Action::Command(Vec::new()),
    };
    let variable = |(name, value): (&String, &String)| Variable { name: name.clone(), value: value.clone() };
    message::Step { action, work_dir: step.work_dir.clone(), env: step.env.iter().map(variable).collect() }
}

#[cfg(test)]
mod tests {
    use arl_crds::ExecutorMode;
    use serde_json::json;

    use super::*;
    use crate::object::{Key, Uid};

    /// A spec near its limit, of a Sandbox whose variables are near theirs: the API server counts characters, of four bytes.
    #[test]
    fn a_run_that_is_more_than_the_agent_takes_is_refused_in_words() {
        let start = |spec: usize, value: usize| {
            let step = json!({ "name": "a", "type": "Command", "command": ["true", "x".repeat(spec / 64)] });
            let mut step: Step = serde_json::from_value(step).unwrap();
            let value = "\u{1f980}".repeat(value);
            let sandbox_env = (0..32).map(|number| (format!("V{number}"), value.clone())).collect();
            step.add_env(&sandbox_env);
            let target = Target {
                pod: Key::new("ns", "pod"),
                pod_uid: Uid("pod".into()),
                container: "c".into(),
                container_id: "id".into(),
                mode: ExecutorMode::Agent,
            };
            let request = Request {
                task: Key::new("ns", "t"),
                task_uid: Uid("t".into()),
                created: None,
                steps: vec![step; 64],
                sandbox_env,
                room: None,
                timeout: Duration::from_secs(1),
                target,
                started_at: None,
            };
            super::start(request, &RunId::new("t").unwrap()).map(|frame| frame.len())
        };
        assert!(start(1000 * 1024, 16).is_ok());
        let refused = start(1048 * 1024, 126).unwrap_err();
        assert!(refused.contains("spec.env of the Sandbox"), "{refused}");
    }
}
