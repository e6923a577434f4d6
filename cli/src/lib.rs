//! `kubectl arl`: what a person does with Sandboxes at a terminal.
//!
//! ```text
//!   command_line ──verb──> verbs/* ──> relay (a process with this terminal) ──> arl-client
//!                                  ├─> listing, table (what is there)
//!                                  ├─> page (the same for a browser)
//!                                  └─> failure (message and exit code)
//! ```
//!
//! Data goes to standard output and all else to standard error. The exit code is the command's, or 125 where a failure is our own;
//! see [`failure`]. What is shown is made by pure functions, which are tested by tables; a verb fetches, renders and prints.
#![forbid(unsafe_code)]

mod advice;
mod at_work;
mod cause;
mod check;
pub mod command_line;
mod connect;
mod copy;
mod dashboard;
mod failure;
mod failures;
mod installed;
mod interrupt;
mod kind;
mod listing;
mod live_objects;
mod local_file;
mod manifest;
mod options;
mod outcome;
mod page;
mod print;
mod printer;
mod progress;
mod redact;
mod relay;
mod rows;
mod screen;
mod starting;
mod step_output;
mod table;
mod terminal;
mod usage;
mod verbs;
mod versions;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, FromArgMatches};
use command_line::Arguments;
use failure::{Failure, OURS};
use interrupt::Interrupts;

/// The name under which kubectl calls this.
const PLUGIN: &str = "kubectl-arl";

/// Does what the command line says.
pub fn main() -> ExitCode {
    // While it is sure to be there.
    terminal::is_output();
    let arguments = match parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => {
            let printed = error.print();
            return match printed {
                // Nobody may read it.
                _ if error.use_stderr() => OURS.into(),
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => Failure::output(&error).show(),
            };
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::ours(format!("the runtime cannot be started: {error}")).show(),
    };
    let code = runtime.block_on(async {
        let interrupts = Interrupts::watch().map_err(|error| Failure::signals(&error))?;
        Box::pin(command_line::execute(arguments, interrupts)).await
    });
    // A thread that reads standard input may never return.
    runtime.shutdown_background();
    code.map_or_else(Failure::show, ExitCode::from)
}

fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    let called = arguments.next().unwrap_or_default();
    let stem = std::path::Path::new(&called).file_stem().and_then(std::ffi::OsStr::to_str).unwrap_or(PLUGIN);
    let name = if stem == PLUGIN { "kubectl arl".to_owned() } else { stem.to_owned() };
    let mut command = Arguments::command().bin_name(&name);
    let matches = command.try_get_matches_from_mut([called.clone()].into_iter().chain(arguments))?;
    Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}
