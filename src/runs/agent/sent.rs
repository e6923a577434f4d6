//! A run as it is sent to a pod.

use std::time::Duration;

use arl_agent::{
    frame,
    message::{self, RunId, Start, ToAgent, Variable},
};
use arl_crds::{Action, Step};
use tokio_tungstenite::tungstenite::Bytes;

use crate::{pod::Target, runs::Request};

/// A run as it is sent to a pod. The steps, with the contents of their files, are only kept until the agent has them.
pub(super) struct Sent {
    pub(super) id: RunId,
    pub(super) target: Target,
    pub(super) steps: usize,
    pub(super) timeout: Duration,
    /// What starts it; absent once it has been started, so that it is only followed.
    pub(super) start: Option<Bytes>,
}

impl Sent {
    pub(super) fn new(request: Request) -> Option<Self> {
        let id = RunId::new(&request.task_uid.0)?;
        let start = (!request.is_started).then(|| frame::encode(&start(&request, &id)).into());
        Some(Self { id, target: request.target, steps: request.steps.len(), timeout: request.timeout, start })
    }

    pub(super) fn is_started(&self) -> bool {
        self.start.is_none()
    }
}

/// Asks for a run.
fn start(request: &Request, run: &RunId) -> ToAgent {
    ToAgent::Start(Start {
        run: run.clone(),
        task: request.task.name.clone(),
        timeout_ms: u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX),
        steps: request.steps.iter().map(step).collect(),
        created: request.created.and_then(|at| u64::try_from(at.as_second()).ok()),
    })
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
