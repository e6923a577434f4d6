//! Traces: one for each Sandbox, from its creation to the end of its last Task.
//!
//! Spans are made of what is on record, when its end is written: nothing has to be remembered until then, and an operator that
//! was restarted goes on with the trace. Their ids come from the objects' uids, so that what is told twice is the same span.

mod otlp;

use std::time::{Duration, SystemTime};

use arl_crds::{Sandbox, StepState, TaskState, TaskStatus};
use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use serde::Deserialize;
use tokio::sync::mpsc;

pub use otlp::{Exporter, InvalidEndpoint};

use crate::cache::{SandboxRow, TaskRow};

/// The annotation by which a Sandbox or a Task is made part of a trace that exists already: `{"traceparent": "00-..."}`.
pub const CONTEXT: &str = "opentelemetry.io/trace-context";
/// Spans that may wait to go out.
const WAITING: usize = 4096;

/// Where a span belongs. <https://www.w3.org/TR/trace-context/#traceparent-header-field-values>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: u128,
    /// The span in it that is the parent.
    pub parent: Option<u64>,
}

/// Something that took some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its trace and its parent.
    pub context: Context,
    /// Its id.
    pub id: u64,
    /// What it is: one of a few words.
    pub name: &'static str,
    /// From when.
    pub start: Timestamp,
    /// Until when.
    pub end: Timestamp,
    /// More about it.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it is no success, in a word.
    pub error: Option<String>,
}

/// Where spans go; nowhere by default.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<mpsc::Sender<Span>>);

impl Traces {
    /// A sink and its other end.
    pub fn new() -> (Self, mpsc::Receiver<Span>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(Some(sender)), receiver)
    }

    /// Takes what `spans` makes, where there is somebody to have it; never waits.
    pub fn take<I: IntoIterator<Item = Span>>(&self, spans: impl FnOnce() -> I) {
        let Some(sender) = &self.0 else { return };
        for span in spans() {
            if sender.try_send(span).is_err() {
                tracing::debug!("a span was dropped: too many wait");
            }
        }
    }
}

/// How a Sandbox got its pod, at `end`.
pub fn claim(row: &SandboxRow, pod: &str, end: Timestamp) -> Option<Span> {
    let sandbox = &*row.sandbox;
    Some(Span {
        context: context(sandbox)?,
        id: span_id(sandbox)?,
        name: "claim",
        start: row.created_at().min(end),
        end,
        attributes: vec![
            ("k8s.namespace.name", sandbox.namespace().unwrap_or_default()),
            ("k8s.pod.name", pod.to_owned()),
            ("arl.sandbox.name", sandbox.name_any()),
            ("arl.sandbox.uid", sandbox.uid().unwrap_or_default()),
            ("arl.warmpool.name", sandbox.spec.pool_ref.clone()),
        ],
        error: None,
    })
}

/// A Task that has ended, with its steps; part of the trace of its Sandbox, unless it says otherwise.
pub fn task(row: &TaskRow, status: &TaskStatus, sandbox: Option<&Sandbox>) -> Vec<Span> {
    let task = &*row.task;
    let of_sandbox = || {
        let sandbox = sandbox.filter(|sandbox| sandbox.meta().uid == status.sandbox_uid)?;
        Some(Context { trace: context(sandbox)?.trace, parent: span_id(sandbox) })
    };
    let Some(context) = told(task).or_else(of_sandbox).or_else(|| context(task)) else { return Vec::new() };
    let (Some(id), Some(completed)) = (span_id(task), &status.completed_at) else { return Vec::new() };
    let reason = status.conditions.first().map(|condition| condition.reason.clone()).unwrap_or_default();
    let mut spans = vec![Span {
        context,
        id,
        name: "task",
        start: row.created_at().min(completed.0),
        end: completed.0,
        attributes: vec![
            ("k8s.namespace.name", task.namespace().unwrap_or_default()),
            ("arl.task.name", task.name_any()),
            ("arl.task.uid", task.uid().unwrap_or_default()),
            ("arl.sandbox.name", task.spec.sandbox_ref.clone()),
            ("arl.task.reason", reason.clone()),
        ],
        error: (status.state != Some(TaskState::Succeeded)).then_some(reason),
    }];
    let of_task = Context { parent: Some(id), ..context };
    for ((number, step), spec) in (1..).zip(&status.steps).zip(&task.spec.steps) {
        let (Some(start), Some(end)) = (&step.started_at, &step.completed_at) else { continue };
        let exit_code = step.exit_code.map(|code| ("process.exit.code", code.to_string()));
        let attributes = [("arl.step.name", step.name.clone()), ("arl.step.type", format!("{:?}", spec.type_))];
        let failure = || step.reason.clone().unwrap_or_else(|| format!("{:?}", step.state));
        spans.push(Span {
            context: of_task,
            id: id ^ number,
            name: "step",
            start: start.0,
            end: end.0,
            attributes: attributes.into_iter().chain(exit_code).collect(),
            error: (step.state != StepState::Succeeded).then(failure),
        });
    }
    spans
}

/// What an object belongs to: the trace it names, else its own.
fn context(object: &impl ResourceExt) -> Option<Context> {
    told(object).or_else(|| Some(Context { trace: uid(object)?, parent: None }))
}

/// A uid is a random UUID (RFC 9562, version 4), which is what a trace id is to be.
fn uid(object: &impl ResourceExt) -> Option<u128> {
    u128::from_str_radix(&object.uid()?.replace('-', ""), 16).ok().filter(|uid| *uid != 0)
}

fn span_id(object: &impl ResourceExt) -> Option<u64> {
    let id = u64::try_from(uid(object)? & u128::from(u64::MAX)).ok()?;
    (id != 0).then_some(id)
}

#[derive(Deserialize)]
struct Carrier {
    traceparent: String,
}

fn told(object: &impl ResourceExt) -> Option<Context> {
    let carrier: Carrier = serde_json::from_str(object.annotations().get(CONTEXT)?).ok()?;
    let parts: Vec<&str> = carrier.traceparent.split('-').collect();
    let [_, trace, parent, _] = parts.as_slice() else { return None };
    let is_hex = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hex(trace, 32) || !is_hex(parent, 16) {
        return None;
    }
    let (trace, parent) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(parent, 16).ok()?);
    (trace != 0 && parent != 0).then_some(Context { trace, parent: Some(parent) })
}

fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::try_from(at.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
