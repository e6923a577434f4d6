//! Files of a Sandbox that are kept outside of it.

use std::{
    fmt::{self, Write},
    io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use arl_agent::message::file::Action;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{error::Error, files::Files};

/// What the archive of some files is: it is kept where the caller says, and recognised by this.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// The length of the archive.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal digits. Equal files of equal times make equal archives.
    pub sha256: String,
}

/// Where an archive is kept.
#[derive(Clone)]
pub enum Archive {
    /// In memory.
    Bytes(Arc<[u8]>),
    /// In a file of this machine.
    File(PathBuf),
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl From<Vec<u8>> for Archive {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<PathBuf> for Archive {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl Files {
    /// Copies files, and directories with all that is in them, as one tar archive. Paths are absolute.
    pub async fn snapshot<P: AsRef<[u8]>>(
        &self,
        paths: impl IntoIterator<Item = P>,
        writer: &mut (dyn AsyncWrite + Unpin + Send),
    ) -> Result<Snapshot, Error> {
        let names: Vec<Vec<u8>> = paths.into_iter().map(|path| name(path.as_ref())).collect::<Result<_, _>>()?;
        if names.is_empty() {
            return Err(Error::Usage("a snapshot is of one path at least".into()));
        }
        let mut digested = Digested { inner: writer, so_far: SoFar::default(), expected: None };
        self.pack_names("/", names, &mut digested).await?;
        Ok(digested.so_far.snapshot())
    }

    /// Puts the files of a snapshot where they were. An archive that is another one is an error; what came of it before that showed stays.
    pub async fn restore(
        &self,
        snapshot: &Snapshot,
        archive: &mut (dyn AsyncRead + Unpin + Send),
    ) -> Result<u64, Error> {
        let mut digested = Digested { inner: archive, so_far: SoFar::default(), expected: Some(snapshot.clone()) };
        self.unpack("/", &mut digested).await
    }

    pub(crate) async fn restore_from(&self, snapshot: &Snapshot, archive: &Archive) -> Result<u64, Error> {
        match archive {
            Archive::Bytes(bytes) => self.restore(snapshot, &mut &bytes[..]).await,
            Archive::File(path) => {
                let unusable = |error| Error::Usage(format!("{} cannot be read: {error}", path.display()));
                let mut file = tokio::fs::File::open(path).await.map_err(unusable)?;
                self.restore(snapshot, &mut file).await
            }
        }
    }

    async fn pack_names(
        &self,
        directory: &str,
        names: Vec<Vec<u8>>,
        writer: &mut (dyn AsyncWrite + Unpin + Send),
    ) -> Result<u64, Error> {
        self.receive(
            Action::Pack { directory: directory.into(), names: names.into_iter().map(Into::into).collect() },
            writer,
        )
        .await
    }
}

/// A path as it is named in the archive.
fn name(path: &[u8]) -> Result<Vec<u8>, Error> {
    match path.strip_prefix(b"/") {
        Some(name) if !name.is_empty() => Ok(name.to_vec()),
        _ => {
            let shown = String::from_utf8_lossy(path);
            Err(Error::Usage(format!("a snapshot is of absolute paths below /, and {shown:?} is none")))
        }
    }
}

#[derive(Default)]
struct SoFar {
    hash: Sha256,
    bytes: u64,
}

impl SoFar {
    fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn snapshot(&self) -> Snapshot {
        let mut sha256 = String::new();
        for byte in self.hash.clone().finalize() {
            // A string takes whatever is written to it.
            let _ = write!(sha256, "{byte:02x}");
        }
        Snapshot { bytes: self.bytes, sha256 }
    }
}

/// What passes through it is digested. A reader that is not what was expected ends with an error, and so never as a whole.
struct Digested<T> {
    inner: T,
    so_far: SoFar,
    expected: Option<Snapshot>,
}

impl AsyncWrite for Digested<&mut (dyn AsyncWrite + Unpin + Send)> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut *this.inner).poll_write(cx, bytes))?;
        this.so_far.add(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().inner).poll_shutdown(cx)
    }
}

impl AsyncRead for Digested<&mut (dyn AsyncRead + Unpin + Send)> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut *this.inner).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        this.so_far.add(read);
        if let Some(expected) = this.expected.as_ref().filter(|_| read.is_empty()) {
            let found = this.so_far.snapshot();
            if found != *expected {
                let message = format!("it is not the archive of this snapshot: {found:?}, not {expected:?}");
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, message)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn only_absolute_paths_have_a_name_in_the_archive() {
        assert_eq!(name(b"/workspace/a").unwrap(), b"workspace/a");
        for bad in [&b""[..], b"/", b"workspace", b"./a"] {
            assert!(matches!(name(bad), Err(Error::Usage(_))), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn an_archive_that_is_another_one_never_ends_as_a_whole() {
        let mut whole = SoFar::default();
        whole.add(b"archive");
        let snapshot = whole.snapshot();
        for (archive, is_it) in [(&b"archive"[..], true), (b"archivE", false), (b"archiv", false), (b"archive!", false)]
        {
            let mut source = archive;
            let inner: &mut (dyn AsyncRead + Unpin + Send) = &mut source;
            let mut digested = Digested { inner, so_far: SoFar::default(), expected: Some(snapshot.clone()) };
            let mut read = Vec::new();
            assert_eq!(digested.read_to_end(&mut read).await.is_ok(), is_it, "{archive:?}");
        }
    }
}
