//! What the status frame at the end of a pods/exec stream means.

pub(super) use arl_client::stream::status::was_not_delivered;
use arl_client::stream::status::{NOT_EXECUTABLE, NOT_FOUND, NOT_STARTED, exit_code, has_no_directory};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use arl_crds::text::printable;

use super::run::StepEnd;

/// The most bytes of the runtime's words that are passed on.
const MESSAGE_MAX: usize = 1024;

/// The end of a command; `shell` as in [`super::script::Call`]. `None` where the frame says that the connection broke, not that
/// the command ended.
pub(super) fn command_end(status: &Status, shell: Option<&str>) -> Option<StepEnd> {
    if status.status.as_deref() == Some("Success") {
        return Some(StepEnd::Exited(0));
    }
    if let Some(code) = exit_code(status) {
        return Some(StepEnd::Exited(code));
    }
    start_failure(status.message.as_deref().unwrap_or_default(), shell)
}

/// The runtime's words for a command that did not start; there is no other way to tell one cause from another. They come from
/// runc and the kernel: a program of the user's that is missing or not executable ends as a shell would report it.
pub(super) fn start_failure(message: &str, shell: Option<&str>) -> Option<StepEnd> {
    if was_not_delivered(message) {
        return None;
    }
    let is = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    let not_executable =
        |code, what| StepEnd::NotExecutable { code, message: printable(&format!("{what}: {message}"), MESSAGE_MAX) };
    // Whatever was to be started there.
    if has_no_directory(message) {
        return Some(not_executable(126, "the container's working directory cannot be entered"));
    }
    if is(&NOT_FOUND) {
        return Some(match shell {
            Some(needed) => StepEnd::StartError(format!("this image has no `sh`, which plain exec needs for {needed}")),
            None => not_executable(127, "the program, or the interpreter in a script's first line, was not found"),
        });
    }
    if shell.is_none() && is(&NOT_EXECUTABLE) {
        return Some(not_executable(126, "the program cannot be executed"));
    }
    if is(&NOT_STARTED) {
        return Some(StepEnd::StartError(format!("the container runtime could not start the command: {message}")));
    }
    None
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{StatusCause, StatusDetails};
    use proptest::{collection::vec, option, prelude::*, sample::Index};
    use serde_json::json;

    use super::*;

    /// What was seen in status frames, put together at random.
    fn words() -> impl Strategy<Value = String> {
        let seen = [
            "OCI runtime exec failed: ",
            "unable to start container process: ",
            "executable file not found in $PATH",
            "no such file or directory",
            "permission denied",
            "exec format error",
            "argument list too long",
            "error dialing backend: ",
            "connect: connection refused",
            "pod does not exist",
            "command terminated with exit code 3",
        ];
        let part = prop_oneof![prop::sample::select(seen.to_vec()).prop_map(str::to_owned), ".{0,10}"];
        vec(part, 0..4).prop_map(|parts| parts.concat())
    }

    fn frame() -> impl Strategy<Value = Status> {
        let status = prop::sample::select(vec![None, Some("Success"), Some("Failure"), Some("success"), Some("")]);
        let reason = prop::sample::select(vec![None, Some("ExitCode"), Some("exitcode"), Some("Other")]);
        let code =
            prop_oneof![any::<i64>().prop_map(|n| n.to_string()), (0..256_u32).prop_map(|n| n.to_string()), ".{0,4}"];
        let cause = (reason, option::of(code)).prop_map(|(reason, message)| StatusCause {
            reason: reason.map(str::to_owned),
            message,
            field: None,
        });
        let details = option::of(option::of(vec(cause, 0..3)));
        (status, option::of(words()), details).prop_map(|(status, message, causes)| Status {
            status: status.map(str::to_owned),
            message,
            details: causes.map(|causes| StatusDetails { causes, ..StatusDetails::default() }),
            ..Status::default()
        })
    }

    proptest! {
        /// Nothing but a success, or the exit code 0, is ever taken for one; who could not pass a command on never ends it.
        #[test]
        fn fuzz_status_frames(
            frame in frame(), shell in option::of("[a-z]{1,9}"), at in any::<Index>(), byte in any::<u8>(), cut in any::<bool>()
        ) {
            let says_success = frame.status.as_deref() == Some("Success");
            let code = exit_code(&frame);
            let message = frame.message.clone().unwrap_or_default();
            match command_end(&frame, shell.as_deref()) {
                Some(StepEnd::Exited(0)) => prop_assert!(says_success || code == Some(0)),
                Some(StepEnd::Exited(found)) if code.is_some() => prop_assert_eq!(Some(found), code),
                Some(StepEnd::NotExecutable { code: found, .. }) => {
                    prop_assert!(found == 126 || (shell.is_none() && found == 127));
                    prop_assert!(code.is_none() && !says_success && !was_not_delivered(&message));
                }
                Some(StepEnd::StartError(_)) => prop_assert!(code.is_none() && !says_success && !was_not_delivered(&message)),
                Some(other) => prop_assert!(false, "{:?}", other),
                None => prop_assert!(code.is_none() && !says_success),
            }
            // The frame as it travels, spoilt on the way: it is no status, or one that can be read as well.
            let mut bytes = serde_json::to_vec(&frame).unwrap();
            *at.get_mut(&mut bytes) = byte;
            if cut {
                bytes.truncate(at.index(bytes.len()));
            }
            if let Ok(spoilt) = serde_json::from_slice::<Status>(&bytes) {
                let end = command_end(&spoilt, shell.as_deref());
                prop_assert!(end != Some(StepEnd::Exited(0)) || spoilt.status.as_deref() == Some("Success") || exit_code(&spoilt) == Some(0));
            }
        }

        /// The first cause that says an exit code counts, where it is a number.
        #[test]
        fn fuzz_exit_codes(code: i32, before in vec("[a-zA-DF-Z]{0,8}", 0..3), words in words()) {
            let cause = |reason: &str, message: &str| json!({ "reason": reason, "message": message });
            let causes = before.iter().map(|reason| cause(reason, "77")).chain([cause("ExitCode", &code.to_string())]);
            let causes: Vec<_> = causes.collect();
            let frame = json!({ "status": "Failure", "message": words, "details": { "causes": causes } });
            let frame: Status = serde_json::from_value(frame).unwrap();
            prop_assert_eq!(command_end(&frame, None), Some(StepEnd::Exited(code)));
        }
    }

    /// As seen where a step had moved the directory away.
    const MOVED_AWAY: &str = "chdir to cwd (\"/work\") set in config.json failed: no such file or directory";

    #[test]
    fn a_status_frame_is_read() {
        let failure = |code: Option<&str>, message: &str| Status {
            status: Some("Failure".into()),
            message: Some(message.into()),
            details: code.map(|code| StatusDetails {
                causes: Some(vec![StatusCause {
                    reason: Some("ExitCode".into()),
                    message: Some(code.into()),
                    field: None,
                }]),
                ..StatusDetails::default()
            }),
            ..Status::default()
        };
        let success = Status { status: Some("Success".into()), ..Status::default() };
        let runc = |cause: &str| {
            failure(
                None,
                &format!(
                    "OCI runtime exec failed: exec failed: unable to start container process: exec: {cause}: unknown"
                ),
            )
        };
        for (status, expected) in [
            (success, Some(StepEnd::Exited(0))),
            (failure(Some("3"), "command terminated with exit code 3"), Some(StepEnd::Exited(3))),
            (failure(Some("137"), ""), Some(StepEnd::Exited(137))),
            (failure(None, "error dialing backend: connection refused"), None),
            (failure(Some("x"), ""), None),
            (Status::default(), None),
        ] {
            assert_eq!(command_end(&status, None), expected, "{status:?}");
        }
        assert!(matches!(command_end(&runc("argument list too long"), None), Some(StepEnd::StartError(_))));
        for (cause, shell, expected, words) in [
            ("\"nosuch\": executable file not found in $PATH", None, 127, "was not found: "),
            ("\"/nosuch\": stat /nosuch: no such file or directory", None, 127, "was not found: "),
            ("\"/etc/passwd/x\": stat /etc/passwd/x: not a directory", None, 127, "was not found: "),
            ("\"/etc/passwd\": permission denied", None, 126, "cannot be executed: "),
            (MOVED_AWAY, None, 126, "the container's working directory cannot be entered: "),
            (MOVED_AWAY, Some("env"), 126, "the container's working directory cannot be entered: "),
        ] {
            let Some(StepEnd::NotExecutable { code, message }) = command_end(&runc(cause), shell) else {
                panic!("{cause}, {shell:?}")
            };
            assert!(code == expected && message.contains(words) && message.contains(cause), "{code}: {message}");
        }

        // As seen while the kubelet was down, while it had just started, and while containerd was down.
        for words in [
            "error sending request: Post \"https://10.0.0.2:10250/exec/ns/p/c\": dial tcp 10.0.0.2:10250: connect: connection refused",
            "unable to upgrade connection: pod does not exist",
            "unable to upgrade connection: rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while \
             dialing: dial unix /run/containerd.sock: connect: no such file or directory\"",
        ] {
            assert!(was_not_delivered(words), "{words}");
            assert_eq!(command_end(&failure(None, words), None), None, "{words}");
        }
        assert!(!was_not_delivered("the stream ended without a status"));

        let no_shell = command_end(&runc("\"sh\": executable file not found in $PATH"), Some("env; leave it out"));
        let words = "this image has no `sh`, which plain exec needs for env; leave it out";
        assert_eq!(no_shell, Some(StepEnd::StartError(words.into())));
        assert_eq!(command_end(&failure(Some("127"), ""), Some("env")), Some(StepEnd::Exited(127)), "said by a shell");
    }
}
