//! `shell`: a shell in a Sandbox, on this terminal.

use clap::Args;

use crate::{
    connect::Connection,
    failure::{Failure, NOT_FOUND},
    interrupt::Interrupts,
    kind,
    options::Process,
    relay::{Streams, relay},
    terminal,
};

/// The best one first.
pub const SHELLS: [&str; 2] = ["bash", "sh"];

/// Open a shell in a Sandbox: bash, or sh where the image has no bash.
#[derive(Args, Debug)]
pub struct Flags {
    /// The Sandbox.
    #[arg(value_parser = kind::sandbox)]
    sandbox: String,
    #[command(flatten)]
    process: Process,
}

/// Opens it; its exit code.
pub async fn shell(connection: &Connection, flags: Flags, interrupts: &Interrupts) -> Result<u8, Failure> {
    if !terminal::is_input() {
        return Err(Failure::ours(format!(
            "a shell needs a terminal, and standard input is none; `kubectl arl exec {} -- sh` runs what it reads there",
            flags.sandbox
        )));
    }
    let sandbox = interrupts.or(connection.sandbox(&flags.sandbox)).await?;
    for shell in SHELLS {
        let command = flags.process.of(&[shell.to_owned()]);
        match relay(sandbox.session(), command, Streams { stdin: true, tty: true }, interrupts).await {
            Err(failure) if failure.is_not_found() => {}
            result => return result,
        }
    }
    let why =
        format!("the image has neither bash nor sh; `kubectl arl exec {} -- PROGRAM` runs what it has", flags.sandbox);
    Err(Failure { code: NOT_FOUND, ..Failure::ours(why) })
}
