//! Failures, as the Python package makes its exceptions from them.

use arl_client::{Error, kind::Kind};
use pyo3::{prelude::*, types::PyDict};

/// What failed.
pub(crate) enum Failure {
    /// A call of the client.
    Client(Error),
    /// A process does not read its standard input any more.
    NotRead,
    /// The caller misused the package.
    Misuse(&'static str),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

impl Failure {
    /// A dict: `name` of the failure, `message`, `fault`, and what else is known of it.
    pub(crate) fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let fields = PyDict::new(py);
        match self {
            Self::Client(error) => describe(&fields, &error)?,
            Self::NotRead => {
                fields.set_item("name", "stdin_closed")?;
                fields.set_item("message", "the process does not read its standard input any more")?;
                fields.set_item("fault", "task")?;
            }
            Self::Misuse(message) => {
                fields.set_item("name", "usage")?;
                fields.set_item("message", message)?;
                fields.set_item("fault", "usage")?;
            }
        }
        Ok(fields.into_any().unbind())
    }
}

fn describe(fields: &Bound<'_, PyDict>, error: &Error) -> PyResult<()> {
    fields.set_item("message", error.to_string())?;
    fields.set_item("fault", error.fault().to_string())?;
    let name = match error {
        Error::Api { source, .. } => {
            if let kube::Error::Api(status) = &**source {
                fields.set_item("code", status.code)?;
                fields.set_item("reason", &status.reason)?;
            }
            "api"
        }
        Error::Config(_) => "config",
        Error::Forbidden { pod, .. } => {
            fields.set_item("code", 403)?;
            fields.set_item("pod", pod)?;
            "api"
        }
        Error::Unreachable { pod, .. } => {
            fields.set_item("pod", pod)?;
            "unreachable"
        }
        Error::PodLost { pod, .. } => {
            fields.set_item("pod", pod)?;
            "pod_lost"
        }
        Error::AgentUnusable { pod, .. } => {
            fields.set_item("pod", pod)?;
            "agent_unusable"
        }
        Error::OldAgent { pod } => {
            fields.set_item("pod", pod)?;
            "old_agent"
        }
        Error::Remote(remote) => {
            fields.set_item("kind", kind_name(remote.kind))?;
            fields.set_item("errno", remote.errno)?;
            "remote"
        }
        Error::Interrupted(_) => "interrupted",
        Error::NoSandbox { sandbox, .. } => {
            fields.set_item("code", 404)?;
            fields.set_item("reason", "NotFound")?;
            fields.set_item("sandbox", sandbox)?;
            "no_sandbox"
        }
        Error::NotReady { sandbox, reason, .. } => {
            fields.set_item("sandbox", sandbox)?;
            fields.set_item("reason", reason)?;
            "not_ready"
        }
        Error::Deadline(..) => "deadline",
        Error::Usage(_) => "usage",
        _ => "other",
    };
    fields.set_item("name", name)
}

/// As `ArlError.kind` has it.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Other => "other",
        Kind::NotFound => "not_found",
        Kind::IsDirectory => "is_directory",
        Kind::NotDirectory => "not_directory",
        Kind::PermissionDenied => "permission_denied",
        Kind::Exists => "exists",
        Kind::NoSpace => "no_space",
        Kind::ReadOnly => "read_only",
        Kind::TooLarge => "too_large",
        Kind::NotEmpty => "not_empty",
        Kind::Invalid => "invalid",
        Kind::Unknown => "unknown_process",
        Kind::TooMany => "too_many",
        Kind::NoSuchUser => "no_such_user",
        Kind::CannotSwitchUser => "cannot_switch_user",
        Kind::NoWorkingDirectory => "no_working_directory",
        Kind::NotExecutable => "not_executable",
        Kind::BadArchive => "bad_archive",
        Kind::Aborted => "aborted",
        Kind::Lost => "lost",
    }
}
