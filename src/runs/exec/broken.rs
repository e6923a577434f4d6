//! Commands that nobody heard the end of, and what that means for them.

use std::time::Duration;

use arl_crds::text::printable;

use super::super::{exec_status, run::StepEnd};

/// A command that was not delivered is tried again for so long. A kubelet that was started a moment ago knows no pods for some seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// Said of a command whose exec was not answered.
pub(super) const UNANSWERED: &str = "pods/exec did not answer (see kubectl get nodes)";
/// The most bytes of others' words that are passed on.
const MESSAGE_MAX: usize = 1024;

/// The end of a command is not known; in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// It was not started, or does the same when it is started again. The words may have some of the command's own in them.
    NotDelivered(String),
    /// There was no way to its node, so that it was not started.
    Unreached(String),
    /// The API server refuses to pass it on, so that it was not started.
    Refused(String),
    /// The connection was lost.
    Lost(String),
    /// exec was asked for and did not answer: it may have been started, or may yet be.
    Unanswered,
}

impl Broken {
    pub(super) fn new(message: String) -> Self {
        if exec_status::was_not_delivered(&message) { Self::NotDelivered(message) } else { Self::Lost(message) }
    }

    /// Of a call that came to no stream. A pod that is gone tells more itself.
    pub(super) fn of(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 429 || exec_status::was_not_delivered(&status.message) => {
                Self::Unreached(status.message.clone())
            }
            kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 404 => {
                Self::Refused(status.message.clone())
            }
            // The request was not even sent.
            kube::Error::Service(error) if error.to_string().contains("(Connect)") => {
                Self::Unreached(format!("the API server cannot be reached: {error}"))
            }
            error => Self::new(error.to_string()),
        }
    }

    /// What it means once it has been so for this long, and no more of that is waited for; none where more is to be found out.
    pub(super) fn end(&self, tried: Duration) -> Option<StepEnd> {
        let tried = format!("{:.1}", tried.as_secs_f64());
        let unreached = |message: &str| {
            let message = format!(
                "the pod's node did not take the command within {tried} s ({message}), so nothing was started; see kubectl get nodes, \
                 and create the Task again when the node is well"
            );
            printable(&message, MESSAGE_MAX)
        };
        Some(match self {
            Self::NotDelivered(message) => StepEnd::StartError(unreached(message)),
            Self::Unreached(message) => StepEnd::NotDelivered(unreached(message)),
            Self::Refused(message) => {
                let message = format!(
                    "the API server refuses pods/exec for {tried} s ({message}), so nothing was started; let the operator's \
                     ServiceAccount use it in this namespace, and create the Task again"
                );
                StepEnd::NotDelivered(printable(&message, MESSAGE_MAX))
            }
            Self::Lost(_) | Self::Unanswered => return None,
        })
    }

    /// In words, where more is not to be found out.
    pub(super) fn into_message(self) -> String {
        match self {
            Self::NotDelivered(message) | Self::Unreached(message) | Self::Refused(message) | Self::Lost(message) => {
                format!("the connection to the pod was lost ({message})")
            }
            Self::Unanswered => UNANSWERED.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn what_the_api_server_refuses_to_pass_on_was_not_started_and_is_not_the_tasks_fault() {
        let answer = |code: u16, message: &str| {
            Broken::of(kube::Error::Api(Status { code, message: message.into(), ..Status::default() }.boxed()))
        };
        for (code, message, words) in [
            (401, "Unauthorized", "refuses pods/exec"),
            (403, "pods \"p\" is forbidden: User \"u\" cannot create resource \"pods/exec\"", "refuses pods/exec"),
            (403, "admission webhook \"w\" denied the request: no", "refuses pods/exec"),
            (422, "ValidatingAdmissionPolicy 'x' denied request: no", "refuses pods/exec"),
            (429, "too many requests", "did not take the command"),
            (
                500,
                "Internal error occurred: failed calling webhook \"w\": connection refused",
                "did not take the command",
            ),
            (500, "error dialing backend: dial tcp", "did not take the command"),
        ] {
            match answer(code, message).end(PATIENCE) {
                Some(StepEnd::NotDelivered(said)) => {
                    assert!(
                        said.contains(words) && said.contains(message) && said.contains("nothing was started"),
                        "{said}"
                    );
                }
                other => panic!("{code} {message}: {other:?}"),
            }
        }
        let own_words = Broken::new("exec: \"error dialing backend\": executable file not found in $PATH".into());
        assert!(matches!(own_words.end(PATIENCE), Some(StepEnd::StartError(_))), "a program may have any name");
        for (code, message) in [(404, "pods \"p\" not found"), (500, "container not found"), (502, "")] {
            assert_eq!(answer(code, message).end(PATIENCE), None, "{code} {message}: nobody knows");
        }
    }
}
