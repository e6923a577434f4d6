//! Directories of this machine as tar archives.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use tar::{Archive, Builder};

use super::place::BUFFER;
use crate::print;

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
    let mut children = fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    children.sort_by_key(fs::DirEntry::file_name);
    for child in children {
        let (path, name, kind) = (child.path(), below.join(child.file_name()), child.file_type()?);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if kind.is_dir() {
            builder.append_dir(&name, &path).map_err(named)?;
            entries(builder, &path, &name)?;
        } else if kind.is_file() {
            let mut file = File::open(&path).map_err(named)?;
            builder.append_file(&name, &mut file).map_err(named)?;
        } else if kind.is_symlink() {
            builder.append_path_with_name(&path, &name).map_err(named)?;
        } else {
            print::note(format!("{} is left out: it is no file, directory or link", path.display()));
        }
    }
    Ok(())
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
