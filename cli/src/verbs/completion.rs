//! `completion`: what shells need to complete our command lines.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::{failure::Failure, print};

/// Print the completion script of a shell.
#[derive(Args, Debug)]
#[command(after_help = "It completes `kubectl-arl`. For bash: source <(kubectl-arl completion bash)")]
pub struct Flags {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints it.
pub fn completion(flags: &Flags, mut command: Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut command, "kubectl-arl", &mut script);
    print::data(&String::from_utf8_lossy(&script))
}
