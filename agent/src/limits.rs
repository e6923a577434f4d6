//! How many descriptors a process may have open. The supervisor needs several for each live process; what it starts gets the limit
//! that the container gave it.

use std::{ffi::OsString, sync::OnceLock};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Enough for all live processes, with four descriptors each, and their clients.
const WANTED: u64 = 4096;

/// The limit that the container gave.
static GIVEN: OnceLock<u64> = OnceLock::new();

/// Raises this process's limit as far as it is useful and allowed.
pub fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (Some(current), wanted) = (current, maximum.unwrap_or(WANTED).min(WANTED)) else { return };
    if current < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok() {
        let _ = GIVEN.set(current);
    }
}

/// What a process that is started here is given for [`restore`].
pub fn given() -> Option<String> {
    GIVEN.get().map(u64::to_string)
}

/// Sets the limit that the container gave, which whoever started this process names.
pub fn restore(given: Option<OsString>) {
    if let Some(given) = given.and_then(|given| given.to_str()?.parse().ok()) {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(given), maximum });
    }
}

/// How many things with `each` descriptors may be open beside `others`.
pub fn room(each: u64, others: u64) -> u64 {
    getrlimit(Resource::Nofile).current.map_or(u64::MAX, |limit| limit.saturating_sub(others) / each)
}
