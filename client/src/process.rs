//! Live processes.

mod finished;

use std::time::Duration;

use arl_agent::message::{
    Variable,
    live::{GRACE_MS, Output, Request, Size},
};

use tokio::time::Instant;

pub use self::finished::{Exit, Finished, Gap};
use crate::{
    command::Command,
    error::Error,
    session::{FlowEvent, Handle, Opening, Session, Stdin, is_merged, millis},
};

/// The most gaps that are told apart. Each is of a stream that broke.
const GAPS_MAX: usize = 1024;

/// What a process does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEvent {
    /// It printed this.
    Output(Output, Vec<u8>),
    /// It printed something that is not there any more.
    Gap(Gap),
    /// A signal, a size or input was refused; the process is as it was.
    Rejected(arl_agent::message::error::Error),
    /// It has ended. Nothing follows.
    Ended(Exit),
}

/// An event takes so much memory, and what it has in it.
const EVENT: usize = 128;

impl ProcessEvent {
    /// How many bytes of memory it takes, about.
    pub fn weight(&self) -> usize {
        EVENT
            + match self {
                Self::Output(_, data) => data.len(),
                Self::Rejected(error) => error.message.len(),
                Self::Gap(_) | Self::Ended(_) => 0,
            }
    }

    /// Adds what came next, where both are of the same output and that is little: a process that prints byte by byte makes no event of each.
    /// Gives it back otherwise.
    pub fn append(&mut self, next: Self) -> Option<Self> {
        match (self, next) {
            (Self::Output(output, data), Self::Output(of, more))
                if *output == of && is_merged(data.len(), more.len()) =>
            {
                data.extend_from_slice(&more);
                None
            }
            (_, next) => Some(next),
        }
    }
}

/// A process that was started. It goes on when this is dropped: a foreground process for 60 s.
pub struct Process {
    handle: Handle,
    pid: i32,
    /// When the agent has ended it at the latest.
    ends_by: Option<Instant>,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("id", &self.id()).field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl Process {
    /// `lasts_max`: what it is ended after.
    async fn started(mut handle: Handle, lasts_max: Option<Duration>) -> Result<Self, Error> {
        loop {
            match handle.next_within(Duration::ZERO).await {
                FlowEvent::Started(pid) => {
                    let ends_by = lasts_max.and_then(|time| Instant::now().checked_add(time));
                    return Ok(Self { handle, pid, ends_by });
                }
                FlowEvent::Failed(error) => return Err(error),
                _ => {}
            }
        }
    }

    /// Its name, by which [`Session::attach`] finds it again.
    pub fn id(&self) -> u64 {
        self.handle.id().0
    }

    /// Its number in the pod.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its standard input, where [`Command::stdin`] or a terminal asked for it; the first time.
    pub fn take_stdin(&mut self) -> Option<Stdin> {
        self.handle.take_stdin()
    }

    /// What it does next. A process whose output nobody takes waits when 256 KiB of it are pending.
    ///
    /// # Errors
    /// Where its end will never be known.
    pub async fn next(&mut self) -> Result<ProcessEvent, Error> {
        loop {
            let event = match self.ends_by {
                Some(at) => self.handle.next_within(at.saturating_duration_since(Instant::now())).await,
                None => self.handle.next().await,
            };
            match event {
                FlowEvent::Data(output, data) => return Ok(ProcessEvent::Output(output, data)),
                FlowEvent::Gap(output, from, until) => return Ok(ProcessEvent::Gap(Gap { output, from, until })),
                FlowEvent::Ended(end) => return Ok(ProcessEvent::Ended(Exit::of(*end)?)),
                FlowEvent::Failed(error) => return Err(error),
                FlowEvent::Rejected(error) => return Ok(ProcessEvent::Rejected(error)),
                FlowEvent::Started(_) | FlowEvent::Done(_) => {}
            }
        }
    }

    /// Waits for its end, and keeps at most so many bytes of each output.
    ///
    /// # Errors
    /// Where its end will never be known.
    pub async fn wait(mut self, keep: usize) -> Result<Finished, Error> {
        let (mut kept, mut printed, mut gaps) = ([Vec::new(), Vec::new()], [0_u64; 2], Vec::new());
        loop {
            match self.next().await? {
                ProcessEvent::Output(output, data) => {
                    let index = usize::from(output == Output::Stderr);
                    printed[index] = printed[index].saturating_add(data.len() as u64);
                    let room = keep.saturating_sub(kept[index].len());
                    kept[index].extend_from_slice(&data[..data.len().min(room)]);
                }
                ProcessEvent::Gap(gap) => {
                    let count = gaps.len();
                    let printed = &mut printed[usize::from(gap.output == Output::Stderr)];
                    *printed = printed.saturating_add(gap.until.saturating_sub(gap.from));
                    match gaps.iter_mut().rfind(|last: &&mut Gap| last.output == gap.output) {
                        Some(last) if GAPS_MAX <= count => last.until = gap.until,
                        _ => gaps.push(gap),
                    }
                }
                ProcessEvent::Rejected(_) => {}
                ProcessEvent::Ended(exit) => {
                    let [stdout, stderr] = kept;
                    return Ok(Finished { exit, stdout, stderr, printed, gaps });
                }
            }
        }
    }

    /// Sends a signal to it and its group.
    pub fn signal(&self, signal: i32) {
        self.handle.send(Request::Signal { id: self.handle.id(), signal });
    }

    /// Its terminal has another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.handle.send(Request::Resize { id: self.handle.id(), size: Size { columns, rows } });
    }

    /// Ends it and all that it started: TERM, this grace, KILL.
    pub fn kill(&self, grace: Duration) {
        self.handle.send(Request::Kill { id: self.handle.id(), grace_ms: millis(grace) });
    }
}

/// What [`Process::kill`] gives where a caller has no wish of its own.
pub const GRACE: Duration = Duration::from_millis(GRACE_MS);

impl Session {
    /// Starts a process and returns once it runs. Where this is dropped before, the process is ended.
    ///
    /// # Errors
    /// Where it cannot be started: [`Error::Remote`] says why.
    pub async fn start(&self, command: Command) -> Result<Process, Error> {
        let Command { mut start, input, .. } = command;
        start.stdin |= input.is_some();
        // The last of a name counts: the command's own.
        let of_sandbox = self.env().iter();
        let of_sandbox = of_sandbox.map(|(name, value)| Variable { name: name.clone(), value: value.clone() });
        start.env = of_sandbox.chain(start.env).collect();
        let lasts_max = start.timeout_ms.map(|time| time.saturating_add(start.grace_ms.unwrap_or(GRACE_MS)));
        let handle = self.open(start.id, Opening::Process(Box::new(start)));
        let mut process = Process::started(handle, lasts_max.map(Duration::from_millis)).await?;
        if let Some(bytes) = input
            && let Some(mut stdin) = process.take_stdin()
        {
            tokio::spawn(async move {
                // A process need not read its input.
                if stdin.write_all(&bytes).await.is_ok() {
                    stdin.close();
                }
            });
        }
        Ok(process)
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// Where it cannot be started, or its end will never be known. An exit code other than 0 is a result.
    pub async fn run(&self, command: Command) -> Result<Finished, Error> {
        let keep = command.keep;
        self.start(command).await?.wait(keep).await
    }

    /// Follows a process that was started before, from the first byte that is kept of its outputs on.
    ///
    /// # Errors
    /// Where there is none of this name in the pod.
    pub async fn attach(&self, id: u64) -> Result<Process, Error> {
        Process::started(self.open(arl_agent::message::live::Id(id), Opening::Attach([0; 2])), None).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{MERGED_MAX, SMALL};

    #[test]
    fn small_pieces_of_one_output_make_few_events() {
        let output = |output, size| ProcessEvent::Output(output, vec![7; size]);
        let mut events: Vec<ProcessEvent> = Vec::new();
        for _ in 0..2 * MERGED_MAX {
            let next = output(Output::Stdout, 1);
            match events.last_mut() {
                Some(last) => {
                    let next = last.append(next);
                    events.extend(next);
                }
                None => events.push(next),
            }
        }
        assert_eq!(events, [output(Output::Stdout, MERGED_MAX), output(Output::Stdout, MERGED_MAX)]);
        let mut event = output(Output::Stdout, 1);
        for next in [output(Output::Stderr, 1), output(Output::Stdout, SMALL)] {
            assert_eq!(event.append(next.clone()), Some(next));
        }
        assert!(event.weight() > EVENT);
    }
}
