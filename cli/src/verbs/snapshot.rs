//! `snapshot` and `fork`: the files of a Sandbox, kept or in further Sandboxes.

use clap::Args;

use crate::{connect::Connection, copy, failure::Failure, kind, print, terminal};

/// Write a directory of a Sandbox to standard output, as a tar archive that `claim --from` takes. Processes are not in it.
#[derive(Args, Debug)]
pub struct Flags {
    /// The Sandbox.
    #[arg(value_parser = kind::sandbox)]
    sandbox: String,
    /// The directory.
    #[arg(default_value = "/workspace")]
    path: String,
}

/// Claim further Sandboxes of the same pool, with the same files in a directory, and print their names. Processes are not copied.
#[derive(Args, Debug)]
pub struct Fork {
    /// The Sandbox.
    #[arg(value_parser = kind::sandbox)]
    sandbox: String,
    /// The directory.
    #[arg(default_value = "/workspace")]
    path: String,
    /// How many.
    #[arg(short, long, default_value_t = 1)]
    count: usize,
}

/// Writes it.
pub async fn snapshot(connection: &Connection, flags: Flags) -> Result<(), Failure> {
    if terminal::is_output() {
        return Err(Failure::ours("standard output is a terminal; write the archive to a file: > snapshot.tar"));
    }
    copy::archive_to_output(&connection.sandbox(&flags.sandbox).await?.files(), &flags.path).await
}

/// Claims them. One that fails does not keep the others.
pub async fn fork(connection: &Connection, flags: Fork) -> Result<(), Failure> {
    let forks = connection.sandbox(&flags.sandbox).await?.fork(flags.count, &flags.path).await;
    let mut failed = None;
    for fork in forks {
        match fork {
            Ok(sandbox) => print::line(sandbox.name())?,
            Err(error) => failed = failed.or(Some(error.into())),
        }
    }
    failed.map_or(Ok(()), Err)
}
