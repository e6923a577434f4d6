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
    printed: [Extent; 2],
}

/// How much of one output has been printed.
#[derive(Debug, Default)]
struct Extent {
    /// As the pod counts it.
    bytes: u64,
    /// As its record counts it, which is text: in it each sequence that is no character is a U+FFFD, and longer.
    text: usize,
    /// The beginning of a character whose end has not come; not in `text`.
    unfinished: Vec<u8>,
}

impl Extent {
    fn take(&mut self, piece: &Printed) -> u64 {
        let missing = piece.offset.saturating_sub(self.bytes);
        self.bytes = piece.offset.saturating_add(piece.data.len() as u64);
        let mut bytes = std::mem::take(&mut self.unfinished);
        if missing > 0 {
            let missing = usize::try_from(missing).unwrap_or(usize::MAX);
            self.text = self.text.saturating_add(String::from_utf8_lossy(&bytes).len()).saturating_add(missing);
            bytes.clear();
        }
        bytes.extend_from_slice(&piece.data);
        self.unfinished = bytes.split_off(whole(&bytes));
        self.text = self.text.saturating_add(String::from_utf8_lossy(&bytes).len());
        missing
    }

    /// The bytes of an unfinished character have been printed, so that the rest of it completes them.
    fn rest<'a>(&self, recorded: &'a str) -> &'a [u8] {
        let rest = recorded.get(self.text.min(recorded.len())..).unwrap_or_default();
        if self.unfinished.is_empty() {
            return rest.as_bytes();
        }
        let unfinished = rest.as_bytes().strip_prefix(self.unfinished.as_slice());
        unfinished.unwrap_or_else(|| rest.strip_prefix(char::REPLACEMENT_CHARACTER).unwrap_or(rest).as_bytes())
    }
}

impl Position {
    /// Takes a piece; how many bytes are missing before it.
    pub fn take(&mut self, piece: &Printed) -> u64 {
        if piece.step != self.step {
            (self.step, self.printed) = (piece.step, <[Extent; 2]>::default());
        }
        self.printed[usize::from(piece.output == Output::Stderr)].take(piece)
    }

    /// What of a step's recorded output has not been printed.
    pub fn rest<'a>(&self, step: usize, output: Output, recorded: &'a str) -> &'a [u8] {
        match u32::try_from(step).unwrap_or(u32::MAX).cmp(&self.step) {
            std::cmp::Ordering::Less => b"",
            std::cmp::Ordering::Greater => recorded.as_bytes(),
            std::cmp::Ordering::Equal => self.printed[usize::from(output == Output::Stderr)].rest(recorded),
        }
    }
}

/// Where a character begins whose end is not there; the length where there is none.
pub fn whole(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last().map_or(&b""[..], |chunk| chunk.invalid());
    let can_go_on = std::str::from_utf8(last).is_err_and(|error| error.error_len().is_none());
    if can_go_on { bytes.len() - last.len() } else { bytes.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_printed_live_is_not_printed_again() {
        let mut position = Position::default();
        assert_eq!(position.rest(0, Output::Stdout, "abc"), b"abc");
        let piece = |step, offset, data: &str| Printed { step, output: Output::Stdout, offset, data: data.into() };
        assert_eq!((position.take(&piece(1, 0, "ab")), position.take(&piece(1, 5, "f"))), (0, 3));
        assert_eq!(position.rest(0, Output::Stdout, "of the step before"), b"");
        assert_eq!(position.rest(1, Output::Stdout, "abcdefgh"), b"gh");
        assert_eq!(position.rest(1, Output::Stderr, "e"), b"e");
        assert_eq!(position.rest(1, Output::Stdout, "ab"), b"");
        assert_eq!(position.rest(2, Output::Stdout, "abc"), b"abc");
    }

    /// What came live, in pieces; what is printed in all; what of the record is left.
    type Case = (&'static str, &'static [&'static [u8]], &'static [u8], &'static [u8]);

    #[test]
    fn what_is_no_text_counts_as_it_is_recorded() {
        let cases: [Case; 12] = [
            ("all of it is text", &[b"a\xe2\x82\xac"], b"a\xe2\x82\xacb", b"b"),
            ("an invalid byte", &[b"a\xffb"], b"a\xffb", b""),
            ("invalid bytes, and more", &[b"\xff\xfe\x80"], b"\xff\xfe\x80end", b"end"),
            ("a character cut over two pieces", &[b"a\xe2\x82", b"\xac"], b"a\xe2\x82\xacb", b"b"),
            ("a character cut over four pieces", &[b"\xf0", b"\x9f", b"\x98", b"\x80"], b"\xf0\x9f\x98\x80b", b"b"),
            ("a character that is broken off by the next piece", &[b"\xe2\x82", b"a"], b"\xe2\x82ab", b"b"),
            ("one broken off by a lead byte", &[b"\xe2\x82", b"\xe2", b"\x82\xac"], b"\xe2\x82\xe2\x82\xacb", b"b"),
            ("an empty piece", &[b"\xe2", b"", b"\x82\xac"], b"\xe2\x82\xacb", b"b"),
            ("an incomplete end", &[b"a\xe2\x82"], b"a\xe2\x82", b""),
            ("an incomplete end of a piece, whose rest is recorded", &[b"a\xe2\x82"], b"a\xe2\x82\xacb", b"\xacb"),
            ("an incomplete end of a piece, which stays so", &[b"a\xe2\x82"], b"a\xe2\x82b", b"b"),
            ("a surrogate", &[b"\xed", b"\xa0\x80"], b"\xed\xa0\x80b", b"b"),
        ];
        for (name, pieces, printed, expected) in cases {
            for output in [Output::Stdout, Output::Stderr] {
                let (mut position, mut offset) = (Position::default(), 0);
                for data in pieces {
                    assert_eq!(position.take(&Printed { step: 0, output, offset, data: data.to_vec() }), 0, "{name}");
                    offset += data.len() as u64;
                }
                let recorded = String::from_utf8_lossy(printed);
                assert_eq!(position.rest(0, output, &recorded), expected, "{name}");
            }
        }
    }
}
