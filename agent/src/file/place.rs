//! Where a file is to be written: its directory, which is made where it is missing, and its name in it, all links followed.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat},
    sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat},
    unistd::{AccessFlags, faccessat},
};

use super::problem::Problem;

/// As many as the kernel follows.
const LINKS_MAX: u32 = 40;
const DIRECTORY_MODE: Mode = Mode::from_bits_truncate(0o755);

/// What is no file, and cannot be made one.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    File,
    Directory,
    Pipe,
    Socket,
    Device,
}

impl Kind {
    pub(super) fn of(stat: &FileStat) -> Self {
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Self::File,
            SFlag::S_IFDIR => Self::Directory,
            SFlag::S_IFIFO => Self::Pipe,
            SFlag::S_IFSOCK => Self::Socket,
            _ => Self::Device,
        }
    }

    pub(super) fn must_be_file(self) -> Result<(), Problem> {
        let kind = match self {
            Self::File => return Ok(()),
            Self::Directory => return Err(Problem::of_path("is a directory; name a file in it", Some(Errno::EISDIR))),
            Self::Pipe => "pipe",
            Self::Socket => "socket",
            Self::Device => "device",
        };
        Err(Problem::of_path(format!("is a {kind}, not a file; use a Command step to write to it"), None))
    }
}

pub(super) struct Place {
    pub(super) directory: OwnedFd,
    pub(super) name: OsString,
}

/// What is said of a path that begins with `~`.
pub const NOT_EXPANDED: &str = "begins with ~, which is not expanded; write the whole path, or ./ before it";

impl Place {
    /// Where `path` leads.
    pub(super) fn find(path: &OsStr) -> Result<Self, Problem> {
        if path.as_bytes().starts_with(b"~") {
            return Err(Problem::of_path(NOT_EXPANDED, None));
        }
        let mut path = path.to_owned();
        split(&path)?;
        match fstatat(AT_FDCWD, path.as_os_str(), AtFlags::empty()) {
            // Here, since the links of /proc/self/fd lead to such things and read like names of files.
            Ok(found) => Kind::of(&found).must_be_file()?,
            Err(Errno::ELOOP) => return Err(looped()),
            // What is in the way is found again below, where it can be named.
            Err(_) => {}
        }
        let mut directory = open(AT_FDCWD, ".".as_ref()).map_err(Problem::not_written)?;
        for _ in 0..=LINKS_MAX {
            let (parent, name) = split(&path)?;
            directory = open_or_make(&directory, parent)?;
            match readlinkat(&directory, name) {
                Ok(target) => path = target,
                Err(_) => return Ok(Self { directory, name: name.to_owned() }),
            }
        }
        Err(looped())
    }

    /// What is there.
    pub(super) fn stat(&self) -> Result<Option<FileStat>, Errno> {
        match fstatat(&self.directory, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Whether this user may write what is there: a right to the directory must not stand in for one to the file.
    pub(super) fn may_be_written(&self) -> Result<(), Errno> {
        faccessat(&self.directory, self.name.as_os_str(), AccessFlags::W_OK, AtFlags::empty())
    }
}

fn looped() -> Problem {
    Problem::of_path("is a link that leads back to itself", Some(Errno::ELOOP))
}

/// The directory and the name. Not by `Path`, for which `a/` and `a/.` are `a`.
fn split(path: &OsStr) -> Result<(&OsStr, &OsStr), Problem> {
    let bytes = path.as_bytes();
    let (parent, name) = match bytes.iter().rposition(|byte| *byte == b'/') {
        None => (&b"."[..], bytes),
        Some(0) => (&b"/"[..], &bytes[1..]),
        Some(slash) => (&bytes[..slash], &bytes[slash + 1..]),
    };
    match name {
        b"" | b"." | b".." => {
            Err(Problem::of_path("is the name of a directory; name a file in it", Some(Errno::EISDIR)))
        }
        _ => Ok((OsStr::from_bytes(parent), OsStr::from_bytes(name))),
    }
}

fn open(at: impl AsFd, path: &OsStr) -> Result<OwnedFd, Errno> {
    openat(at, path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

fn open_or_make(at: &OwnedFd, path: &OsStr) -> Result<OwnedFd, Problem> {
    match open(at, path) {
        Err(Errno::ENOENT) => {}
        opened => return opened.map_err(Problem::not_written),
    }
    for directory in directories(path) {
        match mkdirat(at, directory, DIRECTORY_MODE) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(Problem::new(not_made(directory), errno)),
        }
    }
    open(at, path).map_err(|errno| Problem::new(not_made(path), errno))
}

/// The directories on the way to `path` and itself, each a beginning of it. Not by `Path`, for which `a` comes before `a/b/.`.
fn directories(path: &OsStr) -> impl Iterator<Item = &OsStr> {
    let bytes = path.as_bytes();
    let slashes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let beginnings = slashes.chain([bytes.len()]).map(|end| &bytes[..end]);
    let is_named =
        |beginning: &&[u8]| !matches!(beginning.rsplit(|byte| *byte == b'/').next(), Some(b"" | b".") | None);
    beginnings.filter(is_named).map(OsStr::from_bytes)
}

fn not_made(directory: &OsStr) -> String {
    format!("cannot be written: the directory {} cannot be made", directory.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directories_on_a_path_are_those_that_it_names() {
        let of = |path: &'static str| directories(OsStr::new(path)).map(|d| d.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(of("a/./b/."), ["a", "a/./b"]);
        assert_eq!(of("/a//b/"), ["/a", "/a//b"]);
        assert_eq!(of("./a/../b"), ["./a", "./a/..", "./a/../b"]);
        assert!(of(".").is_empty() && of("/").is_empty());
    }
}
