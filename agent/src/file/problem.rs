//! Why a file was not written.

use std::fmt::Display;

use nix::{errno::Errno, unistd::geteuid};

/// Why a file was not written, to be read behind its path.
pub(super) struct Problem(pub(super) String);

impl Problem {
    pub(super) fn new(what: impl Display, errno: Errno) -> Self {
        let advice = match errno {
            Errno::EACCES | Errno::EPERM => format!("; uid {} may not write there", geteuid()),
            Errno::EROFS => "; write to a volume that the pool's template mounts writable".into(),
            Errno::ENOSPC | Errno::EDQUOT => "; make room there, or give the volume more".into(),
            Errno::ETXTBSY => "; it is a program that is running".into(),
            _ => String::new(),
        };
        Self(format!("{what}: {}{advice}", errno.desc()))
    }

    pub(super) fn not_written(errno: Errno) -> Self {
        Self::new("cannot be written", errno)
    }
}
