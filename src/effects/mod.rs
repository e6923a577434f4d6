//! The only code that writes: API objects, Events. It does what a plan says and decides nothing.
//!
//! Every write passes [`Effects::call`]: a bounded number at a time, each under a timeout, each with an [`Outcome`]. A write
//! that is no longer right, because the object changed or went away meanwhile, is an outcome, not an error: the watch will
//! tell. Only an API failure is an [`Failure`], and is tried again.

mod events;
mod lease;
mod objects;
mod pods;

use std::{future::Future, time::Duration};

use kube::{Client, core::Status};
use tokio::sync::Semaphore;

pub use events::{Event, EventSink, publish};
pub use objects::live_tasks;
pub use pods::{Claim, NewPod};

use crate::{object::Key, traces::Traces};

/// No call to the API server takes longer.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Calls in flight at once: each is a connection of its own over HTTP/1.1.
const CALLS: usize = 32;

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It took effect.
    Done(T),
    /// The object had changed since the decision.
    Stale,
    /// The object, or its namespace, was gone.
    Gone,
    /// There is an object of that name already.
    Exists,
    /// The API server refused it, and would again.
    Refused(Refusal),
    /// The object would be too large to store.
    TooLarge,
}

/// Why the API server refused a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub code: u16,
    /// In the API server's words.
    pub message: String,
}

/// The API could not be reached or failed.
#[derive(Debug, thiserror::Error)]
#[error("{verb} {kind} {object}: {cause}")]
pub struct Failure {
    verb: &'static str,
    kind: &'static str,
    object: Key,
    cause: Cause,
}

impl Failure {
    /// A refusal that is tried again all the same: who may write can be changed.
    pub(crate) fn refused(verb: &'static str, kind: &'static str, object: &Key, refusal: Refusal) -> Self {
        Self { verb, kind, object: object.clone(), cause: Cause::Refused(refusal.message) }
    }

    /// Whether the API server answered, and refused.
    pub fn is_refusal(&self) -> bool {
        matches!(self.cause, Cause::Refused(_))
    }
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("refused: {0}")]
    Refused(String),
    #[error("no answer from the API server within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    #[error("{0}")]
    Api(#[source] Box<kube::Error>),
}

/// The way to the API server, for writes and for the reads that confirm them.
pub struct Effects {
    client: Client,
    permits: Semaphore,
    events: EventSink,
    traces: Traces,
}

impl Effects {
    /// Writes through `client`; Events go to `events`.
    pub fn new(client: Client, events: EventSink) -> Self {
        Self { client, permits: Semaphore::new(CALLS), events, traces: Traces::default() }
    }

    /// The same, with spans going to `traces`.
    #[must_use]
    pub fn tracing_to(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// Where spans go.
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Tells people that something happened; never waits and never fails.
    pub fn event(&self, event: Event) {
        tracing::info!(reason = event.reason.as_str(), "{}", event.note);
        self.events.send(event);
    }

    async fn call<T>(
        &self,
        verb: &'static str,
        kind: &'static str,
        object: &Key,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<Outcome<T>, Failure> {
        let _permit = self.permits.acquire().await;
        let failure = |cause| Failure { verb, kind, object: object.clone(), cause };
        let answer = tokio::time::timeout(CALL_TIMEOUT, request).await.map_err(|_| failure(Cause::Timeout))?;
        let outcome = match answer {
            Ok(value) => Ok(Outcome::Done(value)),
            Err(kube::Error::Api(status)) => {
                classify(&status).ok_or_else(|| failure(Cause::Api(Box::new(kube::Error::Api(status)))))
            }
            Err(error) => Err(failure(Cause::Api(Box::new(error)))),
        };
        tracing::debug!(verb, resource = kind, target = %object, outcome = outcome_name(&outcome), "called");
        outcome
    }
}

fn outcome_name<T>(outcome: &Result<Outcome<T>, Failure>) -> &'static str {
    match outcome {
        Ok(Outcome::Done(_)) => "done",
        Ok(Outcome::Stale) => "stale",
        Ok(Outcome::Gone) => "gone",
        Ok(Outcome::Exists) => "exists",
        Ok(Outcome::Refused(_)) => "refused",
        Ok(Outcome::TooLarge) => "too large",
        Err(_) => "failed",
    }
}

/// What an error status means for the write; nothing where it says that the API itself is in trouble.
fn classify<T>(status: &Status) -> Option<Outcome<T>> {
    let too_large = status.code == 413
        || (status.code == 500
            && ["request is too large", "larger than max", "ResourceExhausted"]
                .iter()
                .any(|m| status.message.contains(m)));
    if too_large {
        return Some(Outcome::TooLarge);
    }
    let refused = || Outcome::Refused(Refusal { code: status.code, message: status.message.clone() });
    match status.code {
        404 => Some(Outcome::Gone),
        409 if status.reason == "AlreadyExists" => Some(Outcome::Exists),
        409 => Some(Outcome::Stale),
        403 if status.message.contains("being terminated") => Some(Outcome::Gone),
        400 | 403 | 422 => Some(refused()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_status_is_told_from_trouble_with_the_api() {
        let status = |code: u16, reason: &str, message: &str| Status {
            code,
            reason: reason.into(),
            message: message.into(),
            ..Status::default()
        };
        let refused = |code, message: &str| Some(Outcome::Refused(Refusal { code, message: message.into() }));
        for (given, expected) in [
            (status(404, "NotFound", ""), Some(Outcome::Gone)),
            (status(409, "AlreadyExists", ""), Some(Outcome::Exists)),
            (status(409, "Conflict", ""), Some(Outcome::Stale)),
            (status(403, "Forbidden", "namespace x is being terminated"), Some(Outcome::Gone)),
            (status(403, "Forbidden", "exceeded quota"), refused(403, "exceeded quota")),
            (status(422, "Invalid", "bad"), refused(422, "bad")),
            (status(413, "", ""), Some(Outcome::TooLarge)),
            (status(500, "", "etcdserver: request is too large"), Some(Outcome::TooLarge)),
            (status(500, "", "rpc error: trying to send message larger than max"), Some(Outcome::TooLarge)),
            (status(500, "", "etcdserver: leader changed"), None),
            (status(429, "", ""), None),
            (status(503, "", ""), None),
        ] {
            assert_eq!(classify::<()>(&given), expected, "{given:?}");
        }
    }
}
