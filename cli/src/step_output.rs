//! What the steps of a Task print, straight from its pod while they run.

use std::time::Duration;

use arl_agent::{
    BINARY, DIRECTORY,
    frame::{FROM_AGENT_MAX, Frames},
    message::live::{Output, printed::Printed},
};
use arl_client::stream::with_protocol_v4;
use arl_crds::{Sandbox, Task, name::is_name};
use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{AttachParams, AttachedProcess},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

use crate::{connect::Connection, failure::Failure};

/// What is read at once.
const READ: usize = 64 * 1024;
/// Of what the program in the pod says before it ends.
const STDERR_MAX: usize = 4096;
/// What stands on a line of its own in a record where bytes were left out: their number, between these.
const LEFT_OUT: [&str; 2] = ["\n[... ", " bytes left out ...]\n"];
/// How long a pod may take to answer: one that goes away may never.
const OPEN_MAX: Duration = Duration::from_secs(15);

/// Pieces of outputs, in the order in which they were printed; on each of a step's two outputs none twice.
pub struct StepOutput {
    _process: AttachedProcess,
    /// Why it ended before the run.
    end: BoxFuture<'static, Option<String>>,
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
        let pod = status.pod_name.filter(|pod| is_name(pod));
        let (Some(pod), Some(run)) = (pod, task.metadata.uid.clone()) else { return Ok(None) };
        let pods: Api<Pod> = Api::namespaced(with_protocol_v4(connection.kube.clone()), &connection.namespace);
        let parameters =
            AttachParams { container: status.container, ..AttachParams::default().stdin(true).stderr(true) };
        let command = [format!("{DIRECTORY}/{BINARY}"), "output".to_owned(), DIRECTORY.to_owned(), run];
        let process = timeout(OPEN_MAX, pods.exec(&pod, command, &parameters)).await;
        let process = process.map_err(|_| Failure::ours(format!("pod {pod} does not answer")))?;
        let mut process = process.map_err(|error| Failure::api(&format!("exec into pod {pod}"), &error))?;
        let Some(out) = process.stdout() else { return Ok(None) };
        let (frames, buffer, end) = (Frames::new(FROM_AGENT_MAX), vec![0; READ], end(&mut process));
        Ok(Some(Self { _process: process, end, out: Box::new(out), frames, buffer }))
    }

    /// The next piece; none when the run has ended and nothing is left. A call that is given up loses none.
    pub async fn next(&mut self) -> Result<Option<Printed>, Failure> {
        let failed =
            |why: &dyn std::fmt::Display| Failure::ours(format!("the pod no longer tells what the step prints: {why}"));
        loop {
            if let Some(piece) = self.frames.take().map_err(|error| failed(&format!("{error:?}")))? {
                return Ok(Some(piece));
            }
            let count = self.out.read(&mut self.buffer).await.map_err(|error| failed(&error))?;
            if count == 0 {
                return (&mut self.end).await.map_or(Ok(None), |why| Err(failed(&why)));
            }
            self.frames.push(&self.buffer[..count]);
        }
    }
}

/// Why a program ended, if it failed.
fn end(process: &mut AttachedProcess) -> BoxFuture<'static, Option<String>> {
    let (status, stderr) = (process.take_status(), process.stderr());
    async move {
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        if status.as_ref().is_some_and(|status| status.status.as_deref() == Some("Success")) {
            return None;
        }
        let mut message = Vec::new();
        if let Some(stderr) = stderr {
            let _ = stderr.take(STDERR_MAX as u64).read_to_end(&mut message).await;
        }
        let said = String::from_utf8_lossy(&message).trim().to_owned();
        Some(if said.is_empty() { "its end of the stream was closed".to_owned() } else { said })
    }
    .boxed()
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

    /// What has not been printed of what is recorded: so many bytes that are not in the record, then these.
    fn rest<'a>(&self, recorded: &'a str, is_cut: bool) -> (u64, &'a [u8]) {
        let cut = left_out(recorded).filter(|cut| is_cut && self.text > cut.head);
        let (missing, at) = match cut {
            // Of which a part may have been printed.
            Some(Cut { head, bytes, tail }) => {
                let printed = self.text - head;
                (bytes.saturating_sub(printed), tail.saturating_add(printed.saturating_sub(bytes)))
            }
            None => (0, self.text),
        };
        let rest = &recorded[recorded.floor_char_boundary(at)..];
        if missing > 0 {
            return (missing.saturating_sub(self.unfinished.len()) as u64, rest.as_bytes());
        }
        if self.unfinished.is_empty() {
            return (0, rest.as_bytes());
        }
        // They have been printed, so that the rest of the character completes them.
        let unfinished = rest.as_bytes().strip_prefix(self.unfinished.as_slice());
        let or_replaced = || rest.strip_prefix(char::REPLACEMENT_CHARACTER).unwrap_or(rest).as_bytes();
        (0, unfinished.unwrap_or_else(or_replaced))
    }
}

/// Where bytes are left out of a record.
struct Cut {
    /// Up to here it is the beginning.
    head: usize,
    /// How many are left out.
    bytes: usize,
    /// From here on it is the end.
    tail: usize,
}

fn left_out(recorded: &str) -> Option<Cut> {
    let [before, after] = LEFT_OUT;
    let (head_and_number, tail) = recorded.rsplit_once(after)?;
    let (head, number) = head_and_number.rsplit_once(before)?;
    Some(Cut { head: head.len(), bytes: number.parse().ok()?, tail: recorded.len() - tail.len() })
}

impl Position {
    /// Takes a piece; how many bytes are missing before it.
    pub fn take(&mut self, piece: &Printed) -> u64 {
        if piece.step != self.step {
            (self.step, self.printed) = (piece.step, <[Extent; 2]>::default());
        }
        self.printed[usize::from(piece.output == Output::Stderr)].take(piece)
    }

    /// What of a step's recorded output has not been printed: so many bytes that are not in the record, then these.
    pub fn rest<'a>(&self, step: usize, output: Output, recorded: &'a str, is_cut: bool) -> (u64, &'a [u8]) {
        match u32::try_from(step).unwrap_or(u32::MAX).cmp(&self.step) {
            std::cmp::Ordering::Less => (0, b""),
            std::cmp::Ordering::Greater => (0, recorded.as_bytes()),
            std::cmp::Ordering::Equal => self.printed[usize::from(output == Output::Stderr)].rest(recorded, is_cut),
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
    use arl_agent::output::Output as Kept;

    use super::*;

    #[test]
    fn what_was_printed_live_is_not_printed_again() {
        let mut position = Position::default();
        assert_eq!(position.rest(0, Output::Stdout, "abc", false), (0, &b"abc"[..]));
        let piece = |step, offset, data: &str| Printed { step, output: Output::Stdout, offset, data: data.into() };
        assert_eq!((position.take(&piece(1, 0, "ab")), position.take(&piece(1, 5, "f"))), (0, 3));
        assert_eq!(position.rest(0, Output::Stdout, "of the step before", false), (0, &b""[..]));
        assert_eq!(position.rest(1, Output::Stdout, "abcdefgh", false), (0, &b"gh"[..]));
        assert_eq!(position.rest(1, Output::Stderr, "e", false), (0, &b"e"[..]));
        assert_eq!(position.rest(1, Output::Stdout, "ab", false), (0, &b""[..]));
        assert_eq!(position.rest(2, Output::Stdout, "abc", false), (0, &b"abc"[..]));
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
                assert_eq!(position.rest(0, output, &recorded, false), (0, expected), "{name}");
            }
        }
    }

    #[test]
    fn what_a_record_lacks_is_not_taken_for_what_was_printed() {
        // Characters of three bytes, so that the record is cut between them.
        let (printed, kib) = ("\u{20ac}".repeat(200_000).into_bytes(), 1024);
        let recorded = |total: usize| {
            let mut output = Kept::default();
            output.push(&printed[..total]);
            output.text()
        };
        // Bytes that were printed of how many; how many are said to be missing, and how many are left.
        for (live, total, missing, left) in [
            (20 * kib, 64 * kib, 0, 44 * kib),
            (20 * kib, 200 * kib, 132 * kib, 48 * kib),
            (100 * kib, 200 * kib, 52 * kib, 48 * kib),
            (170 * kib, 200 * kib, 0, 30 * kib),
            (200 * kib - 2, 200 * kib, 0, 0),
        ] {
            let mut position = Position::default();
            position.take(&Printed { step: 0, output: Output::Stdout, offset: 0, data: printed[..live].to_vec() });
            let total = total / 3 * 3;
            let (text, is_cut) = recorded(total);
            let (said, rest) = position.rest(0, Output::Stdout, &text, is_cut);
            let said = usize::try_from(said).unwrap();
            assert_eq!(live + said + rest.len(), total, "{live} of {total}");
            assert!(printed[..total].ends_with(rest), "{live} of {total}");
            assert!(
                said.abs_diff(missing) < 4 && rest.len().abs_diff(left) < 4,
                "{live} of {total}: {said}, {}",
                rest.len()
            );
        }
        let mut position = Position::default();
        position.take(&Printed { step: 0, output: Output::Stdout, offset: 0, data: vec![b'a'; 10 * kib] });
        let said = "\n[... 5 bytes left out ...]\n";
        let whole = format!("{}{said}", "a".repeat(10 * kib));
        assert_eq!(position.rest(0, Output::Stdout, &whole, true).1, said.as_bytes(), "it is told as it is recorded");
        let (text, is_cut) = ("a\u{20ac}".repeat(5 * kib), false);
        assert!(!position.rest(0, Output::Stdout, &text, is_cut).1.is_empty(), "inside of a character");
    }
}
