//! Directories of this machine as tar archives.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use tar::{Archive, Builder, Header};

use arl_crds::text::with_causes;

use super::place::BUFFER;
use crate::print;

/// So much of a file is read before its length is written.
const START: u64 = 64 * 1024;

/// Writes what is in a directory as an archive. Links stay links; sockets, pipes and devices are left out.
pub fn pack(directory: &Path, writer: impl Write) -> io::Result<()> {
    let mut builder = Builder::new(io::BufWriter::with_capacity(BUFFER, writer));
    builder.follow_symlinks(false);
    // Others than GNU tar do not know these.
    builder.sparse(false);
    entries(&mut builder, directory, Path::new(""))?;
    builder.into_inner()?.flush()
}

fn entries(builder: &mut Builder<impl Write>, directory: &Path, below: &Path) -> io::Result<()> {
    let children = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut children = children.map_err(|error| named(directory, &error))?;
    children.sort_by_key(fs::DirEntry::file_name);
    for child in children {
        let (path, name) = (child.path(), below.join(child.file_name()));
        let named = |error: io::Error| named(&path, &error);
        let kind = child.file_type().map_err(named)?;
        if kind.is_dir() {
            builder.append_dir(&name, &path).map_err(named)?;
            entries(builder, &path, &name)?;
        } else if kind.is_file() {
            let content = File::open(&path).map_err(named)?;
            let mut header = Header::new_gnu();
            header.set_metadata(&content.metadata().map_err(named)?);
            if let Some(remark) = file(builder, header, &name, content).map_err(named)? {
                print::note(format!("{} {remark}", path.display()));
            }
        } else if kind.is_symlink() {
            builder.append_path_with_name(&path, &name).map_err(named)?;
        } else {
            print::note(format!("{} is left out: it is no file, directory or link", path.display()));
        }
    }
    Ok(())
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {}", path.display(), with_causes(error)))
}

/// Adds a file of the length that its header has, whatever comes of the file meanwhile: more, or less, would shift all that follows. A short file
/// has the length that is read of it: those of /proc and /sys say another. Returns what is to be said of it.
fn file(
    builder: &mut Builder<impl Write>,
    mut header: Header,
    name: &Path,
    mut content: impl Read,
) -> io::Result<Option<&'static str>> {
    let mut start = Vec::new();
    content.by_ref().take(START).read_to_end(&mut start)?;
    let (read, said) = (start.len() as u64, header.size()?);
    let length = if read < START { read } else { said.max(read) };
    header.set_size(length);
    let mut rest = content.take(length - read);
    builder.append_data(&mut header, name, start.as_slice().chain(rest.by_ref()).chain(io::repeat(0)).take(length))?;
    if rest.limit() > 0 {
        return Ok(Some("became shorter while it was read: its copy ends in zeros"));
    }
    let is_cut = said < read && read == START && rest.into_inner().read(&mut [0])? > 0;
    Ok(is_cut.then_some("is longer than it says: its copy has only the beginning"))
}

/// Unpacks an archive into a directory, and nothing outside of it, whatever the archive says.
pub fn unpack(directory: &Path, reader: impl Read) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut archive = Archive::new(reader);
    archive.set_preserve_mtime(true);
    archive.unpack(directory)?;
    // What follows the end of an archive is padding; who writes it must not find that nobody reads.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_tree_comes_back_as_it_was() {
        let [from, to] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let long = "n".repeat(200);
        fs::create_dir_all(from.path().join("a").join(&long)).unwrap();
        fs::write(from.path().join("a").join(&long).join("x"), "content").unwrap();
        fs::set_permissions(from.path().join("a").join(&long).join("x"), fs::Permissions::from_mode(0o750)).unwrap();
        symlink("../nowhere", from.path().join("a/link")).unwrap();
        fs::create_dir(from.path().join("empty")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.path().join("socket")).unwrap();
        let mut archive = Vec::new();
        pack(from.path(), &mut archive).unwrap();
        let into = to.path().join("new");
        unpack(&into, archive.as_slice()).unwrap();
        let file = into.join("a").join(&long).join("x");
        assert_eq!(fs::read(&file).unwrap(), b"content");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o750);
        assert_eq!(fs::read_link(into.join("a/link")).unwrap(), Path::new("../nowhere"));
        assert!(into.join("empty").is_dir() && !into.join("socket").exists());
    }

    #[test]
    fn a_file_that_changes_meanwhile_does_not_spoil_the_others() {
        // What a growing file and one that shrinks look like, and files of /proc and /sys: their content is not as long as was said.
        let long = b"x".repeat(100_000);
        for (length, content, expected, remark) in [
            (3, &b"abcde"[..], &b"abcde"[..], None),
            (0, b"abcde", b"abcde", None),
            (4096, b"abcde", b"abcde", None),
            (0, b"", b"", None),
            (80_000, &long, &long[..80_000], None),
            (100_000, &long, &long, None),
            (100_600, &long, &[&long[..], &[0; 600]].concat(), Some("became shorter")),
            (0, &long, &long[..65_536], Some("only the beginning")),
        ] {
            let mut builder = Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(length);
            let said = file(&mut builder, header, Path::new("a"), content).unwrap();
            assert!(
                said.is_some() == remark.is_some() && said.unwrap_or_default().contains(remark.unwrap_or_default()),
                "{length}: {said:?}"
            );
            let mut next = tar::Header::new_gnu();
            next.set_mode(0o644);
            next.set_size(4);
            file(&mut builder, next, Path::new("b"), &b"next"[..]).unwrap();
            let to = tempfile::tempdir().unwrap();
            unpack(to.path(), builder.into_inner().unwrap().as_slice()).unwrap();
            assert_eq!(fs::read(to.path().join("a")).unwrap(), expected, "{length}");
            assert_eq!(fs::read(to.path().join("b")).unwrap(), b"next", "{length}");
        }
    }

    #[test]
    fn an_archive_from_a_sandbox_reaches_nothing_outside() {
        let (outside, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut builder = Builder::new(Vec::new());
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        builder.append_link(&mut link, "out", outside.path()).unwrap();
        let mut file = tar::Header::new_gnu();
        file.set_size(1);
        file.set_mode(0o4755);
        builder.append_data(&mut file, "out/x", &b"x"[..]).unwrap();
        let through = builder.into_inner().unwrap();
        assert!(unpack(into.path(), through.as_slice()).is_err(), "a link leads out of it");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        let mut builder = Builder::new(Vec::new());
        file.as_gnu_mut().unwrap().name[..8].copy_from_slice(b"../../up");
        file.set_cksum();
        builder.append(&file, &b"x"[..]).unwrap();
        unpack(&into.path().join("deep/er"), builder.into_inner().unwrap().as_slice()).unwrap();
        assert!(!into.path().join("up").exists(), "what is above is left out");
    }
}
