//! `exec`: a command in a Sandbox that is there.

use clap::Args;

use crate::{
    connect::Connection,
    failure::Failure,
    interrupt::Interrupts,
    kind,
    options::Process,
    relay::{Streams, relay},
};

/// Run a command in a Sandbox that is there.
#[derive(Args, Debug)]
#[command(after_help = "Ctrl-C ends the command and all that it started; a second one leaves at once.")]
pub struct Flags {
    /// The Sandbox.
    #[arg(value_parser = kind::sandbox)]
    sandbox: String,
    #[command(flatten)]
    process: Process,
    #[command(flatten)]
    streams: Streams,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs it; its exit code.
pub async fn exec(connection: &Connection, flags: Flags, interrupts: &Interrupts) -> Result<u8, Failure> {
    let sandbox = interrupts.or(connection.sandbox(&flags.sandbox)).await?;
    relay(sandbox.session(), flags.process.of(&flags.command), flags.streams, interrupts).await
}
