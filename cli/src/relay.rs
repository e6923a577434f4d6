//! A process in a Sandbox that has our standard input, output and error, and our terminal where it is asked for.

use std::io;

use arl_client::{
    Command, Exit, GRACE, Process, ProcessEvent, Session,
    live::{Cause, Output},
};
use clap::Args;
use futures::{
    FutureExt,
    future::{BoxFuture, pending, ready},
};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt, Stderr, Stdout},
    sync::oneshot,
    time::timeout,
};

use crate::{
    failure::{Failure, TIMED_OUT},
    interrupt::{Interrupt, Interrupts},
    print,
    progress::answered,
    terminal::{self, RawMode},
};

/// Which of our streams the process gets.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Streams {
    /// Pass standard input on even where it is a terminal; from a pipe or a file it always is.
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Run the command on a terminal.
    #[arg(short = 't', long)]
    pub tty: bool,
}

impl Streams {
    /// Whether they can be had.
    pub fn check(self) -> Result<(), Failure> {
        if self.tty && !terminal::is_input() {
            return Err(Failure::ours("-t needs a terminal, and standard input is none; leave it out"));
        }
        Ok(())
    }

    /// The command with these streams.
    pub fn of(self, mut command: Command) -> Result<Command, Failure> {
        self.check()?;
        if self.tty {
            let (columns, rows) = terminal::columns_and_rows();
            command = command.tty(columns, rows);
            if let Ok(kind) = std::env::var("TERM") {
                command = command.env("TERM", kind);
            }
        }
        Ok(if self.has_input() { command.stdin() } else { command })
    }

    fn has_input(self) -> bool {
        self.stdin || self.tty || !terminal::is_input()
    }
}

/// A process, and what has come of it so far.
struct Relay {
    process: Process,
    /// Our input cannot be read.
    unread: BoxFuture<'static, io::Error>,
    out: Stdout,
    err: Stderr,
    interrupts: Interrupts,
    interrupted: Option<Interrupt>,
    /// After an interrupt: whether nobody has read its output for as long as it has to end.
    is_unread: bool,
    /// Our own, for which the process is ended.
    failure: Option<Failure>,
}

/// Runs a command to its end, or to ours; its exit code.
pub async fn relay(
    session: &Session,
    command: Command,
    streams: Streams,
    interrupts: &Interrupts,
) -> Result<u8, Failure> {
    let process = start(session, command, streams, interrupts).await?;
    follow(process, streams, interrupts).await
}

/// Starts it.
pub async fn start(
    session: &Session,
    command: Command,
    streams: Streams,
    interrupts: &Interrupts,
) -> Result<Process, Failure> {
    let command = streams.of(command)?;
    let starting = answered(session, session.start(command));
    interrupts.or(async { starting.await.map_err(Failure::not_started) }).await
}

/// Follows it to its end.
pub async fn follow(mut process: Process, streams: Streams, interrupts: &Interrupts) -> Result<u8, Failure> {
    let _raw = if streams.tty {
        Some(RawMode::enter().map_err(|error| Failure::ours(format!("the terminal: {error}")))?)
    } else {
        None
    };
    let unread = if streams.has_input() { pass_input(&mut process) } else { pending().boxed() };
    let relay = Relay {
        process,
        unread,
        out: tokio::io::stdout(),
        err: tokio::io::stderr(),
        interrupts: interrupts.clone(),
        interrupted: None,
        is_unread: false,
        failure: None,
    };
    relay.run(streams.tty).await
}

/// Passes all of our input on. Resolves where it cannot be read to its end: the process would take the part for the whole.
fn pass_input(process: &mut Process) -> BoxFuture<'static, io::Error> {
    let Some(mut input) = process.take_stdin() else { return pending().boxed() };
    let (failed, failure) = oneshot::channel();
    tokio::spawn(async move {
        match input.copy_from(&mut tokio::io::stdin()).await {
            Ok(_) => input.close(),
            // It need not read all of it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => {
                let _ = failed.send(error);
                // Open until the process has been killed.
                pending::<()>().await;
            }
        }
    });
    failure
        .then(|failure| async { failure.map_or_else(|_| pending().boxed(), |error| ready(error).boxed()).await })
        .boxed()
}

impl Relay {
    async fn run(mut self, tty: bool) -> Result<u8, Failure> {
        let mut resized = terminal::resized().map_err(|error| Failure::signals(&error))?;
        loop {
            tokio::select! {
                event = self.process.next() => match event? {
                    ProcessEvent::Output(output, data) => self.write(output, &data).await,
                    ProcessEvent::Gap(gap) => {
                        print::note(format!("[{} bytes of output are lost: nobody followed it]", gap.until - gap.from));
                    }
                    ProcessEvent::Rejected(error) => print::note(format!("[{error}]")),
                    ProcessEvent::Ended(exit) => return self.ended(&exit),
                },
                interrupt = self.interrupts.first(), if self.interrupted.is_none() => self.interrupt(interrupt),
                error = &mut self.unread => {
                    self.unread = pending().boxed();
                    self.give_up(Failure::ours(format!("standard input cannot be read: {error}; the command was ended")));
                }
                Some(()) = resized.recv(), if tty => {
                    let (columns, rows) = terminal::columns_and_rows();
                    self.process.resize(columns, rows);
                }
            }
        }
    }

    /// Ends the process for a failure of ours; the first one is told.
    fn give_up(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
        self.process.kill(GRACE);
    }

    fn interrupt(&mut self, interrupt: Interrupt) {
        self.interrupted = Some(interrupt);
        self.process.kill(GRACE);
    }

    /// A reader that is slow slows the process; an interrupt is heard meanwhile, and after it nobody is waited for who does not read.
    async fn write(&mut self, output: Output, data: &[u8]) {
        if self.failure.is_some() || self.is_unread {
            return;
        }
        let to: &mut (dyn AsyncWrite + Unpin) = match output {
            Output::Stdout => &mut self.out,
            Output::Stderr => &mut self.err,
        };
        let writing = async {
            to.write_all(data).await?;
            to.flush().await
        };
        tokio::pin!(writing);
        let mut written = None;
        if self.interrupted.is_none() {
            tokio::select! {
                result = &mut writing => written = Some(result),
                interrupt = self.interrupts.first() => {
                    self.interrupted = Some(interrupt);
                    self.process.kill(GRACE);
                }
            }
        }
        let written = match written {
            Some(written) => Ok(written),
            None => timeout(GRACE, writing).await,
        };
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.give_up(Failure::output(&error)),
            Err(_) => self.is_unread = true,
        }
    }

    fn ended(self, exit: &Exit) -> Result<u8, Failure> {
        if let Some(interrupt) = self.interrupted {
            return Err(interrupt.into());
        }
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        for remark in remarks(exit) {
            print::note(format!("[{remark}]"));
        }
        Ok(code(exit))
    }
}

/// As a shell would have it.
fn code(exit: &Exit) -> u8 {
    match exit.cause {
        Some(Cause::TimedOut) => TIMED_OUT,
        _ => u8::try_from(exit.code & 0xff).unwrap_or(u8::MAX),
    }
}

/// What an exit code does not say.
fn remarks(exit: &Exit) -> Vec<String> {
    let cause = exit.cause.map(|cause| match cause {
        Cause::TimedOut => "the command was ended: it had not ended within its --timeout",
        Cause::OutOfMemory => {
            "a process was killed for lack of memory: the container reached its limit, or its node ran out"
        }
        Cause::Killed => "the command was ended by another client",
        Cause::Abandoned => "the command was ended: no client followed it for too long",
    });
    let survivors = (!exit.survivors.is_empty())
        .then(|| format!("these processes could not be ended: {}", exit.survivors.join(", ")));
    cause.map(str::to_owned).into_iter().chain(survivors).collect()
}
