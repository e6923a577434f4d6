//! Files of a Sandbox. Paths are bytes; relative ones are below the container's working directory.

use std::time::Duration;

use arl_agent::{
    frame::Frames,
    message::{
        error::{Error as Remote, Kind},
        file::{Action, Entry, Success},
        live::Output,
    },
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter};

use crate::{
    error::Error,
    session::{FlowEvent, Handle, Opening, Session, new_id},
};

/// The most bytes of one entry of a list: a path has 4 KiB at most, and so has where a link leads.
const ENTRY_MAX: usize = 64 * 1024;

/// The most bytes that [`Files::read`] takes into memory. Code in a Sandbox can make a file of any size with a few bytes.
pub const READ_MAX: usize = 256 * 1024 * 1024;
/// A file of so many bytes is read without asking how many there are.
const UNCHECKED_MAX: usize = 4 * 1024 * 1024;
/// What is written at once of a file that is copied.
const PIECE: usize = 256 * 1024;
/// The most bytes of all entries that [`Files::list`] takes into memory, as they are sent: half a million of usual length.
pub const LIST_MAX: usize = 32 * 1024 * 1024;

/// The files of a Sandbox, with the rights of one user.
#[derive(Clone, Debug)]
pub struct Files {
    session: Session,
    user: Option<String>,
}

impl Session {
    /// Its files, with the rights of the container's own user.
    pub fn files(&self) -> Files {
        Files { session: self.clone(), user: None }
    }
}

impl Files {
    /// With the rights of this user: a name, or `uid[:gid]`. Needs an agent that is root.
    #[must_use]
    pub fn as_user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    fn call(&self, action: Action) -> Handle {
        self.session.open(new_id(), Opening::File(action, self.user.clone()))
    }

    /// For what takes a moment.
    async fn done(&self, action: Action) -> Result<Success, Error> {
        let mut handle = self.call(action);
        loop {
            match handle.next_within(Duration::ZERO).await {
                FlowEvent::Done(result) => return Ok(result),
                FlowEvent::Failed(error) => return Err(error),
                _ => {}
            }
        }
    }

    async fn send(&self, action: Action, content: &mut (dyn AsyncRead + Unpin + Send)) -> Result<u64, Error> {
        let mut handle = self.call(action);
        let stdin = handle.take_stdin();
        let sending = async {
            let Some(mut stdin) = stdin else { return Ok::<(), Error>(()) };
            // Where nobody reads it any more, the call has ended, and says why.
            if stdin.try_copy_from(content).await?.is_some() {
                stdin.close();
            }
            Ok(())
        };
        let mut sink = tokio::io::sink();
        let done = drain(handle, &mut sink);
        tokio::pin!(sending, done);
        tokio::select! {
            result = &mut done => count(&result?),
            sent = &mut sending => {
                sent?;
                count(&done.await?)
            }
        }
    }

    /// The whole content of a file.
    ///
    /// # Errors
    /// Of kind [`Kind::TooLarge`] where that is more than [`READ_MAX`]: [`Files::read_to`] copies files of any size.
    pub async fn read(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>, Error> {
        self.read_range(path, 0, None).await
    }

    /// The same of `length` bytes from `offset` on, or of all that follow.
    pub async fn read_range(&self, path: impl AsRef<[u8]>, offset: u64, length: Option<u64>) -> Result<Vec<u8>, Error> {
        let path = path.as_ref();
        let too_large = || {
            let path = String::from_utf8_lossy(path);
            let message = format!("{path} has more than {READ_MAX} bytes: read it as a stream, or in parts");
            Error::Remote(Remote::new(Kind::TooLarge, message))
        };
        let mut handle = self.call(Action::Read { path: path.to_vec(), offset, length });
        let (mut content, mut is_checked) = (Vec::new(), false);
        loop {
            match handle.next().await {
                FlowEvent::Data(Output::Stdout, data) => {
                    // Small files are not worth a question, and one that is much too large is not worth its transfer.
                    if content.len() > UNCHECKED_MAX && !is_checked {
                        is_checked = true;
                        let rest = self.stat(path).await?.size.saturating_sub(offset);
                        if rest.min(length.unwrap_or(u64::MAX)) > READ_MAX as u64 {
                            return Err(too_large());
                        }
                    }
                    if content.len() + data.len() > READ_MAX {
                        return Err(too_large());
                    }
                    content.extend_from_slice(&data);
                }
                FlowEvent::Gap(..) => return Err(cut_off()),
                FlowEvent::Done(_) => return Ok(content),
                FlowEvent::Failed(error) => return Err(error),
                _ => {}
            }
        }
    }

    /// Copies `length` bytes of a file from `offset` on, or all that follow; returns how many there were.
    pub async fn read_to(
        &self,
        path: impl AsRef<[u8]>,
        offset: u64,
        length: Option<u64>,
        writer: &mut (dyn AsyncWrite + Unpin + Send),
    ) -> Result<u64, Error> {
        self.receive(Action::Read { path: path.as_ref().to_vec(), offset, length }, writer).await
    }

    /// Replaces a file, all of it or not at all. Directories that are missing are made.
    pub async fn write(&self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Result<(), Error> {
        self.write_from(path, None, &mut content.as_ref()).await.map(drop)
    }

    /// The same from a reader, with a mode; returns how many bytes were written.
    pub async fn write_from(
        &self,
        path: impl AsRef<[u8]>,
        mode: Option<u32>,
        content: &mut (dyn AsyncRead + Unpin + Send),
    ) -> Result<u64, Error> {
        self.send(Action::Write { path: path.as_ref().to_vec(), mode }, content).await
    }

    /// Adds to the end of a file, which is made where it is missing.
    pub async fn append(&self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Result<(), Error> {
        self.send(Action::Append { path: path.as_ref().to_vec() }, &mut content.as_ref()).await.map(drop)
    }

    /// What is there. Links at the end of the path are followed.
    pub async fn stat(&self, path: impl AsRef<[u8]>) -> Result<Entry, Error> {
        match self.done(Action::Stat { path: path.as_ref().to_vec(), follow: true }).await? {
            Success::Entry(entry) => Ok(entry),
            Success::Count(_) => Err(unexpected()),
        }
    }

    /// What is in a directory, down to so many levels, 1 being its own; all without a number.
    ///
    /// # Errors
    /// Of kind [`Kind::TooLarge`] where that is more than [`LIST_MAX`].
    pub async fn list(&self, path: impl AsRef<[u8]>, depth: Option<u32>) -> Result<Vec<Entry>, Error> {
        let path = path.as_ref().to_vec();
        let shown = String::from_utf8_lossy(&path).into_owned();
        let mut handle = self.call(Action::List { path, depth });
        let (mut frames, mut entries, mut bytes) = (Frames::new(ENTRY_MAX), Vec::new(), 0);
        loop {
            match handle.next_within(Duration::ZERO).await {
                FlowEvent::Data(Output::Stdout, data) => {
                    bytes += data.len();
                    if bytes > LIST_MAX {
                        let message =
                            format!("{shown} has more entries than a list holds: list its directories one by one");
                        return Err(Error::Remote(Remote::new(Kind::TooLarge, message)));
                    }
                    frames.push(&data);
                    while let Some(entry) = frames.take().map_err(|_| unexpected())? {
                        entries.push(entry);
                    }
                }
                FlowEvent::Gap(..) => return Err(cut_off()),
                FlowEvent::Done(_) => return Ok(entries),
                FlowEvent::Failed(error) => return Err(error),
                _ => {}
            }
        }
    }

    /// Makes a directory, and those above it. One that is there is left as it is.
    pub async fn make_dir(&self, path: impl AsRef<[u8]>) -> Result<(), Error> {
        self.done(Action::MakeDirectory { path: path.as_ref().to_vec(), mode: None }).await.map(drop)
    }

    /// Removes a file, a link or a directory; `recursive`: with all that is in it.
    pub async fn remove(&self, path: impl AsRef<[u8]>, recursive: bool) -> Result<(), Error> {
        let action = Action::Remove { path: path.as_ref().to_vec(), recursive };
        // A tree takes as long as it is large.
        let removed =
            if recursive { drain(self.call(action), &mut tokio::io::sink()).await } else { self.done(action).await };
        removed.map(drop)
    }

    /// Gives a file another name; one that has it is replaced.
    pub async fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<(), Error> {
        self.done(Action::Rename { from: from.as_ref().to_vec(), to: to.as_ref().to_vec() }).await.map(drop)
    }

    /// Changes the mode of a file.
    pub async fn chmod(&self, path: impl AsRef<[u8]>, mode: u32) -> Result<(), Error> {
        self.done(Action::ChangeMode { path: path.as_ref().to_vec(), mode }).await.map(drop)
    }

    /// Copies a directory as a tar archive, with links and modes; returns the number of entries.
    pub async fn pack(
        &self,
        directory: impl AsRef<[u8]>,
        writer: &mut (dyn AsyncWrite + Unpin + Send),
    ) -> Result<u64, Error> {
        let action = Action::Pack { directory: directory.as_ref().to_vec(), names: Vec::new() };
        self.receive(action, writer).await
    }

    pub(crate) async fn receive(
        &self,
        action: Action,
        writer: &mut (dyn AsyncWrite + Unpin + Send),
    ) -> Result<u64, Error> {
        // A file wants few large pieces: a thread is woken for each.
        let mut writer = BufWriter::with_capacity(PIECE, writer);
        let drained = drain(self.call(action), &mut writer).await;
        if drained.is_err() {
            // What had arrived before is of use to whoever watches it come.
            let _ = writer.flush().await;
        }
        count(&drained?)
    }

    /// Unpacks a tar archive into a directory, which is made where it is missing. Nothing outside of it is touched, whatever the
    /// archive says.
    pub async fn unpack(
        &self,
        directory: impl AsRef<[u8]>,
        archive: &mut (dyn AsyncRead + Unpin + Send),
    ) -> Result<u64, Error> {
        self.send(Action::Unpack { directory: directory.as_ref().to_vec() }, archive).await
    }
}

async fn drain(mut handle: Handle, writer: &mut (dyn AsyncWrite + Unpin + Send)) -> Result<Success, Error> {
    loop {
        match handle.next().await {
            FlowEvent::Data(Output::Stdout, data) => writer.write_all(&data).await?,
            FlowEvent::Gap(..) => return Err(cut_off()),
            FlowEvent::Done(result) => {
                writer.flush().await?;
                return Ok(result);
            }
            FlowEvent::Failed(error) => return Err(error),
            _ => {}
        }
    }
}

fn count(result: &Success) -> Result<u64, Error> {
    match result {
        Success::Count(count) => Ok(*count),
        Success::Entry(_) => Err(unexpected()),
    }
}

fn unexpected() -> Error {
    Error::Interrupted("the agent answers something else; try it again".into())
}

fn cut_off() -> Error {
    Error::Interrupted("some of the content is missing; try it again".into())
}
