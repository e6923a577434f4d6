//! What the steps of a Task print, straight from its pod while they run.

use arl_agent::{
    BINARY, DIRECTORY,
    frame::{FROM_AGENT_MAX, Frames},
    message::live::{Output, printed::Printed},
};
use arl_client::stream::with_protocol_v4;
use arl_crds::{Sandbox, Task};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{AttachParams, AttachedProcess},
};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{connect::Connection, failure::Failure};

/// What is read at once.
const READ: usize = 64 * 1024;
/// Of what the program in the pod says before it ends.
const STDERR_MAX: usize = 4096;

/// Pieces of outputs, in the order in which they were printed; on each of a step's two outputs none twice.
pub struct StepOutput {
    process: AttachedProcess,
    out: Box<dyn AsyncRead + Send + Unpin>,
    frames: Frames,
    buffer: Vec<u8>,
}

impl StepOutput {
    /// Of a Task that runs; nothing where its pod has no agent, or is not known yet.
    pub async fn open(connection: &Connection, task: &Task) -> Result<Option<Self>, Failure> {
        let sandbox = connection.api::<Sandbox>().get_opt(&task.spec.sandbox_ref).await;
        let sandbox = sandbox.map_err(|error| Failure::api("get the Task's Sandbox", &error))?;
        let status = sandbox.and_then(|sandbox| sandbox.status).unwrap_or_default();
        let (Some(pod), Some(run)) = (status.pod_name, task.metadata.uid.clone()) else { return Ok(None) };
        let pods: Api<Pod> = Api::namespaced(with_protocol_v4(connection.kube.clone()), &connection.namespace);
        let parameters =
            AttachParams { container: status.container, ..AttachParams::default().stdin(true).stderr(true) };
        let command = [format!("{DIRECTORY}/{BINARY}"), "output".to_owned(), DIRECTORY.to_owned(), run];
        let process = pods.exec(&pod, command, &parameters).await;
        let mut process = process.map_err(|error| Failure::api(&format!("exec into pod {pod}"), &error))?;
        let Some(out) = process.stdout() else { return Ok(None) };
        let (frames, buffer) = (Frames::new(FROM_AGENT_MAX), vec![0; READ]);
        Ok(Some(Self { process, out: Box::new(out), frames, buffer }))
    }

    /// The next piece; none when the run has ended and nothing is left.
    pub async fn next(&mut self) -> Result<Option<Printed>, Failure> {
        let failed =
            |why: &dyn std::fmt::Display| Failure::ours(format!("the pod no longer tells what the step prints: {why}"));
        loop {
            if let Some(piece) = self.frames.take().map_err(|error| failed(&format!("{error:?}")))? {
                return Ok(Some(piece));
            }
            let count = self.out.read(&mut self.buffer).await.map_err(|error| failed(&error))?;
            if count == 0 {
                return self.end().await.map_or(Ok(None), |why| Err(failed(&why)));
            }
            self.frames.push(&self.buffer[..count]);
        }
    }

    /// Why it ended before the run.
    async fn end(&mut self) -> Option<String> {
        let status = match self.process.take_status() {
            Some(status) => status.await,
            None => None,
        };
        if status.as_ref().is_some_and(|status| status.status.as_deref() == Some("Success")) {
            return None;
        }
        let mut message = Vec::new();
        if let Some(stderr) = self.process.stderr() {
            let _ = stderr.take(STDERR_MAX as u64).read_to_end(&mut message).await;
        }
        let said = String::from_utf8_lossy(&message).trim().to_owned();
        Some(if said.is_empty() { "its end of the stream was closed".to_owned() } else { said })
    }
}

/// How much of the two outputs of the steps has been printed.
#[derive(Debug, Default)]
pub struct Position {
    step: u32,
    printed: [u64; 2],
}

impl Position {
    /// Takes a piece; how many bytes are missing before it.
    pub fn take(&mut self, piece: &Printed) -> u64 {
        if piece.step != self.step {
            (self.step, self.printed) = (piece.step, [0, 0]);
        }
        let printed = &mut self.printed[usize::from(piece.output == Output::Stderr)];
        let missing = piece.offset.saturating_sub(*printed);
        *printed = piece.offset + piece.data.len() as u64;
        missing
    }

    /// What of a step's recorded output has not been printed.
    pub fn rest<'a>(&self, step: usize, output: Output, recorded: &'a str) -> &'a str {
        match u32::try_from(step).unwrap_or(u32::MAX).cmp(&self.step) {
            std::cmp::Ordering::Less => "",
            std::cmp::Ordering::Greater => recorded,
            std::cmp::Ordering::Equal => {
                let printed =
                    usize::try_from(self.printed[usize::from(output == Output::Stderr)]).unwrap_or(usize::MAX);
                recorded.get(printed.min(recorded.len())..).unwrap_or_default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_printed_live_is_not_printed_again() {
        let mut position = Position::default();
        assert_eq!(position.rest(0, Output::Stdout, "abc"), "abc");
        let piece = |step, offset, data: &str| Printed { step, output: Output::Stdout, offset, data: data.into() };
        assert_eq!((position.take(&piece(1, 0, "ab")), position.take(&piece(1, 5, "f"))), (0, 3));
        assert_eq!(position.rest(0, Output::Stdout, "of the step before"), "");
        assert_eq!(position.rest(1, Output::Stdout, "abcdefgh"), "gh");
        assert_eq!(position.rest(1, Output::Stderr, "e"), "e");
        assert_eq!(position.rest(1, Output::Stdout, "ab"), "");
        assert_eq!(position.rest(2, Output::Stdout, "abc"), "abc");
    }
}
