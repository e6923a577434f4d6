//! What Python says of a command.

use std::time::Duration;

use pyo3::prelude::*;

/// A dict with all of these.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Command {
    argv: Vec<String>,
    env: Vec<(String, String)>,
    cwd: Option<String>,
    user: Option<String>,
    input: Option<Vec<u8>>,
    stdin: bool,
    tty: Option<(u16, u16)>,
    timeout: Option<Duration>,
    grace: Option<Duration>,
    background: bool,
    keep: Option<usize>,
}

impl Command {
    /// How many bytes of each output are kept.
    pub(crate) fn keep(&self) -> usize {
        self.keep.unwrap_or(arl_client::KEEP_MAX)
    }

    /// As the client library takes it.
    pub(crate) fn into_client(self) -> arl_client::Command {
        let Self { argv, env, cwd, user, input, stdin, tty, timeout, grace, background, keep } = self;
        let mut command = arl_client::Command::new(argv);
        for (name, value) in env {
            command = command.env(name, value);
        }
        if let Some(cwd) = cwd {
            command = command.cwd(cwd);
        }
        if let Some(user) = user {
            command = command.user(user);
        }
        if let Some(input) = input {
            command = command.input(input);
        }
        if stdin {
            command = command.stdin();
        }
        if let Some((columns, rows)) = tty {
            command = command.tty(columns, rows);
        }
        if let Some(timeout) = timeout {
            command = command.timeout(timeout);
        }
        if let Some(grace) = grace {
            command = command.grace(grace);
        }
        if background {
            command = command.background();
        }
        if let Some(keep) = keep {
            command = command.keep(keep);
        }
        command
    }
}
