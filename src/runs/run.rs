//! A run: what is asked for, and how it ends.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arl_crds::Step;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    contents::{Contents, Room},
    quota::Quota,
};
use crate::{
    object::{Key, Uid},
    pod::Target,
};

/// A Task shorter than this need not be seen to run, nor its Sandbox to be bound.
pub const SHORT_TASK: Duration = Duration::from_millis(100);

/// What holds for all runs of a process together.
#[derive(Clone, Default)]
pub struct Bounds {
    /// On outputs.
    pub outputs: Arc<Quota>,
    /// On what is on its way into pods.
    pub contents: Arc<Contents>,
}

/// A Task to run.
#[derive(Debug)]
pub struct Request {
    /// The Task.
    pub task: Key,
    /// Which Task that is.
    pub task_uid: Uid,
    /// When it was created, as the API server says.
    pub created: Option<Timestamp>,
    /// Its steps.
    pub steps: Vec<Step>,
    /// The variables of its Sandbox, which the steps have among theirs.
    pub sandbox_env: BTreeMap<String, String>,
    /// The room that they take in memory, if it is much.
    pub room: Option<Room>,
    /// How long all of them may take together.
    pub timeout: Duration,
    /// Where.
    pub target: Target,
    /// Since when it is on record as started, so that it may only be followed.
    pub started_at: Option<Timestamp>,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepEnd {
    /// The command exited.
    Exited(i32),
    /// The command cannot be executed: 127, not found; 126, not executable or no such working directory.
    NotExecutable {
        /// 126 or 127.
        code: i32,
        /// In words.
        message: String,
    },
    /// The command failed with this code, and it or a child of it was killed for lack of memory.
    OutOfMemory(i32),
    /// The file was written.
    Written,
    /// The file could not be written; in words.
    NotWritten(String),
    /// The step could not be started; in words.
    StartError(String),
    /// The step did not get to the pod, for what is no doing of its own; in words.
    NotDelivered(String),
}

impl StepEnd {
    /// Whether the next step may run.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Exited(0) | Self::Written)
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// All steps succeeded, or one failed.
    Completed,
    /// The timeout came first.
    TimedOut,
    /// It was asked to end.
    Cancelled,
    /// Nothing was started; in words.
    NotStarted(String),
    /// Its container was started again before anything of it was sent, so that it may begin again in the next one.
    NotSent,
    /// Its end is not known; in words.
    Lost(String),
}

/// What became of the processes that the steps of a run started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leftovers {
    /// They are gone, or live on rightly.
    None,
    /// This cannot be known: plain exec cannot end what it started.
    Unknown,
    /// They could not be ended; in words.
    Survivors(String),
}

/// What a run is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunControl {
    /// To go on.
    #[default]
    Continue,
    /// To end soon: its container was started again, so that only what is on record in the pod can be had.
    Settle,
    /// To end all that it started.
    Cancel,
}

/// How and when a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub end: RunEnd,
    /// What it left behind against its will.
    pub left: Leftovers,
    /// When.
    pub at: Timestamp,
}

/// Resolves with the first control that goes further than `asked`; never, where there can be none.
pub(super) async fn more_than(control: &mut watch::Receiver<RunControl>, asked: RunControl) -> RunControl {
    let more = control.wait_for(|control| *control > asked).await.ok().map(|control| *control);
    match more {
        Some(control) => control,
        None => std::future::pending().await,
    }
}
