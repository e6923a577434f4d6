//! What is in a directory.

use std::{
    fs::{self, File, Metadata},
    io::{BufWriter, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};

use arl_agent::{
    frame,
    message::{
        error::{Error, Kind as Failure},
        file::{Entry, Kind},
    },
};

use super::failure::io_failed;

/// What is at `path`.
pub fn stat(path: &Path, follow: bool) -> Result<Entry, Error> {
    let found = if follow { fs::metadata(path) } else { fs::symlink_metadata(path) };
    found.map(|found| entry(path, path, &found)).map_err(|error| io_failed(path, error))
}

/// Sends what is in the directory at `path`, so many levels of it; returns how many entries there were.
pub fn list(path: &Path, depth: Option<u32>, output: &mut File) -> Result<u64, Error> {
    let depth = usize::try_from(depth.unwrap_or(u32::MAX)).unwrap_or(usize::MAX);
    let mut output = BufWriter::with_capacity(64 * 1024, output);
    let open = |path: &Path| fs::read_dir(path).map_err(|error| io_failed(path, error));
    let (mut open_directories, mut count) = (vec![(path.to_owned(), open(path)?)], 0);
    while let Some((directory, entries)) = open_directories.last_mut() {
        let Some(next) = entries.next().filter(|_| depth > 0) else {
            open_directories.pop();
            continue;
        };
        let name = next.map_err(|error| io_failed(directory, error))?.file_name();
        let below = directory.join(name);
        // Removed meanwhile.
        let Ok(found) = fs::symlink_metadata(&below) else { continue };
        let sent = output.write_all(&frame::encode(&entry(&below, relative(&below, path), &found)));
        sent.map_err(|error| io_failed(path, error))?;
        count += 1;
        if found.is_dir() && open_directories.len() < depth {
            match open(&below) {
                Ok(entries) => open_directories.push((below, entries)),
                Err(error) if error.kind == Failure::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    output.flush().map_err(|error| io_failed(path, error))?;
    Ok(count)
}

fn relative<'a>(path: &'a Path, directory: &Path) -> &'a Path {
    path.strip_prefix(directory).unwrap_or(path)
}

fn entry(path: &Path, name: &Path, found: &Metadata) -> Entry {
    let kind = found.file_type();
    let kind = match () {
        () if kind.is_file() => Kind::File,
        () if kind.is_dir() => Kind::Directory,
        () if kind.is_symlink() => Kind::Link,
        () if kind.is_fifo() => Kind::Pipe,
        () if kind.is_socket() => Kind::Socket,
        () => Kind::Device,
    };
    let target = if kind == Kind::Link { fs::read_link(path).ok() } else { None };
    Entry {
        path: name.as_os_str().as_bytes().to_vec(),
        kind,
        size: found.size(),
        mode: found.mode() & 0o7777,
        uid: found.uid(),
        gid: found.gid(),
        modified: found.mtime(),
        modified_ns: u32::try_from(found.mtime_nsec()).unwrap_or_default(),
        target: target.map(|target| target.as_os_str().as_bytes().to_vec().into()),
    }
}
