//! FilePatch: replaces the whole content of a file. docs/semantics.md has the rule; plain exec follows the same one by a script.

mod place;
mod problem;

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write},
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, OFlag, fallocate, openat, renameat},
    sys::stat::{FileStat, Mode, fchmod, fstat},
    unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat},
};

use place::{Kind, Place};
use problem::Problem;

const NEW_MODE: Mode = Mode::from_bits_truncate(0o644);
/// Of a copy that is still to get the owner and the mode of the file that it replaces.
const PRIVATE: Mode = Mode::from_bits_truncate(0o600);
/// Names to try for the copy: one may be left over from an agent that was killed.
const NAMES: u32 = 100;

/// What went wrong with the copy that was to replace the file.
enum Failure {
    /// The file may still be written in place.
    NotReplaceable(Errno),
    /// Neither.
    NotWritable(Errno),
}

/// Writes `content` to `path`, relative to the working directory.
pub fn write(path: &str, content: &[u8]) -> Result<(), String> {
    attempt(path, content).map_err(|Problem(message)| format!("{path} {message}"))
}

fn attempt(path: &str, content: &[u8]) -> Result<(), Problem> {
    let place = Place::find(path)?;
    let old = place.stat().map_err(Problem::not_written)?;
    if let Some(old) = &old {
        Kind::of(old).must_be_file()?;
        place.may_be_written().map_err(Problem::not_written)?;
    }
    match replace(&place, old.as_ref(), content) {
        Err(Failure::NotReplaceable(errno)) if old.is_some() && !is_full(errno) => overwrite(&place, content),
        Err(Failure::NotReplaceable(errno) | Failure::NotWritable(errno)) => Err(Problem::not_written(errno)),
        Ok(()) => Ok(()),
    }
}

fn is_full(errno: Errno) -> bool {
    matches!(errno, Errno::ENOSPC | Errno::EDQUOT)
}

/// Puts a copy with the new content in the file's place: a reader sees the old content or the new, all of it.
fn replace(place: &Place, old: Option<&FileStat>, content: &[u8]) -> Result<(), Failure> {
    let (name, mut copy) = create_copy(place, old).map_err(Failure::NotReplaceable)?;
    let replaced = fill(&mut copy, old, content).and_then(|()| {
        renameat(&place.directory, name.as_os_str(), &place.directory, place.name.as_os_str())
            .map_err(Failure::NotReplaceable)
    });
    if replaced.is_err() {
        let _ = unlinkat(&place.directory, name.as_os_str(), UnlinkatFlags::NoRemoveDir);
    }
    replaced
}

fn create_copy(place: &Place, old: Option<&FileStat>) -> Result<(OsString, File), Errno> {
    let mode = if old.is_some() { PRIVATE } else { NEW_MODE };
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    for number in 0..NAMES {
        let name = OsString::from(format!(".arl-{}-{number}", std::process::id()));
        match openat(&place.directory, name.as_os_str(), flags, mode) {
            Ok(copy) => return Ok((name, File::from(copy))),
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EEXIST)
}

fn fill(copy: &mut File, old: Option<&FileStat>, content: &[u8]) -> Result<(), Failure> {
    copy.write_all(content).map_err(|error| Failure::NotWritable(errno(error)))?;
    // After the content, since writing clears setuid and setgid.
    match old {
        Some(old) => take_after(copy, old).map_err(Failure::NotReplaceable)?,
        // Past the umask. Where the file system has its own idea of modes, that one stands.
        None => drop(fchmod(&*copy, NEW_MODE)),
    }
    sync(copy).map_err(Failure::NotWritable)
}

/// Gives the copy the owner, group and mode of the file that it replaces. File systems may refuse that, or ignore it.
fn take_after(copy: &File, old: &FileStat) -> Result<(), Errno> {
    let now = fstat(copy)?;
    if owner(&now) != owner(old) {
        fchown(copy, Some(Uid::from_raw(old.st_uid)), Some(Gid::from_raw(old.st_gid)))?;
    }
    if mode(&fstat(copy)?) != mode(old) {
        fchmod(copy, mode(old))?;
    }
    let now = fstat(copy)?;
    if (owner(&now), mode(&now)) == (owner(old), mode(old)) { Ok(()) } else { Err(Errno::EPERM) }
}

fn owner(stat: &FileStat) -> (u32, u32) {
    (stat.st_uid, stat.st_gid)
}

fn mode(stat: &FileStat) -> Mode {
    Mode::from_bits_truncate(stat.st_mode)
}

/// Writes into the file itself.
fn overwrite(place: &Place, content: &[u8]) -> Result<(), Problem> {
    // Whoever put something else in its place meanwhile gets neither its target written nor this process to wait.
    let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(&place.directory, place.name.as_os_str(), flags, Mode::empty()).map_err(Problem::not_written)?;
    let mut file = File::from(file);
    let old = fstat(&file).map_err(Problem::not_written)?;
    Kind::of(&old).must_be_file()?;
    reserve(&file, content.len()).map_err(Problem::not_written)?;
    let written = file.write_all(content).and_then(|()| {
        let length = content.len() as u64;
        if u64::try_from(old.st_size).is_ok_and(|old| old > length) { file.set_len(length) } else { Ok(()) }
    });
    written.map_err(errno).and_then(|()| sync(&file)).map_err(Problem::not_written)
}

/// Makes room before the old content is touched, where the file system can do that.
fn reserve(file: &File, length: usize) -> Result<(), Errno> {
    let Some(length) = i64::try_from(length).ok().filter(|length| *length > 0) else { return Ok(()) };
    fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length)
        .or_else(|errno| if is_full(errno) { Err(errno) } else { Ok(()) })
}

/// Some files, such as those of /proc, cannot be synced and need not be.
fn sync(file: &File) -> Result<(), Errno> {
    match file.sync_all().map_err(errno) {
        Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => Ok(()),
        synced => synced,
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::try_from(error).unwrap_or(Errno::EIO)
}
