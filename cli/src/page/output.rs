//! A Task's outputs, as lines of JSON that come while it runs.

use std::sync::Arc;

use arl_agent::message::live::Output;
use arl_crds::condition;
use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{answer::body, context::Page};
use crate::{
    failure::Failure,
    outcome::{Outputs, Sink, follow},
    step_output::whole,
};

/// Lines that wait for a browser which is slow; the Task does not wait for it.
const WAITING_MAX: usize = 16;

/// Follows it until it has finished, or nobody listens any more.
pub async fn output(State(page): State<Arc<Page>>, Path(task): Path<String>) -> Body {
    let (sender, lines) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let listener = sender.clone();
        tokio::select! {
            () = listener.closed() => {}
            () = tell(&page, &task, sender) => {}
        }
    });
    body(lines)
}

async fn tell(page: &Page, task: &str, sender: mpsc::Sender<Bytes>) {
    let lines = Lines { sender: sender.clone(), unfinished: Unfinished::default() };
    let end = match follow(&page.connection, task, Outputs::to(lines)).await {
        Ok(status) => {
            let reason = condition::find(&status.conditions, "Succeeded").map(|condition| condition.reason.clone());
            let code = status.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
            format!("finished: {}{code}", reason.unwrap_or_default())
        }
        Err(failure) => failure.message,
    };
    let _ = sender.send(line(&json!({ "end": end }))).await;
}

fn line(value: &Value) -> Bytes {
    format!("{value}\n").into()
}

struct Lines {
    sender: mpsc::Sender<Bytes>,
    unfinished: Unfinished,
}

impl Lines {
    async fn send(&self, value: Value) -> Result<(), Failure> {
        self.sender.send(line(&value)).await.map_err(|_| Failure::ours("nobody listens"))
    }
}

impl Sink for Lines {
    async fn put(&mut self, step: &str, output: Output, data: &[u8]) -> Result<(), Failure> {
        let text = self.unfinished.text(step, output, data);
        let output = if output == Output::Stderr { "stderr" } else { "stdout" };
        self.send(json!({ "step": step, "output": output, "text": text })).await
    }

    async fn missing(&mut self, _: &str, bytes: u64) -> Result<(), Failure> {
        self.send(json!({ "missing": bytes })).await
    }
}

/// The beginnings of characters whose ends have not come, on each of a step's outputs.
#[derive(Debug, Default)]
struct Unfinished {
    step: String,
    bytes: [Vec<u8>; 2],
}

impl Unfinished {
    /// What can be shown.
    fn text(&mut self, step: &str, output: Output, data: &[u8]) -> String {
        if self.step != step {
            *self = Self { step: step.to_owned(), ..Self::default() };
        }
        let unfinished = &mut self.bytes[usize::from(output == Output::Stderr)];
        let mut bytes = std::mem::take(unfinished);
        bytes.extend_from_slice(data);
        *unfinished = bytes.split_off(whole(&bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_come_in_pieces_are_shown_whole() {
        let mut unfinished = Unfinished::default();
        let euro = "a€".as_bytes();
        let mut put = |step: &str, data: &[u8]| unfinished.text(step, Output::Stdout, data);
        assert_eq!(put("a", &euro[..2]), "a");
        assert_eq!(put("a", &euro[2..3]), "");
        assert_eq!(put("a", &euro[3..]), "€");
        assert_eq!(put("a", b"\xff\x80b"), "\u{fffd}\u{fffd}b", "what is no text is shown as such");
        assert_eq!(put("a", &euro[..2]), "a");
        assert_eq!(put("b", b"x"), "x", "another step has another text");
        assert_eq!(put("b", "ü€😀".as_bytes()), "ü€😀");
        assert_eq!(put("b", b"\xc0"), "\u{fffd}", "what begins no character does not wait for its end");
        assert_eq!(put("b", b"\x80\x80\x80"), "\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(put("b", &euro[..2]), "a");
        assert_eq!(unfinished.text("b", Output::Stderr, b"x"), "x");
        assert_eq!(unfinished.text("b", Output::Stdout, &euro[2..]), "€", "the other output comes between");
    }
}
