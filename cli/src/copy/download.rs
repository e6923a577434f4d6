//! From a Sandbox to here.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use arl_client::{Error, Files, live::Entry};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream};
use tokio_util::io::SyncIoBridge;

use super::{
    place::{BUFFER, There, local, stat, target, there},
    tree,
};
use crate::{
    failure::Failure,
    local_file::{self, Place},
    print::{self, Waiting},
};

/// Copies a file, or a directory with all that is in it.
pub async fn download(files: &Files, source: &str, destination: &Path) -> Result<(), Failure> {
    let missing = || Failure::ours(format!("there is no {source} in the Sandbox"));
    let entry = stat(files, source).await?.ok_or_else(missing)?;
    let is_directory = there(Some(&entry)) == There::Directory;
    let here = match tokio::fs::metadata(destination).await {
        Ok(metadata) if metadata.is_dir() => There::Directory,
        Ok(_) => There::Other,
        Err(error) if error.kind() == io::ErrorKind::NotFound => There::Nothing,
        Err(error) => return Err(local(destination, &error)),
    };
    let target = PathBuf::from(target(source, is_directory, &destination.to_string_lossy(), here)?);
    if is_directory {
        return download_tree(files, source, target).await;
    }
    match Place::of(&target).map_err(|error| local(&target, &error))? {
        Place::File(file) => download_file(files, source, &entry, &file).await,
        Place::Other => download_into(files, source, &entry, &target).await,
    }
}

/// Writes the content to a pipe or a device that is there.
async fn download_into(files: &Files, source: &str, entry: &Entry, target: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| local(target, &error);
    let mut writer = tokio::fs::File::options().write(true).open(target).await.map_err(failed)?;
    receive(files, source, entry, target, &mut writer).await
}

async fn receive(
    files: &Files,
    source: &str,
    entry: &Entry,
    target: &Path,
    writer: &mut tokio::fs::File,
) -> Result<(), Failure> {
    let waiting = Waiting::bytes(source, Some(entry.size));
    let (reading, copying) = piped(
        async |pipe| files.read_to(source, 0, None, pipe).await,
        async |pipe| {
            copy(waiting.bar().wrap_async_read(pipe), writer).await?;
            writer.shutdown().await
        },
    )
    .await;
    copying.map_err(|error| local(target, &error))?;
    reading?;
    Ok(())
}

/// The content appears under its name once all of it is there.
async fn download_file(files: &Files, source: &str, entry: &Entry, target: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| local(target, &error);
    let file = local_file::beside(target).map_err(failed)?;
    let mut writer = tokio::fs::File::from_std(file.reopen().map_err(failed)?);
    receive(files, source, entry, target, &mut writer).await?;
    let mode = entry.mode & 0o777;
    if let Err(error) = file.as_file().set_permissions(Permissions::from_mode(mode)) {
        print::note(format!("the mode {mode:o} of {} could not be set: {error}", target.display()));
    }
    file.persist(target).map_err(|error| failed(error.error)).map(drop)
}

async fn download_tree(files: &Files, source: &str, target: PathBuf) -> Result<(), Failure> {
    let waiting = Waiting::bytes(source, None);
    let bar = waiting.bar();
    let into = target.clone();
    let (reading, unpacked) = piped(
        async |pipe| files.pack(source, pipe).await,
        async |pipe| {
            let reader =
                SyncIoBridge::new(Box::pin(bar.wrap_async_read(pipe)) as std::pin::Pin<Box<dyn AsyncRead + Send>>);
            tokio::task::spawn_blocking(move || tree::unpack(&into, reader)).await?
        },
    )
    .await;
    // An archive that ends too early is the failure of the pod, which says why, and not that of the disk.
    match (reading, unpacked) {
        (Err(error @ Error::Remote(_)), Err(_)) => Err(error.into()),
        (Err(error), Err(local)) if local.kind() == io::ErrorKind::UnexpectedEof => Err(error.into()),
        (_, Err(error)) => Err(local(&target, &error)),
        (reading, Ok(())) => Ok(reading.map(drop)?),
    }
}

/// Copies a file to standard output.
pub async fn to_output(files: &Files, source: &str) -> Result<(), Failure> {
    let (reading, copying) = piped(async |pipe| files.read_to(source, 0, None, pipe).await, to_standard_output).await;
    copying.map_err(|error| Failure::output(&error))?;
    Ok(reading.map(drop)?)
}

/// Writes a directory to standard output, as a tar archive.
pub async fn archive_to_output(files: &Files, directory: &str) -> Result<(), Failure> {
    let (packing, copying) = piped(async |pipe| files.pack(directory, pipe).await, to_standard_output).await;
    copying.map_err(|error| Failure::output(&error))?;
    Ok(packing.map(drop)?)
}

async fn to_standard_output(pipe: DuplexStream) -> io::Result<()> {
    let mut out = tokio::io::stdout();
    copy(pipe, &mut out).await?;
    out.flush().await
}

/// Copies large pieces: a thread is woken for each.
async fn copy(reader: impl AsyncRead + Unpin, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(BUFFER, reader);
    tokio::io::copy_buf(&mut reader, writer).await.map(drop)
}

/// Runs both ends of a pipe; each end is closed when its side is done.
async fn piped(
    write: impl AsyncFnOnce(&mut DuplexStream) -> Result<u64, Error>,
    read: impl AsyncFnOnce(DuplexStream) -> io::Result<()>,
) -> (Result<u64, Error>, io::Result<()>) {
    let (mut near, far) = tokio::io::duplex(BUFFER);
    let writing = async {
        let written = write(&mut near).await;
        drop(near);
        written
    };
    tokio::join!(writing, read(far))
}
