//! Traces: one for each Sandbox, from its creation to the end of its last Task.
//!
//! Spans are made of what is on record, when its end is written: nothing has to be remembered until then, and an operator that
//! was restarted goes on with the trace. Their ids come from the objects' uids, so that what is told twice is the same span.

mod otlp;
mod sampler;
mod settings;
mod span;

use arl_crds::{Sandbox, StepState, Task, TaskState, TaskStatus};
use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use serde::Deserialize;
use tokio::sync::mpsc;

pub use otlp::Exporter;
pub use sampler::Sampler;
pub use settings::{InvalidSetting, Settings, Variables};
pub use span::{Context, Span};

use crate::cache::{SandboxRow, TaskRow};

/// The annotation by which a Sandbox or a Task is made part of a trace that exists already: `{"traceparent": "00-..."}`.
pub const CONTEXT: &str = arl_crds::labels::TRACE_CONTEXT;
/// Spans that may wait to go out.
const WAITING: usize = 4096;

/// Where spans go; nowhere by default.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<(mpsc::Sender<Span>, Sampler)>);

impl Traces {
    /// A sink for what `sampler` takes, and its other end.
    pub fn new(sampler: Sampler) -> (Self, mpsc::Receiver<Span>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(Some((sender, sampler))), receiver)
    }

    /// Takes what `spans` makes, where there is somebody to have it; never waits.
    pub fn take<I: IntoIterator<Item = Span>>(&self, spans: impl FnOnce() -> I) {
        let Some((sender, sampler)) = &self.0 else { return };
        for span in spans().into_iter().filter(|span| sampler.takes(&span.context)) {
            if sender.try_send(span).is_err() {
                tracing::debug!("a span was dropped: too many wait");
            }
        }
    }

    /// The id of the trace that `context` tells, as collectors write it; None where that trace does not go out.
    pub fn id(&self, context: impl FnOnce() -> Option<Context>) -> Option<String> {
        let (_, sampler) = self.0.as_ref()?;
        let context = context().filter(|context| sampler.takes(context))?;
        Some(format!("{:032x}", context.trace))
    }

    /// Puts the trace's id on the current span of the log.
    pub fn name_in_log(&self, context: impl FnOnce() -> Option<Context>) {
        if let Some(id) = self.id(context) {
            tracing::Span::current().record("trace_id", id);
        }
    }
}

/// How a Sandbox got its pod, at `end`.
pub fn claim(row: &SandboxRow, pod: &str, end: Timestamp) -> Option<Span> {
    let sandbox = &*row.sandbox;
    Some(Span {
        context: of_sandbox(sandbox)?,
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

/// A Task that has ended, with its steps.
pub fn task(row: &TaskRow, status: &TaskStatus, sandbox: Option<&Sandbox>) -> Vec<Span> {
    let task = &*row.task;
    let Some(context) = of_task(task, Some(status), sandbox) else { return Vec::new() };
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

/// What a Sandbox belongs to: the trace it names, else its own.
pub fn of_sandbox(sandbox: &Sandbox) -> Option<Context> {
    told(sandbox).or_else(|| own(sandbox))
}

/// What a Task belongs to: the trace it names, else that of its Sandbox, unless `status` tells that it had another of the name,
/// else its own.
pub fn of_task(task: &Task, status: Option<&TaskStatus>, sandbox: Option<&Sandbox>) -> Option<Context> {
    let had = status.and_then(|status| status.sandbox_uid.as_deref());
    let below_sandbox = || {
        let sandbox = sandbox.filter(|sandbox| had.is_none_or(|had| sandbox.meta().uid.as_deref() == Some(had)))?;
        Some(Context { parent: span_id(sandbox), ..of_sandbox(sandbox)? })
    };
    told(task).or_else(below_sandbox).or_else(|| own(task))
}

fn own(object: &impl ResourceExt) -> Option<Context> {
    Some(Context { trace: uid(object)?, parent: None, sampled: None })
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
    let [_, trace, parent, flags] = parts.as_slice() else { return None };
    let is_hex = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hex(trace, 32) || !is_hex(parent, 16) || !is_hex(flags, 2) {
        return None;
    }
    let (trace, parent) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(parent, 16).ok()?);
    let sampled = Some(u8::from_str_radix(flags, 16).ok()? & 1 == 1);
    (trace != 0 && parent != 0).then_some(Context { trace, parent: Some(parent), sampled })
}

#[cfg(test)]
mod tests;
