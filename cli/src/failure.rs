//! Why something was not done, and the exit code that says so.
//!
//! | code | |
//! |---|---|
//! | the command's own | it ran to its end; 128+n: signal n ended it |
//! | 124 | it was ended by its `--timeout` |
//! | 125 | a failure of ours: usage, rights, the cluster, the pod |
//! | 126, 127 | the command cannot be executed; is not there |
//! | 128+n | we were ended by signal n, such as 130 by Ctrl-C |
//! | 141 | nobody reads our output any more |

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use anstyle::{AnsiColor, Style};
use arl_client::{Error, is_unknown_kind, kind::Kind};
use arl_crds::text::{printable, with_causes};

use crate::terminal;

/// Of failures that are not the command's.
pub const OURS: u8 = 125;
/// Of a command that its timeout ended.
pub const TIMED_OUT: u8 = 124;
/// Of a command that is not there.
pub const NOT_FOUND: u8 = 127;
/// As a process that SIGHUP ended: its terminal was closed.
pub const HANG_UP: u8 = 129;
/// As a process that SIGPIPE ended.
const BROKEN_PIPE: u8 = 141;
/// What a terminal that was closed says: the same on Linux and macOS.
const EIO: i32 = 5;
/// Far more than a message needs.
const MESSAGE_MAX: usize = 8192;

const ERROR: Style = AnsiColor::Red.on_default().bold();

/// An exit code, and what is said with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// The cause and what to do; empty: nothing is said.
    pub message: String,
    /// Something is not there, and perhaps not even the namespace where it was looked for.
    pub is_absence: bool,
}

impl Failure {
    /// One that is not the command's.
    pub fn ours(message: impl Into<String>) -> Self {
        Self { code: OURS, message: message.into(), is_absence: false }
    }

    /// Of something that is not there.
    pub fn absence(message: impl Into<String>) -> Self {
        Self { is_absence: true, ..Self::ours(message) }
    }

    /// An exit code that needs no words.
    pub fn quiet(code: u8) -> Self {
        Self { code, ..Self::ours("") }
    }

    /// Says it on standard error.
    pub fn show(self) -> ExitCode {
        if !self.message.is_empty() {
            let message = printable(&self.message, MESSAGE_MAX);
            // Nobody may hear it.
            let _ = writeln!(anstream::stderr().lock(), "{ERROR}error:{ERROR:#} {message}");
        }
        self.code.into()
    }

    /// A command that was not started.
    pub fn not_started(error: Error) -> Self {
        let code = match error.kind() {
            Some(Kind::NotFound) => NOT_FOUND,
            Some(Kind::NotExecutable | Kind::PermissionDenied | Kind::NoWorkingDirectory | Kind::IsDirectory) => 126,
            _ => OURS,
        };
        Self { code, ..error.into() }
    }

    /// Whether it is of a program that is not there.
    pub fn is_not_found(&self) -> bool {
        self.code == NOT_FOUND && !self.message.is_empty()
    }

    /// Output that cannot be written.
    pub fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::quiet(BROKEN_PIPE),
            // The signal that says so may come later.
            _ if error.raw_os_error() == Some(EIO) && terminal::is_output() => Self::quiet(HANG_UP),
            _ => Self::ours(format!("the output cannot be written: {error}")),
        }
    }

    /// Signals that cannot be waited for.
    pub fn signals(error: &io::Error) -> Self {
        Self::ours(format!("signals: {error}"))
    }

    /// A call of the API that failed.
    pub fn api(what: &str, error: &kube::Error) -> Self {
        let is_absence = matches!(error, kube::Error::Api(status) if status.code == 404);
        Self { is_absence, ..Self::ours(format!("cannot {what}: {}", reason(error))) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Api { verb, object, source } => Self::api(&format!("{verb} {object}"), &source),
            Error::Remote(remote) => {
                let advice = match remote.kind {
                    Kind::CannotSwitchUser => "; leave -u out, or give the pool's container runAsUser: 0",
                    Kind::TooMany => "; `kubectl arl ps` lists them, `kubectl arl kill` ends one",
                    _ => "",
                };
                Self::ours(format!("{}{advice}", remote.message))
            }
            other => Self::ours(other.to_string()),
        }
    }
}

/// What is said of an object that is there.
pub fn unreadable(error: impl Display) -> String {
    format!("this version of kubectl arl cannot read it ({error}); kubectl get -o yaml shows it")
}

/// What the API server says, and what can be done about it.
fn reason(error: &kube::Error) -> String {
    if let kube::Error::SerdeError(error) = error {
        return unreadable(error);
    }
    let kube::Error::Api(status) = error else {
        return format!("{}; is the cluster there? --context and --kubeconfig choose another", with_causes(error));
    };
    let said = status.message.as_str();
    match status.code {
        401 => format!("{said}: the credentials are not valid (any more); log in again, or choose another --context"),
        403 if said.contains("forbidden: User") => {
            format!("{said}; ask for this right, or choose another namespace (-n) or --context")
        }
        404 if is_unknown_kind(error) => {
            "the cluster does not know the kind: the operator's definitions are not installed, see docs/install.md"
                .to_owned()
        }
        409 if said.ends_with("already exists") => format!("{said}; choose another name, or delete that one first"),
        _ => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(kind: Kind) -> Error {
        Error::Remote(arl_agent::message::error::Error::new(kind, "it failed"))
    }

    #[test]
    fn a_command_that_is_not_started_has_the_codes_of_a_shell() {
        for (kind, code) in [
            (Kind::NotFound, 127),
            (Kind::NotExecutable, 126),
            (Kind::NoWorkingDirectory, 126),
            (Kind::TooMany, 125),
            (Kind::NoSuchUser, 125),
        ] {
            assert_eq!(Failure::not_started(remote(kind)).code, code, "{kind:?}");
        }
        assert_eq!(Failure::from(remote(Kind::NotFound)).code, 125, "of a file");
    }

    #[test]
    fn what_the_api_server_refuses_says_what_to_do() {
        let api = |code: u16, message: &str| {
            let status = kube::core::Status { code, message: message.into(), ..kube::core::Status::default() };
            Failure::api("list pods", &kube::Error::Api(Box::new(status))).message
        };
        let forbidden = api(403, "pods is forbidden: User \"u\" cannot list resource \"pods\"");
        assert!(forbidden.contains("ask for this right"), "{forbidden}");
        assert!(api(404, "the server could not find the requested resource").contains("docs/install.md"));
        assert!(api(401, "Unauthorized").contains("log in again"));
        assert_eq!(api(409, "it is there already"), "cannot list pods: it is there already");
        assert!(api(409, "pods \"p\" already exists").ends_with("; choose another name, or delete that one first"));
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_no_cluster_that_is_not_there() {
        let error = serde_json::from_str::<u8>("-1").unwrap_err();
        let said = Failure::api("get Task b", &kube::Error::SerdeError(error)).message;
        assert!(
            said.starts_with("cannot get Task b: this version of kubectl arl cannot read it (invalid value"),
            "{said}"
        );
        assert!(!said.contains("is the cluster there"), "{said}");
    }

    #[test]
    fn nobody_is_told_that_nobody_reads() {
        assert_eq!(Failure::output(&io::ErrorKind::BrokenPipe.into()), Failure::quiet(141));
        assert_eq!(Failure::output(&io::ErrorKind::StorageFull.into()).code, 125);
    }
}
