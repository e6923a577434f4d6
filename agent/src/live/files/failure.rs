//! Errors of the system as callers get them.

use std::{io, path::Path};

use arl_agent::message::error::{Error, Kind};
use nix::errno::Errno;

/// What a caller is told of `errno` at `path`.
pub fn failed(path: &Path, errno: Errno) -> Error {
    Error { kind: kind(errno), message: format!("{}: {}", path.display(), errno.desc()), errno: Some(errno as i32) }
}

/// The same for an error of the standard library.
pub fn io_failed(path: &Path, error: io::Error) -> Error {
    failed(path, Errno::try_from(error).unwrap_or(Errno::EIO))
}

/// The kind of an error.
pub fn kind(errno: Errno) -> Kind {
    match errno {
        Errno::ENOENT => Kind::NotFound,
        Errno::EISDIR => Kind::IsDirectory,
        Errno::ENOTDIR => Kind::NotDirectory,
        Errno::EACCES | Errno::EPERM => Kind::PermissionDenied,
        Errno::EEXIST => Kind::Exists,
        Errno::ENOSPC | Errno::EDQUOT => Kind::NoSpace,
        Errno::EROFS => Kind::ReadOnly,
        Errno::EFBIG => Kind::TooLarge,
        Errno::ENOTEMPTY => Kind::NotEmpty,
        Errno::EINVAL | Errno::ELOOP | Errno::ENAMETOOLONG | Errno::EXDEV => Kind::Invalid,
        // Nobody takes the output any more, or the input was not all of it.
        Errno::EPIPE | Errno::ECANCELED => Kind::Aborted,
        _ => Kind::Other,
    }
}
