//! What the status frame at the end of a pods/exec stream says. There is no other way to tell one cause from another than the words of
//! the kubelet, runc and the kernel.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

/// Words for a program, or a working directory, that there is not.
pub const NOT_FOUND: [&str; 3] = ["executable file not found", "no such file or directory", "not a directory"];
/// Words for a program that cannot be executed.
pub const NOT_EXECUTABLE: [&str; 3] = ["permission denied", "is a directory", "exec format error"];
/// Words for a container whose working directory is gone, in which nothing at all can be started: of runc, and of crun.
const NO_DIRECTORY: [&str; 2] = ["chdir to cwd (", "chdir to `"];
/// Words for a command that was not started.
pub const NOT_STARTED: [&str; 3] =
    ["unable to start container process", "OCI runtime exec failed", "argument list too long"];

/// The code that the command exited with, where the frame says one.
pub fn exit_code(status: &Status) -> Option<i32> {
    let causes = status.details.as_ref()?.causes.as_ref()?;
    causes.iter().find(|c| c.reason.as_deref() == Some("ExitCode"))?.message.as_ref()?.parse().ok()
}

/// Whether the container has lost its working directory, which code in it moved away or removed.
pub fn has_no_directory(message: &str) -> bool {
    NO_DIRECTORY.iter().any(|phrase| message.contains(phrase))
}

/// The same words, after what they mean where that is not plain.
pub(super) fn explained(message: String) -> String {
    if !has_no_directory(&message) {
        return message;
    }
    format!("the container's working directory is gone, and without it nothing is started in the container ({message})")
}

/// Whether a command reached its container and could not be started there.
pub fn failed_to_start(message: &str) -> bool {
    let mut phrases = NOT_FOUND.iter().chain(&NOT_EXECUTABLE).chain(&NOT_STARTED);
    !was_not_delivered(message) && phrases.any(|phrase| message.contains(phrase))
}

/// Whether the words are of somebody on the way to the container (API server, kubelet) who could not pass the command on: then
/// it was certainly not started.
pub fn was_not_delivered(message: &str) -> bool {
    [
        "error dialing backend",
        "Error while dialing",
        "connect: connection refused",
        "pod does not exist",
        "failed calling webhook",
    ]
    .iter()
    .any(|phrase| message.contains(phrase))
}
