//! Files of this machine that are written all of it or not at all.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// Where something is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file, or a name that nothing has: what is written takes its place once all of it is there.
    File(PathBuf),
    /// A pipe or a device, which is written itself.
    Other,
}

impl Place {
    /// What is at a path. Of a link it is what it leads to: the link stays.
    pub fn of(path: &Path) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(there) if there.is_file() => fs::canonicalize(path).map(Self::File),
            Ok(_) => Ok(Self::Other),
            Err(_) => Ok(Self::File(path.to_owned())),
        }
    }
}

/// A file in the same directory, to take the place of this one. Where it cannot be made, the failure does not tell of its name, which nobody
/// has ever heard of.
pub fn beside(target: &Path) -> io::Result<NamedTempFile> {
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut options = File::options();
    options.read(true).write(true).create_new(true).mode(0o600);
    tempfile::Builder::new().make_in(directory, |path| options.open(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_and_so_does_a_device() {
        let directory = tempfile::tempdir().unwrap();
        let [file, link, none] = ["file", "link", "none"].map(|name| directory.path().join(name));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let of = |path: &Path| Place::of(path).unwrap();
        assert_eq!(of(&link), Place::File(fs::canonicalize(&file).unwrap()));
        assert_eq!((of(&none), of(Path::new("/dev/null"))), (Place::File(none.clone()), Place::Other));
    }

    #[test]
    fn a_failure_tells_of_no_temporary_name() {
        for directory in ["/nosuch", "/dev/null"] {
            let why = beside(&Path::new(directory).join("f")).unwrap_err().to_string();
            assert!(why.ends_with(')') && !why.contains(".tmp"), "{why}");
        }
    }
}
