//! What the supervisor and a keeper send each other.

use arl_agent::message::{
    Variable,
    error::Error,
    file::{Action, Success},
    live::{Cause, Id, Status},
};
use minicbor::{Decode, Encode};

/// To a keeper.
#[derive(Debug, Encode, Decode)]
pub enum Command {
    /// Do this. Descriptors come with it: standard input, output and error of a process, as far as it has them, or its terminal;
    /// input and output of a call.
    #[n(0)]
    Job(#[n(0)] Job),
    /// Send a signal to the process and its group.
    #[n(1)]
    Signal {
        /// Which job is meant: one that is over gets nothing.
        #[n(0)]
        id: Id,
        /// The signal.
        #[n(1)]
        signal: i32,
    },
    /// End the process and all that it started.
    #[n(2)]
    Kill {
        /// Which job is meant.
        #[n(0)]
        id: Id,
        /// Between TERM and KILL.
        #[n(1)]
        grace_ms: u64,
        /// Why.
        #[n(2)]
        cause: Cause,
    },
    /// The input of a call was complete.
    #[n(3)]
    Commit {
        /// Which job is meant.
        #[n(0)]
        id: Id,
    },
}

/// A process to start, or a call.
#[derive(Debug, Encode, Decode)]
pub struct Job {
    /// Its name.
    #[n(0)]
    pub id: Id,
    /// The container's working directory. It is looked up by its name each time.
    #[n(1)]
    pub home: String,
    /// As whom. A keeper that became somebody else takes no other job.
    #[n(2)]
    pub user: Option<String>,
    /// What to do.
    #[n(3)]
    pub work: Work,
}

/// What a keeper does.
#[derive(Debug, Encode, Decode)]
pub enum Work {
    /// Run a process.
    #[n(0)]
    Process(#[n(0)] Program),
    /// Do something with files.
    #[n(1)]
    Call(#[n(0)] Action),
}

/// A process.
#[derive(Debug, Encode, Decode)]
pub struct Program {
    /// The program and its arguments.
    #[n(0)]
    pub argv: Vec<String>,
    /// Variables added to the container's own.
    #[n(1)]
    pub env: Vec<Variable>,
    /// Where.
    #[n(2)]
    pub cwd: Option<String>,
    /// Whether a descriptor for standard input comes with it.
    #[n(3)]
    pub stdin: bool,
    /// Whether the one descriptor is a terminal.
    #[n(4)]
    pub tty: bool,
    /// How long it may take.
    #[n(5)]
    pub timeout_ms: Option<u64>,
    /// Between TERM and KILL.
    #[n(6)]
    pub grace_ms: u64,
}

/// From a keeper.
#[derive(Debug, Encode, Decode)]
pub enum Report {
    /// The process runs.
    #[n(0)]
    Started {
        /// Its number.
        #[n(0)]
        pid: i32,
    },
    /// The process has ended, or was ended with all that it started.
    #[n(1)]
    Exited {
        /// How.
        #[n(0)]
        status: Status,
        /// What ended it.
        #[n(1)]
        cause: Option<Cause>,
        /// What could not be ended.
        #[n(2)]
        survivors: Vec<String>,
    },
    /// The process was not started, or the call failed.
    #[n(2)]
    Failed(#[n(0)] Error),
    /// The call is done.
    #[n(3)]
    Done(#[n(0)] Success),
    /// Nothing is left of the job: there may be another.
    #[n(4)]
    Free,
}
