//! Commands for live processes.

use std::time::Duration;

use arl_agent::message::{
    Variable,
    live::{ALONE_MS, Size, Start},
};

use crate::session::{millis, new_id};

/// What [`Session::run`](crate::Session::run) keeps of each output, where the command says nothing else.
pub const KEEP_MAX: usize = 64 * 1024 * 1024;

/// A command to run in a Sandbox.
#[derive(Clone, Debug)]
pub struct Command {
    pub(crate) start: Start,
    pub(crate) input: Option<Vec<u8>>,
    pub(crate) keep: usize,
}

impl Command {
    /// A program with its arguments.
    pub fn new<A: Into<String>>(argv: impl IntoIterator<Item = A>) -> Self {
        let argv = argv.into_iter().map(Into::into).collect();
        let start = Start { alone_ms: Some(ALONE_MS), ..Start::new(new_id(), argv) };
        Self { start, input: None, keep: KEEP_MAX }
    }

    /// A script for the container's `sh`.
    pub fn shell(script: impl Into<String>) -> Self {
        Self::new(["sh".to_owned(), "-c".to_owned(), script.into()])
    }

    /// Adds a variable to the container's own.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.start.env.push(Variable { name: name.into(), value: value.into() });
        self
    }

    /// Runs it there; relative: below the container's working directory, where it runs otherwise.
    #[must_use]
    pub fn cwd(mut self, directory: impl Into<String>) -> Self {
        self.start.cwd = Some(directory.into());
        self
    }

    /// Runs it as this user: a name, or `uid[:gid]`. Needs an agent that is root.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.start.user = Some(user.into());
        self
    }

    /// Gives it these bytes as standard input, which is empty otherwise.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Gives it standard input that is written to while it runs: see [`Process::take_stdin`](crate::Process::take_stdin).
    #[must_use]
    pub fn stdin(mut self) -> Self {
        self.start.stdin = true;
        self
    }

    /// Runs it on a terminal of this size. All output then is standard output.
    #[must_use]
    pub fn tty(mut self, columns: u16, rows: u16) -> Self {
        self.start.tty = Some(Size { columns, rows });
        self
    }

    /// Ends it after this time: TERM to all its processes, [`Command::grace`], KILL. What it printed is kept.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.start.timeout_ms = Some(millis(timeout));
        self
    }

    /// How long it may take to end after TERM: 2 s where nothing is said.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.start.grace_ms = Some(millis(grace));
        self
    }

    /// Lets it run without a client; otherwise it is ended when no client has followed it for 60 s.
    #[must_use]
    pub fn background(mut self) -> Self {
        self.start.alone_ms = None;
        self
    }

    /// How many bytes of each output [`Session::run`](crate::Session::run) keeps. What comes after them is counted and dropped.
    #[must_use]
    pub fn keep(mut self, bytes: usize) -> Self {
        self.keep = bytes;
        self
    }
}
