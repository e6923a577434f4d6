//! What clients ask for.

use minicbor::{Decode, Encode};

use super::id::{Id, Output};
use crate::message::{file, variable::Variable};

/// To an agent of version 2.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// Start this process, unless it has been started, and follow it.
    #[n(0)]
    Start(#[n(0)] Box<Start>),
    /// Send the outputs of a process from these offsets, and its end.
    #[n(1)]
    Follow {
        /// The process.
        #[n(0)]
        id: Id,
        /// Where to go on in its standard output.
        #[n(1)]
        stdout: u64,
        /// Where to go on in its standard error.
        #[n(2)]
        stderr: u64,
    },
    /// Send nothing more of a process.
    #[n(2)]
    Unfollow {
        /// The process.
        #[n(0)]
        id: Id,
    },
    /// The client has taken the output up to an offset.
    #[n(3)]
    Acknowledge {
        /// The process or call.
        #[n(0)]
        id: Id,
        /// Which output.
        #[n(1)]
        output: Output,
        /// How many of its bytes were taken since its beginning.
        #[n(2)]
        offset: u64,
    },
    /// Bytes for standard input.
    #[n(4)]
    Input {
        /// The process or call.
        #[n(0)]
        id: Id,
        /// Where they belong. What was received before is passed over.
        #[n(1)]
        offset: u64,
        /// At most [`CHUNK`](super::CHUNK) of them.
        #[cbor(n(2), with = "minicbor::bytes")]
        data: Vec<u8>,
    },
    /// Close standard input behind so many bytes; for a file call it means that they are all.
    #[n(5)]
    CloseInput {
        /// The process or call.
        #[n(0)]
        id: Id,
        /// How many bytes there were.
        #[n(1)]
        offset: u64,
    },
    /// Send a signal to the process and its group; where it has a terminal, to the process.
    #[n(6)]
    Signal {
        /// The process.
        #[n(0)]
        id: Id,
        /// The number of the signal.
        #[n(1)]
        signal: i32,
    },
    /// The terminal has another size.
    #[n(7)]
    Resize {
        /// The process.
        #[n(0)]
        id: Id,
        /// The size.
        #[n(1)]
        size: Size,
    },
    /// End a process and all that it started: TERM, then KILL. A file call is given up.
    #[n(8)]
    Kill {
        /// The process or call.
        #[n(0)]
        id: Id,
        /// Between the two; 0: KILL at once.
        #[n(1)]
        grace_ms: u64,
    },
    /// The client has the end of this process: drop what is kept of it.
    #[n(9)]
    Forget {
        /// The process.
        #[n(0)]
        id: Id,
    },
    /// Which processes are there?
    #[n(10)]
    List {
        /// Comes back with the answer.
        #[n(0)]
        request: u64,
    },
    /// Send [`Event::Activity`](super::Event::Activity) now, when something begins, and when nothing has been going on for a second.
    #[n(11)]
    WatchActivity,
    /// Do this with files.
    #[n(12)]
    File {
        /// A name for the call.
        #[n(0)]
        id: Id,
        /// What to do.
        #[n(1)]
        action: file::Action,
        /// With the rights of this user: see [`Start::user`].
        #[n(2)]
        user: Option<String>,
    },
}

/// A process to start.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Start {
    /// A name for it.
    #[n(0)]
    pub id: Id,
    /// The program and its arguments.
    #[n(1)]
    pub argv: Vec<String>,
    /// Variables added to the container's own.
    #[n(2)]
    pub env: Vec<Variable>,
    /// Where it runs; relative: below the container's working directory; unset: there.
    #[n(3)]
    pub cwd: Option<String>,
    /// A name, or `uid[:gid]`; unset: the agent's own. Another one needs an agent that is root.
    #[n(4)]
    pub user: Option<String>,
    /// Whether there will be standard input; otherwise it is empty.
    #[n(5)]
    pub stdin: bool,
    /// With a terminal of this size. All output then is [`Output::Stdout`], and there is always input.
    #[n(6)]
    pub tty: Option<Size>,
    /// How long it may take, in milliseconds; unset: for ever.
    #[n(7)]
    pub timeout_ms: Option<u64>,
    /// Between TERM and KILL; unset: [`GRACE_MS`](super::GRACE_MS).
    #[n(8)]
    pub grace_ms: Option<u64>,
    /// How long it may go on while no client follows it; unset: for ever, it is a background process.
    #[n(9)]
    pub alone_ms: Option<u64>,
}

impl Start {
    /// A background process without input, a terminal or a timeout, as the agent's own user in the container's working directory.
    pub fn new(id: Id, argv: Vec<String>) -> Self {
        Self {
            id,
            argv,
            env: Vec::new(),
            cwd: None,
            user: None,
            stdin: false,
            tty: None,
            timeout_ms: None,
            grace_ms: None,
            alone_ms: None,
        }
    }
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Size {
    /// Lines.
    #[n(0)]
    pub rows: u16,
    /// Characters a line.
    #[n(1)]
    pub columns: u16,
}
