//! What can go wrong, and whose fault it is.

use std::fmt;

use arl_agent::message::error::Kind;
use arl_crds::{Blame, TaskStatus, text::with_causes};

/// Who can do something about a failure. What code in a Sandbox can cause is never the infrastructure's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The cluster's, the operator's or the network's: another Sandbox may do better.
    Infrastructure,
    /// The code's that runs in the Sandbox.
    Task,
    /// The caller's.
    Usage,
}

impl Fault {
    /// Whose fault it is that a Task failed, by its own word; none where it did not fail, or ended under an operator that does not say.
    pub fn of_task(status: &TaskStatus) -> Option<Self> {
        status.blame.map(Self::from)
    }
}

impl From<Blame> for Fault {
    fn from(blame: Blame) -> Self {
        match blame {
            Blame::Infrastructure => Self::Infrastructure,
            Blame::Task => Self::Task,
            Blame::Usage => Self::Usage,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Infrastructure => "infrastructure",
            Self::Task => "task",
            Self::Usage => "usage",
        })
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The API server refused a request, or did not answer it.
    #[error("cannot {verb} {object}: {}", said(.source))]
    Api {
        /// What was to be done.
        verb: &'static str,
        /// With which object.
        object: String,
        /// Why it was not.
        source: Box<kube::Error>,
    },
    /// The kubeconfig cannot be used.
    #[error("there is no way to a cluster: {0}")]
    Config(String),
    /// The pod was not reached for too long.
    #[error("pod {pod} cannot be reached: {message}")]
    Unreachable {
        /// The pod.
        pod: String,
        /// What the last attempt ended with.
        message: String,
    },
    /// The caller may not exec into the pod.
    #[error("pod {pod} may not be used: {message}; live commands need get and create of pods/exec")]
    Forbidden {
        /// The pod.
        pod: String,
        /// What the API server says.
        message: String,
    },
    /// The pod, or its container, is gone, and with it what ran there.
    #[error("pod {pod} is lost: {message}; use another Sandbox")]
    PodLost {
        /// The pod.
        pod: String,
        /// How that is known.
        message: String,
        /// Whose fault it is: somebody may have deleted its Sandbox.
        fault: Fault,
    },
    /// What answers in the pod is not the agent: code in the Sandbox removed, stopped or replaced it.
    #[error("the agent in pod {pod} is of no use: {message}; use another Sandbox")]
    AgentUnusable {
        /// The pod.
        pod: String,
        /// What it did.
        message: String,
    },
    /// The pod was made by an operator that had no live commands.
    #[error("pod {pod} was made by an older operator: its agent cannot run live commands; Tasks still work")]
    OldAgent {
        /// The pod.
        pod: String,
    },
    /// The pod refused or failed to do what it was asked for.
    #[error("{}", .0.message)]
    Remote(arl_agent::message::error::Error),
    /// Something was in transfer when its stream broke; whether it may have been done is said.
    #[error("the transfer was cut off: {0}")]
    Interrupted(String),
    /// There is no such Sandbox.
    #[error(
        "there is no Sandbox {sandbox} in namespace {namespace}: it was released, or idle for too long, or is in another namespace; claim one"
    )]
    NoSandbox {
        /// Its name.
        sandbox: String,
        /// Where it is not.
        namespace: String,
    },
    /// The Sandbox did not become ready.
    #[error("Sandbox {sandbox} is not ready ({reason}): {message}")]
    NotReady {
        /// The Sandbox.
        sandbox: String,
        /// The reason on its condition.
        reason: String,
        /// The message on its condition, and on its pool's where that says more.
        message: String,
        /// Whose fault the reason is.
        fault: Fault,
    },
    /// Something was not done in the time that the caller gave it.
    #[error("{0} was not done within {1:?}")]
    Deadline(String, std::time::Duration),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// Who can do something about it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(status) if matches!(status.code, 400 | 403 | 404 | 409 | 422) => Fault::Usage,
                _ => Fault::Infrastructure,
            },
            Self::Unreachable { .. } | Self::Interrupted(_) | Self::Deadline(..) => Fault::Infrastructure,
            Self::AgentUnusable { .. } => Fault::Task,
            Self::Config(_)
            | Self::Forbidden { .. }
            | Self::NoSandbox { .. }
            | Self::OldAgent { .. }
            | Self::Usage(_) => Fault::Usage,
            Self::PodLost { fault, .. } | Self::NotReady { fault, .. } => *fault,
            Self::Remote(error) => match error.kind {
                Kind::Aborted => Fault::Infrastructure,
                Kind::Invalid | Kind::NoSuchUser | Kind::CannotSwitchUser | Kind::TooMany => Fault::Usage,
                _ => Fault::Task,
            },
        }
    }

    /// What kind of failure the pod reported, if it did.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Remote(error) => Some(error.kind),
            _ => None,
        }
    }

    /// The same for somebody else who failed with it, where it is one that a pod reported.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Remote(error) => Some(Self::Remote(error.clone())),
            Self::Interrupted(message) => Some(Self::Interrupted(message.clone())),
            Self::Unreachable { pod, message } => {
                Some(Self::Unreachable { pod: pod.clone(), message: message.clone() })
            }
            Self::PodLost { pod, message, fault } => {
                Some(Self::PodLost { pod: pod.clone(), message: message.clone(), fault: *fault })
            }
            Self::AgentUnusable { pod, message } => {
                Some(Self::AgentUnusable { pod: pod.clone(), message: message.clone() })
            }
            _ => None,
        }
    }

    pub(crate) fn api(verb: &'static str, object: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let object = object.into();
        move |source| Self::Api { verb, object, source: Box::new(source) }
    }
}

/// Whether an object is not there; its kind is known.
pub fn is_missing(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.code == 404 && status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

/// Whether the API server does not know the kind of what was asked for.
pub fn is_unknown_kind(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let said = status.message.as_str();
    status.code == 404 && (said.contains("could not find the requested resource") || said.contains("page not found"))
}

/// In words; kube's own have the whole answer of the API server once more, as Rust prints it.
fn said(error: &kube::Error) -> String {
    match error {
        error if is_unknown_kind(error) => {
            "the cluster does not know the kind: the operator's definitions are not installed".to_owned()
        }
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => with_causes(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_server_says_is_said_once() {
        let said = |code: u16, message: &str| {
            let status = kube::core::Status { code, message: message.into(), ..kube::core::Status::default() };
            Error::api("create", "Sandbox s")(kube::Error::Api(Box::new(status))).to_string()
        };
        assert_eq!(said(404, "namespaces \"n\" not found"), "cannot create Sandbox s: namespaces \"n\" not found");
        let unknown = said(404, "404 page not found\n");
        assert!(unknown.ends_with("the operator's definitions are not installed"), "{unknown}");
    }
}
