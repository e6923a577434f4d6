//! Why there is no stream.

use std::error::Error;

use arl_crds::text::{printable, with_causes};

/// The most bytes of the agent's own words that are passed on.
pub const MESSAGE_MAX: usize = 1024;

/// Why there is no stream.
#[derive(Debug)]
pub enum StreamError {
    /// The pod cannot be reached now; in words.
    Transient(String),
    /// The caller has no right to pods/exec there; in words.
    Forbidden(String),
    /// The pod's node answers, and cannot start the agent's process now, or the agent takes nothing; in words.
    Unstarted(String),
    /// The agent's process ended by itself, or what runs in its place does not speak as it does: code in the sandbox, or a limit of the
    /// pod, is in the way; in words.
    Protocol(String),
    /// There never will be one: the pod is gone; in words.
    Permanent(String),
    /// There never will be one: the agent cannot be executed; in words.
    NotExecutable(String),
}

impl StreamError {
    /// A call that was not answered.
    pub fn unreached(error: impl Error) -> Self {
        Self::Transient(with_causes(&error))
    }

    /// The same, in words that can be shown: some are those of code in the pod.
    #[must_use]
    pub fn printable(self) -> Self {
        let printable = |message: String| printable(&message, MESSAGE_MAX);
        match self {
            Self::Transient(message) => Self::Transient(printable(message)),
            Self::Forbidden(message) => Self::Forbidden(printable(message)),
            Self::Unstarted(message) => Self::Unstarted(printable(message)),
            Self::Protocol(message) => Self::Protocol(printable(message)),
            Self::Permanent(message) => Self::Permanent(printable(message)),
            Self::NotExecutable(message) => Self::NotExecutable(printable(message)),
        }
    }

    /// In words.
    pub fn into_message(self) -> String {
        match self {
            Self::Transient(message)
            | Self::Forbidden(message)
            | Self::Unstarted(message)
            | Self::Protocol(message)
            | Self::Permanent(message)
            | Self::NotExecutable(message) => message,
        }
    }
}
