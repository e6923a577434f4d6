//! FilePatch, and writes of clients: replaces the whole content of a file. docs/semantics.md has the rule; plain exec follows the same one by a script.

mod place;
mod problem;

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, FallocateFlags, OFlag, fallocate, openat, renameat},
    sys::stat::{FileStat, Mode, fchmod, fstat},
    unistd::{AccessFlags, Gid, Uid, UnlinkatFlags, faccessat, fchown, unlinkat},
};

pub use place::NOT_EXPANDED;
use place::{Kind, Place};
pub use problem::Problem;

const NEW_MODE: Mode = Mode::from_bits_truncate(0o644);
/// Of a copy that is still to get the owner and the mode of the file that it replaces.
const PRIVATE: Mode = Mode::from_bits_truncate(0o600);
/// What a file may have from its creation on.
const RIGHTS: Mode = Mode::from_bits_truncate(0o777);
/// Names to try for the copy: one may be left over from an agent that was killed.
const NAMES: u32 = 100;

/// What went wrong with the copy that was to replace the file.
enum Failure {
    /// The file may still be written in place.
    NotReplaceable(Errno),
    /// Neither.
    NotWritable(Errno),
}

/// What is to be in a file.
pub trait Content {
    /// Has all of it at hand; returns how many bytes it is.
    fn prepare(&mut self) -> io::Result<u64>;

    /// Writes all of it.
    fn write_to(&mut self, file: &mut File) -> io::Result<()>;
}

impl Content for &[u8] {
    fn prepare(&mut self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn write_to(&mut self, file: &mut File) -> io::Result<()> {
        file.write_all(self)
    }
}

/// Writes `content` to `path`, relative to the working directory.
pub fn write(path: &str, mut content: &[u8]) -> Result<(), String> {
    let written = replace(OsStr::new(path), &mut content, None, true);
    written.map_err(|problem| format!("{path} {}", problem.message))
}

/// Adds `content` to the end of the file at `path`, which is made where it is missing.
pub fn append(path: &OsStr, content: &mut dyn Content) -> Result<(), Problem> {
    let place = Place::find(path)?;
    let old = place.stat().map_err(Problem::not_written)?;
    // What is bound to fail is not waited for.
    let permitted = if let Some(old) = &old {
        Kind::of(old).must_be_file()?;
        place.may_be_written()
    } else {
        faccessat(&place.directory, ".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::empty())
    };
    permitted.map_err(Problem::not_written)?;
    // All of it is here before a file is made or any of it is added: what others add meanwhile could not be told from it afterwards.
    content.prepare().map_err(errno).map_err(Problem::not_written)?;
    let flags =
        OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(&place.directory, place.name.as_os_str(), flags, NEW_MODE).map_err(Problem::not_written)?;
    // Something else may have been put there meanwhile.
    Kind::of(&fstat(&file).map_err(Problem::not_written)?).must_be_file()?;
    content.write_to(&mut File::from(file)).map_err(errno).map_err(Problem::not_written)
}

/// Replaces the file at `path`, with another mode where one is given. A file that is synced is there even after a crash of the
/// node.
pub fn replace(path: &OsStr, content: &mut dyn Content, mode: Option<u32>, sync: bool) -> Result<(), Problem> {
    let finish = Finish { mode: mode.map(Mode::from_bits_truncate), sync };
    let place = Place::find(path)?;
    let old = place.stat().map_err(Problem::not_written)?;
    if let Some(old) = &old {
        Kind::of(old).must_be_file()?;
        place.may_be_written().map_err(Problem::not_written)?;
    }
    match exchange(&place, old.as_ref(), content, &finish) {
        Err(Failure::NotReplaceable(errno)) if old.is_some() && !is_full(errno) => overwrite(&place, content, &finish),
        Err(Failure::NotReplaceable(errno) | Failure::NotWritable(errno)) => Err(Problem::not_written(errno)),
        Ok(()) => Ok(()),
    }
}

fn is_full(errno: Errno) -> bool {
    matches!(errno, Errno::ENOSPC | Errno::EDQUOT)
}

/// Puts a copy with the new content in the file's place: a reader sees the old content or the new, all of it.
fn exchange(place: &Place, old: Option<&FileStat>, content: &mut dyn Content, finish: &Finish) -> Result<(), Failure> {
    let new_mode = if old.is_some() { PRIVATE } else { finish.mode.map_or(NEW_MODE, |mode| mode & RIGHTS) };
    let (name, mut copy) = create_copy(place, new_mode).map_err(Failure::NotReplaceable)?;
    let replaced = fill(&mut copy, old, content, finish).and_then(|()| {
        renameat(&place.directory, name.as_os_str(), &place.directory, place.name.as_os_str())
            .map_err(Failure::NotReplaceable)
    });
    if replaced.is_err() {
        let _ = unlinkat(&place.directory, name.as_os_str(), UnlinkatFlags::NoRemoveDir);
    }
    replaced
}

fn create_copy(place: &Place, mode: Mode) -> Result<(OsString, File), Errno> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
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

fn fill(copy: &mut File, old: Option<&FileStat>, content: &mut dyn Content, finish: &Finish) -> Result<(), Failure> {
    content.write_to(copy).map_err(|error| Failure::NotWritable(errno(error)))?;
    // After the content, since writing clears setuid and setgid.
    match old {
        Some(old) => take_after(copy, old).map_err(Failure::NotReplaceable)?,
        // Past the umask. Where the file system has its own idea of modes, that one stands.
        None => drop(fchmod(&*copy, finish.mode.unwrap_or(NEW_MODE))),
    }
    finish.on(copy).map_err(Failure::NotWritable)
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
fn overwrite(place: &Place, content: &mut dyn Content, finish: &Finish) -> Result<(), Problem> {
    // Before the file is touched: it may still be on its way.
    let length = content.prepare().map_err(errno).map_err(Problem::not_written)?;
    // Whoever put something else in its place meanwhile gets neither its target written nor this process to wait.
    let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(&place.directory, place.name.as_os_str(), flags, Mode::empty()).map_err(Problem::not_written)?;
    let mut file = File::from(file);
    let old = fstat(&file).map_err(Problem::not_written)?;
    Kind::of(&old).must_be_file()?;
    reserve(&file, length).map_err(Problem::not_written)?;
    let written = content.write_to(&mut file).and_then(|()| {
        if u64::try_from(old.st_size).is_ok_and(|old| old > length) { file.set_len(length) } else { Ok(()) }
    });
    written.map_err(errno).and_then(|()| finish.on(&file)).map_err(Problem::not_written)
}

/// Makes room before the old content is touched, where the file system can do that.
fn reserve(file: &File, length: u64) -> Result<(), Errno> {
    let Some(length) = i64::try_from(length).ok().filter(|length| *length > 0) else { return Ok(()) };
    fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length)
        .or_else(|errno| if is_full(errno) { Err(errno) } else { Ok(()) })
}

/// What is done once the content is in a file.
struct Finish {
    mode: Option<Mode>,
    sync: bool,
}

impl Finish {
    fn on(&self, file: &File) -> Result<(), Errno> {
        // Not of a file of somebody else's, and not everywhere. What is in it counts.
        if let Some(mode) = self.mode {
            let _ = fchmod(file, mode);
        }
        // Some files, such as those of /proc, cannot be synced and need not be.
        match if self.sync { file.sync_all().map_err(errno) } else { Ok(()) } {
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => Ok(()),
            synced => synced,
        }
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::try_from(error).unwrap_or(Errno::EIO)
}
