//! The agent: runs the steps of Tasks inside a pod. One static binary, six ways to call it:
//!
//! - `install` copies it into the volume that the pool's pods share with it (an init container does);
//! - `connect` hands its client's exec stream to the supervisor, which it starts where there is none;
//! - `supervise` keeps the runs and their records, and outlives every stream;
//! - `step` runs steps and is the reaper of everything that they start;
//! - `live` does the same for one live process at a time, and reads and writes files;
//! - `output` prints what the steps of a run print, while they do.
#![forbid(unsafe_code)]
// One thread and no runtime: there is nobody else whom a short sleep could keep waiting.
#![allow(clippy::disallowed_methods)]

mod children;
mod command;
mod connect;
mod file;
mod forgotten;
mod install;
mod job;
mod limits;
mod live;
mod memory;
mod passing;
mod peer;
mod printed;
mod records;
mod refusal;
mod step;
mod supervise;
mod tree;

use std::{path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let mode = arguments.next().unwrap_or_default();
    let directory = arguments.next().map_or_else(|| PathBuf::from(arl_agent::DIRECTORY), PathBuf::from);
    let third = arguments.next();
    let done = match mode.to_str() {
        Some("install") => install::install(&directory, third.as_deref()),
        Some("connect") => connect::connect(&directory),
        Some("supervise") => supervise::supervise(&directory),
        Some("step") => {
            limits::restore(third);
            step::step(&directory)
        }
        Some("live") => {
            limits::restore(third);
            live::keep()
        }
        Some("output") => printed::output(&directory, third.as_ref().and_then(|run| run.to_str()).unwrap_or_default()),
        Some("version") => {
            println!("arl-agent {} (protocol {})", env!("CARGO_PKG_VERSION"), arl_agent::message::VERSION);
            Ok(())
        }
        _ => {
            Err("usage: arl-agent connect|supervise|step|live|version [DIRECTORY], or install DIRECTORY [WORKING-DIRECTORY], or output DIRECTORY RUN"
                .into())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("arl-agent: {message}");
            ExitCode::FAILURE
        }
    }
}
