//! How many files the process may have open. Each stream to a pod is a connection, and each call under way.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes as many as are allowed. A program that does not ask has 1,024 in most containers, where it may have half a million: a namespace
/// with as many Sandboxes would leave none for the calls of all others.
pub fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(?current, ?maximum, "the limit on open files was raised"),
        Err(error) => tracing::warn!(%error, ?current, "the limit on open files cannot be raised"),
    }
}
