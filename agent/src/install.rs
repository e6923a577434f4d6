//! `install`: puts the agent where the executor container sees it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use crate::records;

/// Copies this binary into `directory` and notes there which pod this is. The pod's container may have any user: all may read
/// and execute.
pub fn install(directory: &Path) -> Result<(), String> {
    let pod = std::env::var(arl_agent::POD_UID)
        .map_err(|_| format!("{} is not set: it must be the uid of the pod", arl_agent::POD_UID))?;
    let target = directory.join(arl_agent::BINARY);
    let new = directory.join("agent.new");
    fs::copy("/proc/self/exe", &new)
        .and_then(|_| fs::set_permissions(&new, fs::Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(&new, &target))
        .map_err(|error| format!("{} cannot be written: {error}", target.display()))?;
    records::write_pod(directory, &pod).map_err(|error| format!("{} cannot be written: {error}", directory.display()))
}
