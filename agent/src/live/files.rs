//! File calls: what is done with files, as the user that this process is.

mod archive;
mod entries;
mod failure;
mod header;
mod incoming;
mod pack;
mod unpack;

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt,
            fs::{FileTypeExt, OpenOptionsExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
};

use arl_agent::message::{
    error::{Error, Kind},
    file::{Action, Success},
};
use nix::libc::{EINVAL, EISDIR, ENOTDIR, O_NOCTTY, O_NONBLOCK};

use crate::file::{self, NOT_EXPANDED, Problem};
use failure::{io_failed, kind};
use incoming::Incoming;

const MODE_MAX: u32 = 0o7777;

/// Does one, with its input and output. `is_committed` says whether the input was all that there is, once it has ended.
pub fn call(
    action: &Action,
    descriptors: Vec<OwnedFd>,
    is_committed: &mut dyn FnMut() -> bool,
) -> Result<Success, Error> {
    let mut descriptors = descriptors.into_iter().map(File::from);
    let (Some(mut input), Some(mut output)) = (descriptors.next(), descriptors.next()) else {
        return Err(Error::new(Kind::Other, "the descriptors of the call are missing"));
    };
    match action {
        Action::Read { path, offset, length } => read(checked(path)?, *offset, *length, &mut output),
        Action::Write { path, mode } => {
            let mut content = Incoming::new(input, is_committed);
            let written = file::replace(checked(path)?.as_os_str(), &mut content, permitted(*mode)?, false);
            written.map_err(|problem| refused(path, &problem))?;
            Ok(Success::Count(content.length()))
        }
        Action::Append { path } => {
            let mut content = Incoming::new(input, is_committed);
            let appended = file::append(checked(path)?.as_os_str(), &mut content);
            appended.map_err(|problem| refused(path, &problem))?;
            Ok(Success::Count(content.length()))
        }
        Action::Stat { path, follow } => entries::stat(checked(path)?, *follow).map(Success::Entry),
        Action::List { path, depth } => entries::list(checked(path)?, *depth, &mut output).map(Success::Count),
        Action::MakeDirectory { path, mode } => make_directory(&to_make(path)?, permitted(*mode)?),
        Action::Remove { path, recursive } => remove(checked(path)?, *recursive),
        Action::Rename { from, to } => {
            let (from, to) = (checked(from)?, checked(to)?);
            // Either may be what is wrong.
            let both = || format!("{} cannot be renamed to {}", from.display(), to.display());
            fs::rename(from, to).map(|()| Success::Count(0)).map_err(|error| io_failed(Path::new(&both()), error))
        }
        Action::ChangeMode { path, mode } => {
            let (path, mode) = (checked(path)?, permitted(Some(*mode))?.unwrap_or_default());
            let changed = fs::set_permissions(path, fs::Permissions::from_mode(mode));
            changed.map(|()| Success::Count(0)).map_err(|error| io_failed(path, error))
        }
        Action::Pack { directory, names } => {
            let directory = checked(directory)?;
            std::env::set_current_dir(directory).map_err(|error| io_failed(directory, error))?;
            let names: Vec<&Path> = names.iter().map(|name| below(name)).collect::<Result<_, _>>()?;
            pack::pack(&names, &mut output).map(Success::Count)
        }
        Action::Unpack { directory } => {
            let directory = to_make(directory)?;
            fs::create_dir_all(&directory).map_err(|error| io_failed(&directory, error))?;
            let unpacked = unpack::unpack(&directory, &mut input);
            let is_cut = !matches!(&unpacked, Err(error) if error.kind != Kind::Aborted);
            // Only what has been read to its end is asked for: otherwise the rest is still on its way.
            match unpacked {
                unpacked if !is_cut => unpacked.map(Success::Count),
                _ if !is_committed() => Err(Error::new(Kind::Aborted, "the archive was not sent to its end")),
                Err(_) => Err(header::malformed("the archive ends in the middle of an entry")),
                Ok(count) => Ok(Success::Count(count)),
            }
        }
    }
}

fn to_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

fn checked(path: &[u8]) -> Result<&Path, Error> {
    if path.is_empty() || path.contains(&0) {
        return Err(Error::new(Kind::Invalid, "a path is empty or has a NUL byte"));
    }
    Ok(to_path(path))
}

/// A directory that is made where it is not there. A `~` of somebody who thinks of a shell would be one. Without its `.` parts:
/// `create_dir_all` takes `a/b/.` for a directory in one that is not there.
fn to_make(path: &[u8]) -> Result<PathBuf, Error> {
    if path.starts_with(b"~") {
        return Err(Error::new(Kind::Invalid, format!("{} {NOT_EXPANDED}", to_path(path).display())));
    }
    checked(path).map(|path| path.components().collect())
}

/// A name in an archive: relative, and not above its directory.
fn below(name: &[u8]) -> Result<&Path, Error> {
    let name = checked(name)?;
    let leads_out = |part| !matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir);
    if name.components().any(leads_out) {
        return Err(Error::new(Kind::Invalid, format!("{} is not below the directory", name.display())));
    }
    Ok(name)
}

fn permitted(mode: Option<u32>) -> Result<Option<u32>, Error> {
    match mode {
        Some(mode) if mode > MODE_MAX => Err(Error::new(Kind::Invalid, format!("{mode:o} is no mode"))),
        mode => Ok(mode),
    }
}

fn refused(path: &[u8], problem: &Problem) -> Error {
    let message = format!("{} {}", to_path(path).display(), problem.message);
    Error { kind: problem.errno.map_or(Kind::Invalid, kind), message, errno: problem.errno.map(|errno| errno as i32) }
}

fn read(path: &Path, offset: u64, length: Option<u64>, output: &mut File) -> Result<Success, Error> {
    let failed = |error| io_failed(path, error);
    // Whoever is at the other end of a pipe is not waited for.
    let file = File::options().read(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(path);
    let mut file = file.map_err(failed)?;
    let kind = file.metadata().map_err(failed)?.file_type();
    if kind.is_dir() {
        return Err(failed(io::Error::from_raw_os_error(EISDIR)));
    }
    if kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device() {
        return Err(Error::new(
            Kind::Invalid,
            format!("{} is no file but a pipe, a socket or a device", path.display()),
        ));
    }
    match file.seek(SeekFrom::Start(offset)) {
        // Behind what any file of this file system can have.
        Err(error) if error.raw_os_error() == Some(EINVAL) => return Ok(Success::Count(0)),
        sought => sought.map_err(failed)?,
    };
    let sent = io::copy(&mut file.take(length.unwrap_or(u64::MAX)), output);
    sent.map(Success::Count).map_err(failed)
}

fn make_directory(path: &Path, mode: Option<u32>) -> Result<Success, Error> {
    let failed = |error| io_failed(path, error);
    let was_there = path.is_dir();
    fs::create_dir_all(path).map_err(failed)?;
    if let Some(mode) = mode.filter(|_| !was_there) {
        // Where the file system has its own idea of modes, that one stands.
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(mode));
    }
    Ok(Success::Count(0))
}

/// Only what the path ends in the name of. Of anything else the content would be removed first, before the system refuses the rest:
/// of `.` and `..`, of the root, and of what a link leads to that has a slash behind it.
fn remove(path: &Path, recursive: bool) -> Result<Success, Error> {
    let failed = |error| io_failed(path, error);
    let bytes = path.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    if matches!(bytes[..end].rsplit(|byte| *byte == b'/').next(), Some(b"" | b"." | b"..")) {
        let message = format!("{} does not end in a name, and is not removed", path.display());
        return Err(Error::new(Kind::Invalid, message));
    }
    if end < bytes.len() && fs::symlink_metadata(to_path(&bytes[..end])).is_ok_and(|found| found.is_symlink()) {
        return Err(failed(io::Error::from_raw_os_error(ENOTDIR)));
    }
    let removed = match fs::symlink_metadata(path).map_err(failed)?.is_dir() {
        true if recursive => fs::remove_dir_all(path),
        true => fs::remove_dir(path),
        false => fs::remove_file(path),
    };
    removed.map(|()| Success::Count(0)).map_err(failed)
}
