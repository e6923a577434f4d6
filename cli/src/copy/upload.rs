//! From here to a Sandbox.

use std::{os::unix::fs::PermissionsExt, path::Path};

use arl_client::Files;
use tokio::fs::File;
use tokio_util::io::SyncIoBridge;

use super::{
    place::{BUFFER, local, stat, target, there},
    tree,
};
use crate::{failure::Failure, print::Waiting};

/// Copies a file, or a directory with all that is in it.
pub async fn upload(files: &Files, source: &Path, destination: &str) -> Result<(), Failure> {
    let metadata = tokio::fs::metadata(source).await.map_err(|error| local(source, &error))?;
    let found = stat(files, destination).await?;
    let name = source.to_string_lossy();
    let target = target(&name, metadata.is_dir(), destination, there(found.as_ref()))?;
    if metadata.is_dir() {
        return upload_tree(files, source, &target).await;
    }
    let file = File::open(source).await.map_err(|error| local(source, &error))?;
    let waiting = Waiting::bytes(&name, Some(metadata.len()));
    let mut content = waiting.bar().wrap_async_read(file);
    files.write_from(&target, Some(metadata.permissions().mode() & 0o777), &mut content).await?;
    Ok(())
}

async fn upload_tree(files: &Files, source: &Path, target: &str) -> Result<(), Failure> {
    let (reader, writer) = tokio::io::duplex(BUFFER);
    let waiting = Waiting::bytes(&source.to_string_lossy(), None);
    let mut content = waiting.bar().wrap_async_read(reader);
    let directory = source.to_owned();
    let packing = tokio::task::spawn_blocking(move || tree::pack(&directory, SyncIoBridge::new(writer)));
    let sending = async {
        let sent = files.unpack(target, &mut content).await;
        // Then the other side must not wait for room.
        drop(content);
        sent
    };
    let (sent, packed) = tokio::join!(sending, packing);
    match packed {
        // Nobody read on: why is said by who read.
        Ok(Err(error)) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::ours(error.to_string())),
        Err(error) => Err(Failure::ours(error.to_string())),
        Ok(_) => Ok(sent.map(drop)?),
    }
}

/// Writes standard input to a file.
pub async fn from_input(files: &Files, destination: &str) -> Result<(), Failure> {
    let waiting = Waiting::bytes(destination, None);
    let mut content = waiting.bar().wrap_async_read(tokio::io::stdin());
    files.write_from(destination, None, &mut content).await?;
    Ok(())
}

/// Opens an archive of this machine.
pub async fn open(archive: &Path) -> Result<File, Failure> {
    File::open(archive).await.map_err(|error| local(archive, &error))
}

/// Unpacks a local tar archive into a directory.
pub async fn unpack(files: &Files, archive: &Path, file: File, directory: &str) -> Result<(), Failure> {
    let waiting = Waiting::bytes(&archive.to_string_lossy(), None);
    files.unpack(directory, &mut waiting.bar().wrap_async_read(file)).await?;
    Ok(())
}
