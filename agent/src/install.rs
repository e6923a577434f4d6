//! `install`: puts the agent where the executor container sees it.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
};

use arl_agent::{BIN, BINARY, HOME, POD, STATE};

/// Copies this binary into the volume at `directory` and notes there which pod this is, and what the template names as the
/// executor's working directory. The executor container may have any user:
/// all may read and execute, and none write, but in the folder for what the agent keeps.
pub fn install(directory: &Path, home: Option<&OsStr>) -> Result<(), String> {
    let pod = std::env::var(arl_agent::POD_UID)
        .map_err(|_| format!("{} is not set: it must be the uid of the pod", arl_agent::POD_UID))?;
    let (bin, state) = (directory.join(BIN), directory.join(STATE));
    fill(&bin, &state, &pod, home)
        .and_then(|()| [BINARY, POD].iter().try_for_each(|name| link(&bin.join(name), &directory.join(name))))
        .map_err(|error| format!("the volume at {} cannot be filled: {error}", directory.display()))?;
    try_out(&bin.join(BINARY))
}

/// What is there already is of an earlier start of this container, when the node was started again say.
fn fill(bin: &Path, state: &Path, pod: &str, home: Option<&OsStr>) -> std::io::Result<()> {
    let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
    fs::create_dir_all(bin)?;
    set(bin, 0o755)?;
    let new = bin.join("new");
    let _ = fs::remove_file(&new);
    fs::copy("/proc/self/exe", &new)?;
    set(&new, 0o555)?;
    fs::rename(&new, bin.join(BINARY))?;
    let notes = [(POD, Some(OsStr::new(pod))), (HOME, home)];
    for (name, note) in notes.into_iter().filter_map(|(name, note)| Some((name, note?))) {
        fs::write(&new, note.as_encoded_bytes())?;
        set(&new, 0o444)?;
        fs::rename(&new, bin.join(name))?;
    }
    // The other folder is mounted on this one.
    fs::create_dir_all(bin.join(STATE))?;
    set(bin, 0o555)?;
    fs::create_dir_all(state)?;
    set(state, 0o1777)
}

/// Operators of before the two folders mount the volume whole, and look for these files in it. Where the folders are mounted, the
/// links are out of reach. A volume that has no links gets copies.
fn link(file: &Path, link: &Path) -> std::io::Result<()> {
    let _ = fs::remove_file(link);
    // With the mode of the file, too.
    fs::hard_link(file, link).or_else(|_| fs::copy(file, link).map(drop))
}

/// Found here, it is the pool that says so; later it would be each Task.
fn try_out(agent: &Path) -> Result<(), String> {
    let forbidden = |how: String| {
        format!(
            "{} was written and cannot be executed: {how}; the node mounts the kubelet's volumes noexec, or a security policy \
             forbids it",
            agent.display()
        )
    };
    let tried = Command::new(agent).arg("version").output().map_err(|error| forbidden(error.to_string()))?;
    if tried.status.success() { Ok(()) } else { Err(forbidden(tried.status.to_string())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a file of /proc there can be no hard link anywhere.
    #[test]
    fn a_volume_without_hard_links_gets_copies() {
        let folder = std::env::temp_dir().join(format!("arl-agent-{}-links", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, copy) = (Path::new("/proc/self/limits"), folder.join("copy"));
        for _ in 0..2 {
            link(file, &copy).unwrap();
            assert_eq!(fs::read(&copy).unwrap(), fs::read(file).unwrap());
            assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o444, "as of the file");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
