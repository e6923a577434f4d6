//! `man`: pages for man(1).

use std::path::PathBuf;

use clap::{Args, Command};

use crate::failure::Failure;

/// Write the pages for man(1) into a directory: one for each verb.
#[derive(Args, Debug)]
#[command(after_help = "They are found below a directory of MANPATH: kubectl-arl man ~/.local/share/man/man1")]
pub struct Flags {
    /// Made where it is not there.
    directory: PathBuf,
}

/// Writes them.
pub fn man(flags: &Flags, command: Command) -> Result<(), Failure> {
    let directory = &flags.directory;
    let written = std::fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(command, directory));
    written.map_err(|error| Failure::ours(format!("the pages cannot be written to {}: {error}", directory.display())))
}
