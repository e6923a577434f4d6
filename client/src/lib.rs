//! Sandboxes of the ARL operator for programs.
#![forbid(unsafe_code)]

mod claim;
mod client;
mod error;
mod files;
mod process;
mod sandbox;
pub mod session;
pub mod stream;
mod watch;

pub use arl_crds::{Step, TaskStatus};
pub use claim::{Claim, IDLE_TTL, WAIT};
pub use client::{Client, MANAGER, RUN_ID};
pub use error::{Error, Fault};
pub use files::Files;
pub use process::{Command, Exit, Finished, GRACE, Gap, KEEP_MAX, Process, ProcessEvent};
pub use sandbox::Sandbox;
pub use session::{Session, Stdin};

/// What live processes are told and say.
pub mod live {
    pub use arl_agent::message::{
        file::{Entry, Kind as FileKind},
        live::{Cause, Output, Process as Listed},
    };
}

/// Kinds of failures that a pod reports.
pub mod kind {
    pub use arl_agent::message::error::Kind;
}
