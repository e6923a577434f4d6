//! What became of a call to the API server that did not do what was asked.
//!
//! The outcomes that callers handle are variants of the effect's own enum. Anything else is a [`Failure`], which callers can only return: the
//! controller retries, and shows it on the object that it keeps from where it should be.

use std::{error::Error, fmt, time::Duration};

use arl_crds::text::{printable, with_causes};
use kube::core::Status;

use crate::object::Key;

/// No call to the API server takes longer.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest message that is kept of an answer: webhooks and policies may say whatever they like.
const MESSAGE_MAX: usize = 1024;

/// The API server refused, failed or was not reached.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{verb} {kind} {object}: {cause}")]
pub struct Failure {
    verb: &'static str,
    kind: &'static str,
    object: Key,
    cause: Cause,
    took: Duration,
}

/// How a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Cause {
    /// The API server, or something that it asks, refuses; the call had no effect.
    #[error("{0}")]
    Refused(Refusal),
    /// The API server, or something that it asks, is in trouble; the call may have had its effect.
    #[error("{0}")]
    Broken(Refusal),
    /// There was no answer; the call may have had its effect.
    #[error("no answer from the API server within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    /// The connection failed; the call may have had its effect.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
    /// There was an answer that this version cannot read; the call may have had its effect.
    #[error("the API server's answer cannot be read: {0}")]
    Unreadable(String),
    /// An object is not as it is known here; with its name.
    #[error(
        "{0} is not as it is known here, so that nothing is decided on that: its watch is late, or it cannot be read by this \
         version (then the log says so: correct or delete it)"
    )]
    Unconfirmed(String),
}

/// An answer other than success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub code: u16,
    /// In the API server's words, bounded.
    pub message: String,
    what: What,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() { write!(f, "HTTP status {}", self.code) } else { f.write_str(&self.message) }
    }
}

/// What an answer says about the object of the call, where it says anything.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// It is not there; with the name of what is not.
    NotFound(Option<String>),
    /// There is one of that name already.
    Exists,
    /// It may have changed since the decision: also what quotas and webhooks answer, so only a look at the object tells.
    Conflict,
    /// It would be too large to store.
    TooLarge,
    /// Nothing.
    Other,
}

impl Refusal {
    /// An answer.
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        let message = printable(&message.into(), MESSAGE_MAX);
        Self { code, message, what: What::Other }
    }

    fn of(status: &Status) -> Self {
        // Webhooks and policies choose their code themselves.
        let is_denied = ["denied the request", "denied request"].iter().any(|words| status.message.contains(words));
        let too_large = (status.code == 413 && !is_denied)
            || (status.code == 500
                && ["request is too large", "larger than max", "ResourceExhausted"]
                    .iter()
                    .any(|m| status.message.contains(m)));
        let what = match status.code {
            _ if too_large => What::TooLarge,
            404 => What::NotFound(status.details.as_ref().map(|details| details.name.clone())),
            409 if status.reason == "AlreadyExists" => What::Exists,
            // A JSON patch with a `test` that fails is answered 422, in words that a policy could use as well.
            409 | 422 => What::Conflict,
            _ => What::Other,
        };
        Self { what, ..Self::new(status.code, status.message.as_str()) }
    }

    /// Whether the call certainly had no effect.
    fn is_final(&self) -> bool {
        self.what == What::TooLarge || ((400..500).contains(&self.code) && self.code != 429)
    }
}

impl Failure {
    /// A call on an object that failed in this way.
    pub fn new(verb: &'static str, kind: &'static str, object: &Key, cause: Cause) -> Self {
        Self { verb, kind, object: object.clone(), cause, took: Duration::ZERO }
    }

    /// A call that was refused before it was sent, as the API server would.
    pub(super) fn unfit(verb: &'static str, kind: &'static str, object: &Key, error: &dyn Error) -> Self {
        Self::new(verb, kind, object, Cause::Refused(Refusal::new(422, with_causes(error))))
    }

    /// A call whose answer was an error.
    pub fn of(verb: &'static str, kind: &'static str, object: &Key, error: kube::Error) -> Self {
        let cause = match error {
            kube::Error::Api(status) => {
                let refusal = Refusal::of(&status);
                if refusal.is_final() { Cause::Refused(refusal) } else { Cause::Broken(refusal) }
            }
            kube::Error::BuildRequest(error) => return Self::unfit(verb, kind, object, &error),
            kube::Error::SerdeError(error) => Cause::Unreadable(printable(&with_causes(&error), MESSAGE_MAX)),
            error => Cause::Unreachable(printable(&with_causes(&error), MESSAGE_MAX)),
        };
        Self::new(verb, kind, object, cause)
    }

    /// The same, of a call that took so long.
    #[must_use]
    pub fn after(self, took: Duration) -> Self {
        Self { took, ..self }
    }

    /// How long the call took to fail.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// The same, with what a person can do about it.
    #[must_use]
    pub(super) fn advising(mut self, advice: &str) -> Self {
        if let Cause::Refused(refusal) | Cause::Broken(refusal) = &mut self.cause {
            refusal.message = format!("{}; {advice}", refusal.message);
        }
        self
    }

    /// Whether this call failed.
    pub fn is_of(&self, verb: &str) -> bool {
        self.verb == verb
    }

    /// How it failed.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// The API server's answer, if there was one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.cause {
            Cause::Refused(refusal) | Cause::Broken(refusal) => Some(refusal),
            Cause::Timeout | Cause::Unreachable(_) | Cause::Unreadable(_) | Cause::Unconfirmed(_) => None,
        }
    }

    /// Whether the API server refused, so that the call certainly had no effect.
    pub fn is_refusal(&self) -> bool {
        matches!(self.cause, Cause::Refused(_))
    }

    fn what(&self) -> &What {
        match &self.cause {
            Cause::Refused(refusal) => &refusal.what,
            _ => &What::Other,
        }
    }

    /// Whether the object of the call is not there. Its kind may be missing too, or its namespace: that is another thing.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.what(), What::NotFound(Some(name)) if *name == self.object.name)
    }

    pub(super) fn exists(&self) -> bool {
        *self.what() == What::Exists
    }

    /// Whether the object of a write may have changed, or be gone. Only a look tells: whatever admits writes may answer so too.
    pub(super) fn may_be_a_conflict(&self) -> bool {
        *self.what() == What::Conflict || self.is_gone()
    }

    /// Whether the object would be too large to store.
    pub fn is_too_large(&self) -> bool {
        *self.what() == What::TooLarge
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn failure(code: u16, reason: &str, message: &str, name: Option<&str>) -> Failure {
        let details = name.map(|name| serde_json::from_value(json!({ "name": name })).unwrap());
        let status = Status { code, reason: reason.into(), message: message.into(), details, ..Status::default() };
        Failure::of("get", "Pod", &Key::new("ns", "p"), kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn an_answer_is_about_the_object_only_where_it_says_so() {
        for (given, expected) in [
            (failure(404, "NotFound", "", Some("p")), "gone"),
            (failure(404, "NotFound", "the server could not find the requested resource", None), "refused"),
            (failure(404, "NotFound", "namespaces \"ns\" not found", Some("ns")), "refused"),
            (failure(409, "AlreadyExists", "", Some("p")), "exists"),
            (failure(409, "Conflict", "Operation cannot be fulfilled on resourcequotas", Some("q")), "conflict?"),
            (
                failure(422, "Invalid", "the server rejected our request due to an error in our request", None),
                "conflict?",
            ),
            (failure(403, "Forbidden", "exceeded quota", Some("p")), "refused"),
            (failure(400, "BadRequest", "field label not supported", None), "refused"),
            (failure(413, "", "", None), "too large"),
            (
                failure(413, "RequestEntityTooLarge", "ValidatingAdmissionPolicy 'p' denied request: no", None),
                "refused",
            ),
            (failure(413, "", "admission webhook \"w\" denied the request: no", None), "refused"),
            (failure(500, "", "etcdserver: request is too large", None), "too large"),
            (failure(500, "", "rpc error: trying to send message larger than max", None), "too large"),
            (failure(500, "", "etcdserver: leader changed", None), "broken"),
            (failure(500, "InternalError", "failed calling webhook", None), "broken"),
            (failure(429, "", "", None), "broken"),
            (failure(503, "", "", None), "broken"),
        ] {
            let found = match () {
                () if given.is_gone() => "gone",
                () if given.exists() => "exists",
                () if given.may_be_a_conflict() => "conflict?",
                () if given.is_too_large() => "too large",
                () if given.is_refusal() => "refused",
                () => "broken",
            };
            assert_eq!(found, expected, "{given}");
        }
    }

    #[test]
    fn only_a_server_that_cannot_be_reached_is_called_so() {
        let of = |error| Failure::of("get", "Pod", &Key::new("ns", "p"), error).to_string();
        let unreadable = serde_json::from_str::<u8>("x").unwrap_err();
        assert!(of(kube::Error::SerdeError(unreadable)).contains("answer cannot be read"));
        let unsent = kube::core::request::Error::Validation("name".into());
        assert!(!of(kube::Error::BuildRequest(unsent)).contains("reached"));
        assert!(of(kube::Error::Service("refused".into())).contains("cannot be reached: "));
    }

    #[test]
    fn what_others_say_is_bounded_and_one_line() {
        let refusal = Refusal::new(403, format!("a\u{1b}[31m\n{}", "\u{e9}".repeat(2_000)));
        assert!(refusal.message.len() <= MESSAGE_MAX, "{}", refusal.message.len());
        assert!(refusal.message.starts_with("a [31m "));
        assert_eq!(failure(500, "", "", None).to_string(), "get Pod ns/p: HTTP status 500");
    }
}
