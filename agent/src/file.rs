//! Replacing a file: whoever reads it sees the old content or the new, all of it.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{ErrorKind, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

const NEW_MODE: u32 = 0o644;

/// Writes `content` to `path`, creating its directories; the mode of an existing file is kept. A link is followed, so that it
/// stays one.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), String> {
    let failed = |what: &str, error: &std::io::Error| format!("{}: {what}: {error}", path.display());
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(failed("cannot be looked up", &error)),
    };
    let mode = match fs::metadata(&target) {
        Ok(found) if found.is_dir() => return Err(format!("{} is a directory; name a file in it", path.display())),
        Ok(found) => found.permissions().mode() & 0o7777,
        Err(_) => NEW_MODE,
    };
    let Some(name) = target.file_name() else { return Err(format!("{} names no file", path.display())) };
    let parent =
        target.parent().filter(|p| !p.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_owned);
    fs::create_dir_all(&parent).map_err(|error| failed("its directory cannot be created", &error))?;
    let mut temporary = name.to_owned();
    temporary.push(format!(".arl-{}", std::process::id()));
    let temporary = parent.join(temporary);
    let written = write(&temporary, content, mode).and_then(|()| fs::rename(&temporary, &target));
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        failed("cannot be written", &error)
    })
}

fn write(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    // Set apart from creation, since a umask would change it.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}
