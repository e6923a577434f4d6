//! Why a program could not be started, for steps and live processes alike.

use arl_agent::message::error::Kind;
use nix::errno::Errno;

/// What is said of a program that is not there.
pub const NOT_FOUND: &str = "not found in the container: the program is missing, or what starts it: the interpreter in a script's first line, or the loader of a \
     program that was linked for another image, as one for glibc in Alpine";

/// What the error of a start means; of one that no system call gave: that the request makes no sense.
pub fn kind(error: &std::io::Error) -> Kind {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENOTDIR) => Kind::NotFound,
        Some(Errno::EACCES | Errno::EPERM | Errno::ENOEXEC | Errno::EISDIR) => Kind::NotExecutable,
        Some(Errno::E2BIG) => Kind::TooLarge,
        Some(_) => Kind::Other,
        None => Kind::Invalid,
    }
}
