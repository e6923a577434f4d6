//! `snapshot` and `fork`: the files of a Sandbox, kept or in further Sandboxes.

use arl_client::Sandbox;
use clap::{Args, builder::RangedU64ValueParser};

use crate::{
    connect::Connection, copy, failure::Failure, failures::Failures, interrupt::Interrupts, kind, print,
    progress::reached, terminal,
};

/// They are claimed all at once.
const COUNT_MAX: u64 = 1000;

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
    #[arg(short, long, default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(1..=COUNT_MAX))]
    count: usize,
}

/// Writes it.
pub async fn snapshot(connection: &Connection, flags: Flags) -> Result<(), Failure> {
    if terminal::is_output() {
        return Err(Failure::ours("standard output is a terminal; write the archive to a file: > snapshot.tar"));
    }
    let sandbox = connection.sandbox(&flags.sandbox).await?;
    reached(sandbox.session(), copy::archive_to_output(&sandbox.files(), &flags.path)).await
}

/// Claims them. One that fails does not keep the others.
pub async fn fork(connection: &Connection, flags: Fork, interrupts: &Interrupts) -> Result<(), Failure> {
    let forking = async {
        let sandbox = connection.sandbox(&flags.sandbox).await?;
        Ok(reached(sandbox.session(), sandbox.fork(flags.count, &flags.path)).await)
    };
    let mut failures = Failures::default();
    let forks: Vec<Sandbox> = interrupts
        .or(forking)
        .await?
        .into_iter()
        .filter_map(|fork| failures.take(fork.map_err(Failure::from)))
        .collect();
    for (index, fork) in forks.iter().enumerate() {
        let Err(failure) = print::line(fork.name()) else { continue };
        // Nobody else knows the names of these.
        for unknown in &forks[index..] {
            unknown.release().await?;
        }
        return Err(failure);
    }
    failures.result()
}
