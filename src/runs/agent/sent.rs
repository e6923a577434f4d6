//! A run as it is sent to a pod.

use std::time::Duration;

use arl_agent::{
    frame,
    message::{self, RunId, Start, ToAgent, Variable},
};
use arl_crds::{Action, Step};
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
}

impl Sent {
    /// Nothing where the Task's uid cannot be a run's.
    pub(super) fn of(request: &Request) -> Option<Self> {
        let id = RunId::new(&request.task_uid.0)?;
        Some(Self { id, target: request.target.clone(), steps: request.steps.len(), timeout: request.timeout })
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

/// The frame that asks for a run.
pub(super) fn start(request: Request, run: &RunId) -> Bytes {
    let start = ToAgent::Start(Start {
        run: run.clone(),
        task: request.task.name,
        timeout_ms: u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX),
        steps: request.steps.iter().map(step).collect(),
        created: request.created.and_then(|at| u64::try_from(at.as_second()).ok()),
    });
    Bytes::from_owner(Held { frame: frame::encode(&start), _room: request.room })
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
