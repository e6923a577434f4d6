#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod awaited;
mod branches;
mod claim;
mod client;
mod command;
pub mod connection;
mod deletion;
mod error;
mod files;
mod fork;
pub mod guarded;
mod map;
mod notices;
mod object_name;
mod pool;
mod process;
mod provisional;
mod sandbox;
pub mod session;
mod snapshot;
pub mod stream;
mod watch;

pub use arl_crds::{Step, TaskStatus, WarmPoolSpec};
pub use claim::{Claim, IDLE_TTL, WAIT, name_for};
pub use client::{Client, MANAGER, RUN_ID};
pub use command::{Command, KEEP_MAX};
pub use connection::connect;
pub use error::{Error, Fault, is_missing, is_unknown_kind};
pub use files::{Files, LIST_MAX, READ_MAX};
pub use object_name::{check_name, check_run_id};
pub use process::{Exit, Finished, GRACE, Gap, Process, ProcessEvent};
pub use sandbox::Sandbox;
pub use session::{Session, Stdin};
pub use snapshot::{Archive, Snapshot};
pub use watch::watch_answer;

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
