//! A tar archive as a tree. Whoever made it is not trusted, and neither is what is in the directory: each part of a name is opened
//! for itself, and no link is followed.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, BufReader, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use arl_agent::message::error::{Error, Kind};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, openat},
    libc::{S_IFDIR, S_IFLNK, S_IFMT, S_IFREG},
    sys::{
        stat::{Mode, UtimensatFlags, fchmod, fstat, fstatat, futimens, mkdirat, utimensat},
        time::TimeSpec,
    },
    unistd::{Gid, Uid, UnlinkatFlags, fchownat, geteuid, linkat, symlinkat, unlinkat},
};

use super::{
    archive::{self, next, skip, truncated},
    failure::failed,
    header::{BLOCK, DIRECTORY, FILE, HARD_LINK, Header, LINK, malformed},
};

const NEW_DIRECTORY: Mode = Mode::from_bits_truncate(0o755);
/// What an entry may have from its creation on.
const RIGHTS: Mode = Mode::from_bits_truncate(0o1777);

/// Unpacks `input` into `directory`, which is there.
pub fn unpack(directory: &Path, input: &mut File) -> Result<u64, Error> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = openat(AT_FDCWD, directory, flags, Mode::empty()).map_err(|errno| failed(directory, errno))?;
    let current = root.try_clone().map_err(|_| failed(directory, Errno::EMFILE))?;
    let mut tree =
        Tree { root, current: (Vec::new(), current), unfinished: Vec::new(), keeps_owner: geteuid().is_root() };
    let mut input = BufReader::with_capacity(64 * 1024, input);
    let unpacked = tree.entries(&mut input);
    // Where that failed, what was unpacked before stays, and is its owner's.
    tree.finish(&[]);
    let count = unpacked?;
    // What some programs add behind the end.
    io::copy(&mut input, &mut io::sink()).map_err(|_| truncated())?;
    Ok(count)
}

struct Tree {
    root: OwnedFd,
    /// The directory that was used last.
    current: (Vec<Vec<u8>>, OwnedFd),
    /// Directories that entries may still go to, each in the one before. They get their mode when they are left: one that cannot be
    /// written to could not be filled.
    unfinished: Vec<(Vec<Vec<u8>>, Header)>,
    keeps_owner: bool,
}

impl Tree {
    /// How many there are.
    fn entries(&mut self, input: &mut impl Read) -> Result<u64, Error> {
        let mut count = 0;
        while let Some(header) = next(input, count == 0)? {
            self.entry(&header, input)?;
            count += 1;
        }
        Ok(count)
    }

    fn entry(&mut self, header: &Header, input: &mut impl Read) -> Result<(), Error> {
        let parts = archive::parts(&header.name)?;
        self.finish(&parts);
        let shown = Path::new(OsStr::from_bytes(&header.name));
        let here = |errno| failed(shown, errno);
        let Some((name, parents)) = parts.split_last() else {
            // The directory itself.
            if header.kind == DIRECTORY {
                self.unfinished.insert(0, (Vec::new(), header.clone()));
            }
            return Ok(());
        };
        let parent = self.open(parents, true)?;
        let name = OsStr::from_bytes(name);
        match header.kind {
            DIRECTORY => {
                // It is to be filled first.
                make_directory(&parent, name, self.first_mode(header) | Mode::S_IRWXU, shown)?;
                self.unfinished.push((owned(&parts), header.clone()));
            }
            FILE => {
                self.file(&parent, name, header, input)?;
                skip(input, header.size.next_multiple_of(BLOCK as u64) - header.size)?;
            }
            LINK => {
                make_way(&parent, name, shown)?;
                symlinkat(OsStr::from_bytes(&header.link), &parent, name).map_err(here)?;
                let time = TimeSpec::new(header.modified, 0);
                let _ = utimensat(&parent, name, &time, &time, UtimensatFlags::NoFollowSymlink);
                let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let link = openat(&parent, name, flags, Mode::empty()).map_err(here)?;
                // Code in the sandbox may have put something else there.
                if fstat(&link).is_ok_and(|found| found.st_mode & S_IFMT == S_IFLNK) {
                    self.own(&link, header);
                }
            }
            HARD_LINK => {
                let target = archive::parts(&header.link)?;
                let Some((old, above)) = target.split_last() else {
                    return Err(malformed("a hard link in the archive leads to its directory"));
                };
                let above = self.open(above, false)?;
                if target != parts {
                    make_way(&parent, name, shown)?;
                    linkat(&above, OsStr::from_bytes(old), &parent, name, AtFlags::empty()).map_err(here)?;
                }
            }
            kind => {
                let kind = char::from(kind).escape_default();
                return Err(malformed(format!("{} is no file, directory or link (type {kind})", shown.display())));
            }
        }
        Ok(())
    }

    fn file(&self, parent: &OwnedFd, name: &OsStr, header: &Header, input: &mut impl Read) -> Result<(), Error> {
        let shown = Path::new(OsStr::from_bytes(&header.name));
        let here = |errno| failed(shown, errno);
        // What is mounted there, such as /etc/hosts, cannot be replaced, but written to.
        let how = match make_way(parent, name, shown) {
            Err(error) if error.errno == Some(Errno::EBUSY as i32) => OFlag::O_TRUNC,
            other => other.map(|()| OFlag::O_CREAT | OFlag::O_EXCL)?,
        };
        let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | how;
        let mut file = File::from(openat(parent, name, flags, self.first_mode(header)).map_err(here)?);
        let mode = self.own(&file, header);
        let written = match io::copy(&mut input.take(header.size), &mut file) {
            Ok(written) if written < header.size => Err(truncated()),
            Ok(_) => Ok(()),
            Err(error) => Err(here(Errno::try_from(error).unwrap_or(Errno::EIO))),
        };
        if written.is_err() {
            let _ = unlinkat(parent, name, UnlinkatFlags::NoRemoveDir);
            return written;
        }
        let time = TimeSpec::new(header.modified, 0);
        let _ = futimens(&file, &time, &time);
        // After the owner and the content, which clear setuid and setgid. Where the file system has its own idea of modes, that one stands.
        let _ = fchmod(&file, mode);
        Ok(())
    }

    /// The mode of an entry until it is complete, and after that where the file system refuses another. Before it has its owner and group, others
    /// may only do what everybody may.
    fn first_mode(&self, header: &Header) -> Mode {
        let rights = Mode::from_bits_truncate(header.mode) & RIGHTS;
        if !self.keeps_owner || (header.uid, header.gid) == (0, 0) {
            return rights;
        }
        let mode = header.mode;
        let everybodys = (mode >> 6) & (mode >> 3) & mode & 0o7;
        rights & (Mode::S_IRWXU | Mode::S_ISVTX | Mode::from_bits_truncate(everybodys * 0o11))
    }

    /// Gives an open entry its owner, and returns the mode that it may have. Only root can give files away, and need not be able to
    /// everywhere: what it could not give away runs as nobody but who runs it.
    fn own(&self, entry: impl AsFd, header: &Header) -> Mode {
        let mode = Mode::from_bits_truncate(header.mode);
        // The largest number stands for no change.
        let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        let owner = id(header.uid).map(Uid::from_raw).zip(id(header.gid).map(Gid::from_raw));
        let is_owned = |(uid, gid)| fchownat(&entry, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH).is_ok();
        if !self.keeps_owner || owner.is_some_and(is_owned) { mode } else { mode - (Mode::S_ISUID | Mode::S_ISGID) }
    }

    /// The directory of these parts, made where it is missing and `makes` says so.
    fn open(&mut self, parts: &[&[u8]], makes: bool) -> Result<OwnedFd, Error> {
        let clone =
            |directory: &OwnedFd| directory.try_clone().map_err(|_| failed(Path::new("the directory"), Errno::EMFILE));
        if self.current.0 == parts {
            return clone(&self.current.1);
        }
        let mut directory = clone(&self.root)?;
        for (number, part) in parts.iter().enumerate() {
            let name = OsStr::from_bytes(part);
            let opened = match open_directory(&directory, name) {
                Err(Errno::ENOENT) if makes => mkdirat(&directory, name, NEW_DIRECTORY)
                    .or_else(|errno| if errno == Errno::EEXIST { Ok(()) } else { Err(errno) })
                    .and_then(|()| open_directory(&directory, name)),
                other => other,
            };
            directory = opened.map_err(|errno| {
                let path = parts[..=number].join(&b'/');
                let path = Path::new(OsStr::from_bytes(&path));
                match errno {
                    Errno::ENOTDIR | Errno::ELOOP => malformed(format!(
                        "the archive wants to go through {}, which is a link or a file",
                        path.display()
                    )),
                    errno => failed(path, errno),
                }
            })?;
        }
        self.current = (owned(parts), clone(&directory)?);
        Ok(directory)
    }

    /// Finishes the directories that `next` is not in.
    fn finish(&mut self, next: &[&[u8]]) {
        while let Some((parts, header)) = self.unfinished.pop_if(|(parts, _)| {
            next.is_empty() || parts.len() >= next.len() || !parts.iter().zip(next).all(|(part, next)| part == next)
        }) {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            // Code in the sandbox may have put something else there: it stays as it is.
            let Ok(directory) = self.open(&parts, false) else { continue };
            let Ok(directory) =
                openat(&directory, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            else {
                continue;
            };
            let mode =
                if parts.is_empty() { Mode::from_bits_truncate(header.mode) } else { self.own(&directory, &header) };
            let time = TimeSpec::new(header.modified, 0);
            let _ = futimens(&directory, &time, &time);
            let _ = fchmod(&directory, mode);
        }
    }
}

fn owned(parts: &[&[u8]]) -> Vec<Vec<u8>> {
    parts.iter().map(|part| part.to_vec()).collect()
}

fn open_directory(at: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

fn make_directory(parent: &OwnedFd, name: &OsStr, rights: Mode, shown: &Path) -> Result<(), Error> {
    let made = || mkdirat(parent, name, rights);
    match made() {
        Err(Errno::EEXIST) if open_directory(parent, name).is_ok() => Ok(()),
        Err(Errno::EEXIST) => make_way(parent, name, shown).and_then(|()| made().map_err(|errno| failed(shown, errno))),
        other => other.map_err(|errno| failed(shown, errno)),
    }
}

/// Removes a file or a link that has this name, or an empty directory. What is none of these, programs of the sandbox may use.
fn make_way(parent: &OwnedFd, name: &OsStr, shown: &Path) -> Result<(), Error> {
    let kind = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_or(S_IFREG, |found| found.st_mode & S_IFMT);
    if !matches!(kind, S_IFREG | S_IFLNK | S_IFDIR) {
        return Err(Error::new(
            Kind::Exists,
            format!("{} is a pipe, a socket or a device, and stays one", shown.display()),
        ));
    }
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        Err(Errno::EISDIR) => unlinkat(parent, name, UnlinkatFlags::RemoveDir),
        other => other,
    }
    .map_err(|errno| failed(shown, errno))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, os::unix::fs::MetadataExt};

    use proptest::{collection::vec, prelude::*};

    use super::*;

    const OUTSIDE: &str = "/tmp/arl-unpack-fuzz/outside";

    /// Names and targets that lead anywhere near.
    fn path() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "[ab]",
            4 => "[ab]/[ab]",
            2 => "(\\.\\./|\\./|/|[ab]/){0,3}(outside|f|a|\\.\\.)",
            1 => Just(OUTSIDE.to_owned()),
            1 => Just(format!("{OUTSIDE}/f")),
            1 => Just("../outside".to_owned()),
        ]
    }

    #[test]
    fn what_root_cannot_give_away_has_no_rights_of_root() {
        if !geteuid().is_root() {
            return;
        }
        let into = std::env::temp_dir().join(format!("arl-unpack-owner-{}", std::process::id()));
        fs::create_dir_all(&into).unwrap();
        let no_uid = u64::from(u32::MAX);
        for (name, uid, mode) in
            [("own", 0, 0o6755), ("other", 12345, 0o6755), ("none", no_uid, 0o755), ("huge", no_uid + 7, 0o755)]
        {
            let header = Header { kind: FILE, name: name.into(), mode: 0o6755, uid, gid: uid, ..Header::default() };
            let (reader, mut writer) = std::io::pipe().unwrap();
            writer.write_all(&header.encode()).unwrap();
            drop(writer);
            assert_eq!(unpack(&into, &mut File::from(OwnedFd::from(reader))).unwrap(), 1);
            let found = fs::metadata(into.join(name)).unwrap();
            assert_eq!(found.mode() & 0o7777, mode, "{name}");
            assert_eq!(u64::from(found.uid()), if mode == 0o755 { 0 } else { uid }, "{name}");
        }
        fs::remove_dir_all(&into).unwrap();
    }

    proptest! {
        /// Whatever entries come in whatever order: nothing outside of the directory is made, changed or linked to.
        #[test]
        fn fuzz_no_archive_gets_out(
            entries in vec((prop::sample::select(b"00222115xLK3SVg".to_vec()), path(), path(), 0..9_u64, 0..0o10000_u32), 1..12),
            cut in 0..9000_usize
        ) {
            let root = Path::new(OUTSIDE).parent().unwrap();
            let _ = fs::remove_dir_all(root);
            let (into, secret) = (root.join("in"), root.join("outside/f"));
            fs::create_dir_all(&into).unwrap();
            fs::create_dir(OUTSIDE).unwrap();
            fs::write(&secret, "secret").unwrap();
            let before = fs::metadata(&secret).unwrap();

            let mut archive = Vec::new();
            for (kind, name, link, size, mode) in entries {
                let (name, link) = (name.into_bytes(), link.into_bytes());
                archive.extend(Header { kind, name, link, mode, size, ..Header::default() }.encode());
                if matches!(kind, b'0' | b'x' | b'L' | b'K' | b'V' | b'g') && size > 0 {
                    archive.extend(b"../../out"[..usize::try_from(size).unwrap()].iter());
                    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
                }
            }
            archive.truncate(archive.len() - cut % archive.len() / 4);
            let (reader, mut writer) = std::io::pipe().unwrap();
            let sender = std::thread::spawn(move || drop(writer.write_all(&archive)));
            let unpacked = unpack(&into, &mut File::from(OwnedFd::from(reader)));
            sender.join().unwrap();
            prop_assert!(unpacked.is_ok_and(|count| count <= 12) || !into.join("secret").exists());

            let after = fs::metadata(&secret).unwrap();
            let facts = |found: &fs::Metadata| (found.ino(), found.mode(), found.nlink(), found.uid(), found.mtime_nsec());
            prop_assert_eq!(facts(&before), facts(&after));
            prop_assert_eq!(fs::read(&secret).unwrap(), b"secret");
            let names = |path: &Path| fs::read_dir(path).unwrap().count();
            prop_assert_eq!((names(Path::new(OUTSIDE)), names(root)), (1, 2));
        }
    }
}
