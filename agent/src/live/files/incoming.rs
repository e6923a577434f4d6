//! The content of a file on its way here: it counts once all of it has arrived.

use std::{
    fs::File,
    io::{self, Seek},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::libc::{ECANCELED, O_TMPFILE};

use crate::file::Content;

/// Where content waits that cannot be written beside the file that it is for.
const ELSEWHERE: [&str; 4] = ["/tmp", "/var/tmp", "/dev/shm", "."];

/// Content that arrives from `input`.
pub struct Incoming<'a> {
    input: File,
    is_committed: &'a mut dyn FnMut() -> bool,
    /// Where it was written to first: it arrives once.
    spool: Option<File>,
    length: u64,
}

impl<'a> Incoming<'a> {
    /// `is_committed` says, at the end of the input, whether it was all.
    pub fn new(input: File, is_committed: &'a mut dyn FnMut() -> bool) -> Self {
        Self { input, is_committed, spool: None, length: 0 }
    }

    /// How many bytes have arrived.
    pub fn length(&self) -> u64 {
        self.length
    }
}

/// A file that is gone once it is closed. Not every file system makes one that never has a name.
fn without_name(place: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true);
    options.clone().custom_flags(O_TMPFILE).open(place).or_else(|_| {
        let named = place.join(format!(".arl-{}-incoming", std::process::id()));
        let file = options.create_new(true).mode(0o600).open(&named)?;
        std::fs::remove_file(&named)?;
        Ok(file)
    })
}

impl Content for Incoming<'_> {
    fn prepare(&mut self) -> io::Result<u64> {
        if self.spool.is_none() {
            let spool = ELSEWHERE.iter().find_map(|place| without_name(Path::new(place)).ok());
            let mut spool = spool.ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
            self.write_to(&mut spool)?;
        }
        Ok(self.length)
    }

    fn write_to(&mut self, file: &mut File) -> io::Result<()> {
        if let Some(spool) = &mut self.spool {
            spool.rewind()?;
            return io::copy(spool, file).map(drop);
        }
        self.length = io::copy(&mut self.input, file)?;
        if !(self.is_committed)() {
            return Err(io::Error::from_raw_os_error(ECANCELED));
        }
        self.spool = Some(file.try_clone()?);
        Ok(())
    }
}
