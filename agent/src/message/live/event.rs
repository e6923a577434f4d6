//! What an agent answers.

use minicbor::{Decode, Encode};

use super::id::{Id, Output};
use crate::message::{error::Error, file};

/// From an agent of version 2.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    /// The process runs, or has run: the answer to a start and a follow.
    #[n(0)]
    Started {
        /// The process.
        #[n(0)]
        id: Id,
        /// Its number in the pod.
        #[n(1)]
        pid: i32,
        /// How long ago it was started, in microseconds.
        #[n(2)]
        ago_us: u64,
    },
    /// Bytes of an output.
    #[n(1)]
    Output {
        /// The process or call.
        #[n(0)]
        id: Id,
        /// Which output.
        #[n(1)]
        output: Output,
        /// Where they belong. What is missing before them is gone.
        #[n(2)]
        offset: u64,
        /// At most [`CHUNK`](super::CHUNK) of them.
        #[cbor(n(3), with = "minicbor::bytes")]
        data: Vec<u8>,
    },
    /// How far standard input has come.
    #[n(2)]
    InputRoom {
        /// The process or call.
        #[n(0)]
        id: Id,
        /// So many bytes have been received since the beginning.
        #[n(1)]
        received: u64,
        /// Up to here there is room.
        #[n(2)]
        until: u64,
    },
    /// Nobody reads standard input any more: what is still sent is dropped.
    #[n(3)]
    InputClosed {
        /// The process or call.
        #[n(0)]
        id: Id,
    },
    /// The process has ended: its last event.
    #[n(4)]
    Ended {
        /// The process.
        #[n(0)]
        id: Id,
        /// How.
        #[n(1)]
        end: End,
    },
    /// The process could not be started or is not known, or the call failed: its last event.
    #[n(5)]
    Failed {
        /// The process or call.
        #[n(0)]
        id: Id,
        /// Why.
        #[n(1)]
        error: Error,
    },
    /// A signal, a size or input was not passed on; the process is as it was.
    #[n(6)]
    Rejected {
        /// The process.
        #[n(0)]
        id: Id,
        /// Why.
        #[n(1)]
        error: Error,
    },
    /// The processes that are there.
    #[n(7)]
    List {
        /// The number in the request.
        #[n(0)]
        request: u64,
        /// Those that run, then those that have ended and were not forgotten.
        #[n(1)]
        processes: Vec<Process>,
    },
    /// What is going on besides runs.
    #[n(8)]
    Activity {
        /// Processes that run and file calls in progress.
        #[n(0)]
        live: u32,
        /// Streams that have asked for a process or a file.
        #[n(1)]
        clients: u32,
        /// How long ago the last of them ended, in microseconds; unset while there are any, and where there never were.
        #[n(2)]
        idle_us: Option<u64>,
    },
    /// The call succeeded: its last event, after the last output.
    #[n(9)]
    Done {
        /// The call.
        #[n(0)]
        id: Id,
        /// What it found.
        #[n(1)]
        result: file::Success,
    },
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct End {
    /// What its parent was told.
    #[n(0)]
    pub status: Status,
    /// What ended it, if that was not itself.
    #[n(1)]
    pub cause: Option<Cause>,
    /// Processes that could not be ended, such as `12 (sudo)`.
    #[n(2)]
    pub survivors: Vec<String>,
    /// How many bytes it printed on standard output.
    #[n(3)]
    pub stdout: u64,
    /// How many bytes it printed on standard error.
    #[n(4)]
    pub stderr: u64,
    /// How long ago it was started, in microseconds.
    #[n(5)]
    pub started_ago_us: u64,
    /// How long ago it ended, in microseconds.
    #[n(6)]
    pub ended_ago_us: u64,
}

/// The end of a process as its parent is told it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Status {
    /// It exited with this code.
    #[n(0)]
    Exited(#[n(0)] i32),
    /// This signal ended it.
    #[n(1)]
    Signalled(#[n(0)] i32),
    /// It is not known: the agent's process that waited for it was ended; why.
    #[n(2)]
    Lost(#[n(0)] String),
}

/// What ended a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Cause {
    /// Its timeout.
    #[n(0)]
    TimedOut,
    /// Lack of memory: it failed, and the container's count of processes killed for that rose meanwhile.
    #[n(1)]
    OutOfMemory,
    /// A client's request.
    #[n(2)]
    Killed,
    /// No client was there for [`Start::alone_ms`](super::Start::alone_ms).
    #[n(3)]
    Abandoned,
}

/// A process in a list.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Process {
    /// The process.
    #[n(0)]
    pub id: Id,
    /// Its number in the pod.
    #[n(1)]
    pub pid: i32,
    /// The beginning of its program and arguments.
    #[n(2)]
    pub command: String,
    /// Whether it goes on without a client.
    #[n(3)]
    pub background: bool,
    /// Whether it has a terminal.
    #[n(4)]
    pub tty: bool,
    /// How long ago it was started, in microseconds.
    #[n(5)]
    pub started_ago_us: u64,
    /// Whether it has ended.
    #[n(6)]
    pub ended: bool,
    /// How many clients follow it.
    #[n(7)]
    pub clients: u32,
    /// The first byte of standard output that is kept.
    #[n(8)]
    pub stdout: u64,
    /// The first byte of standard error that is kept.
    #[n(9)]
    pub stderr: u64,
}
