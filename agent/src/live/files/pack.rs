//! A tree as a tar archive.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File, Metadata, ReadDir},
    io::{self, BufWriter, Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use arl_agent::message::error::{Error, Kind};
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};

use super::{
    archive::DEPTH_MAX,
    failure::io_failed,
    header::{BLOCK, DIRECTORY, FILE, HARD_LINK, Header, LINK},
};

/// So many files with several names are remembered, to be kept as links; of more, each name gets a file of its own.
const LINKED_MAX: usize = 16 * 1024;
/// Directories of so many entries are sent in the order of their names, so that equal trees are equal archives; larger ones in that
/// of the file system.
const SORTED_MAX: usize = 16 * 1024;

/// Sends what is in the working directory, or only what has these names.
pub fn pack(names: &[&Path], output: &mut File) -> Result<u64, Error> {
    let mut packer = Packer { output: BufWriter::with_capacity(64 * 1024, output), linked: BTreeMap::new(), count: 0 };
    if names.is_empty() {
        packer.tree(Path::new("."))?;
    }
    for name in names {
        packer.tree(name)?;
    }
    let end = [0; 2 * BLOCK];
    let sent = packer.output.write_all(&end).and_then(|()| packer.output.flush());
    sent.map_err(|error| io_failed(Path::new("the archive"), error))?;
    Ok(packer.count)
}

struct Packer<'a> {
    output: BufWriter<&'a mut File>,
    linked: BTreeMap<(u64, u64), Vec<u8>>,
    count: u64,
}

/// The entries of a directory that are still to be sent.
enum Entries {
    Sorted(std::vec::IntoIter<OsString>),
    Unsorted(std::vec::IntoIter<OsString>, ReadDir),
}

impl Entries {
    fn of(path: &Path) -> io::Result<Self> {
        let mut entries = fs::read_dir(path)?;
        let mut names = Vec::new();
        for entry in entries.by_ref().take(SORTED_MAX) {
            names.push(entry?.file_name());
        }
        if names.len() == SORTED_MAX {
            return Ok(Self::Unsorted(names.into_iter(), entries));
        }
        names.sort_unstable();
        Ok(Self::Sorted(names.into_iter()))
    }

    fn next(&mut self) -> Option<io::Result<OsString>> {
        match self {
            Self::Sorted(names) => names.next().map(Ok),
            Self::Unsorted(names, rest) => {
                names.next().map(Ok).or_else(|| rest.next().map(|entry| entry.map(|entry| entry.file_name())))
            }
        }
    }
}

impl Packer<'_> {
    fn tree(&mut self, root: &Path) -> Result<(), Error> {
        let mut open: Vec<(PathBuf, Entries)> = Vec::new();
        open.extend(self.entry(root)?);
        while let Some((directory, entries)) = open.last_mut() {
            let Some(name) = entries.next() else {
                open.pop();
                continue;
            };
            let path = directory.join(name.map_err(|error| io_failed(directory, error))?);
            match self.entry(&path) {
                Ok(below) => open.extend(below),
                // Removed meanwhile.
                Err(error) if error.kind == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends one entry; returns what is in it, where it is a directory.
    fn entry(&mut self, path: &Path) -> Result<Option<(PathBuf, Entries)>, Error> {
        let failed = |error| io_failed(path, error);
        let found = fs::symlink_metadata(path).map_err(failed)?;
        let kind = found.file_type();
        let name = path.strip_prefix(".").unwrap_or(path).as_os_str().as_bytes();
        if kind.is_dir() {
            // Before its header is sent: one that cannot be read is an error.
            let entries = Entries::of(path).map_err(failed)?;
            let name = if name.is_empty() { b"./".to_vec() } else { [name, b"/"].concat() };
            self.header(&Header { kind: DIRECTORY, name, ..header(&found) }, path)?;
            return Ok(Some((path.to_owned(), entries)));
        }
        if !kind.is_symlink() && !kind.is_file() {
            return Ok(None);
        }
        let key = (found.dev(), found.ino());
        if let Some(link) = self.linked.get(&key) {
            let link = Header { kind: HARD_LINK, name: name.to_vec(), link: link.clone(), ..header(&found) };
            return self.header(&link, path).map(|()| None);
        }
        if kind.is_symlink() {
            let link = fs::read_link(path).map_err(failed)?.as_os_str().as_bytes().to_vec();
            self.header(&Header { kind: LINK, name: name.to_vec(), link, ..header(&found) }, path)?;
        } else if !self.file(path, name)? {
            return Ok(None);
        }
        // Now that it is in the archive: a link to what is not could not be unpacked.
        if found.nlink() > 1 && self.linked.len() < LINKED_MAX {
            self.linked.insert(key, name.to_vec());
        }
        Ok(None)
    }

    /// Sends a file. False: it is none any more.
    fn file(&mut self, path: &Path, name: &[u8]) -> Result<bool, Error> {
        let failed = |error| io_failed(path, error);
        let file = File::options().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() {
            return Ok(false);
        }
        let size = found.len();
        let has_more = || Ok((&file).read(&mut [0])? > 0 && file.metadata()?.len() == 0);
        if size == 0 && has_more().map_err(failed)? {
            let message = format!(
                "{} has more in it than its size says, as files of /proc have; read it with a command",
                path.display()
            );
            return Err(Error::new(Kind::Other, message));
        }
        self.header(&Header { kind: FILE, name: name.to_vec(), size, ..header(&found) }, path)?;
        let sent = io::copy(&mut file.take(size), &mut self.output).map_err(failed)?;
        if sent < size {
            return Err(Error::new(Kind::Other, format!("{} became shorter while it was read", path.display())));
        }
        let size = usize::try_from(size % BLOCK as u64).unwrap_or_default();
        let rest = size.next_multiple_of(BLOCK) - size;
        self.output.write_all(&[0; BLOCK][..rest]).map(|()| true).map_err(failed)
    }

    fn header(&mut self, header: &Header, path: &Path) -> Result<(), Error> {
        if path.strip_prefix(".").unwrap_or(path).components().count() > DEPTH_MAX {
            let message = format!("{} is deeper than {DEPTH_MAX} directories", path.display());
            return Err(Error::new(Kind::Invalid, message));
        }
        self.count += 1;
        self.output.write_all(&header.encode()).map_err(|error| io_failed(path, error))
    }
}

fn header(found: &Metadata) -> Header {
    Header {
        mode: found.mode() & 0o7777,
        uid: found.uid().into(),
        gid: found.gid().into(),
        modified: found.mtime(),
        ..Header::default()
    }
}
