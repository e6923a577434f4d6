//! Why a file was not written.

use std::fmt::Display;

use nix::{errno::Errno, unistd::geteuid};

/// To be read behind the file's path.
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// The error of the system; none, where the path itself cannot be meant.
    pub errno: Option<Errno>,
}

impl Problem {
    pub(super) fn new(what: impl Display, errno: Errno) -> Self {
        let advice = match errno {
            Errno::EACCES | Errno::EPERM => format!("; uid {} may not write there", geteuid()),
            Errno::EROFS => "; write to a volume that the pool's template mounts writable".into(),
            Errno::ENOSPC | Errno::EDQUOT => "; make room there, or give the volume more".into(),
            Errno::ETXTBSY => "; it is a program that is running".into(),
            _ => String::new(),
        };
        Self { message: format!("{what}: {}{advice}", errno.desc()), errno: Some(errno) }
    }

    /// One that the path shows.
    pub(super) fn of_path(message: impl Into<String>, errno: Option<Errno>) -> Self {
        Self { message: message.into(), errno }
    }

    pub(super) fn not_written(errno: Errno) -> Self {
        Self::new("cannot be written", errno)
    }
}
