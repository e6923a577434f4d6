//! A live process, or a file call, as the supervisor has it: its outputs are read as far as its clients have room for them.

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use arl_agent::message::{
    error::{Error, Kind},
    live::{CHUNK, Cause, Event, Id, Output, Status},
};
use nix::poll::PollFlags;

use super::{
    buffer::Buffer,
    follower::Follower,
    handle::Keeper,
    input::Input,
    job::{Command, Report},
    outcome::{Outcome, micros},
    stream::Stream,
};

/// After the end of a process its outputs are read until they are closed, for this long at most: another process may print its last
/// lines. What it printed itself is read however long that takes.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// What it is.
pub enum Work {
    /// A process.
    Process {
        /// How long it may go on while nobody follows it.
        alone: Option<Duration>,
        /// Whether it has a terminal.
        tty: bool,
        /// Between TERM and KILL.
        grace_ms: u64,
    },
    /// A call, for one stream.
    Call,
}

/// So many processes that could not be ended are named.
const SURVIVORS_MAX: usize = 64;

/// A process or a call.
pub struct Process {
    pub id: Id,
    /// The beginning of its command.
    pub command: String,
    pub work: Work,
    /// Waits for it, and for what it leaves in the background.
    pub keeper: Option<Keeper>,
    pub pid: Option<i32>,
    started: Instant,
    outputs: [Stream; 2],
    pub input: Option<Input>,
    followers: Vec<Follower>,
    outcome: Option<(Outcome, Instant)>,
    /// Whether all that it printed has been read.
    drained: bool,
    /// Since when nobody follows it.
    alone_since: Option<Instant>,
}

impl Process {
    /// One that `keeper` starts.
    pub fn new(
        id: Id,
        work: Work,
        command: String,
        keeper: Keeper,
        outputs: [Stream; 2],
        input: Option<Input>,
    ) -> Self {
        let followers = Vec::new();
        let (outcome, drained, pid, started) = (None, false, None, Instant::now());
        let (keeper, alone_since) = (Some(keeper), None);
        Self { id, command, work, keeper, pid, started, outputs, input, followers, outcome, drained, alone_since }
    }

    pub fn is_running(&self) -> bool {
        self.outcome.is_none()
    }

    pub fn is_over(&self) -> bool {
        self.outcome.is_some() && self.drained
    }

    pub fn is_call(&self) -> bool {
        matches!(self.work, Work::Call)
    }

    /// Whether nothing of it is of use once it is over and its end was sent.
    pub fn is_transient(&self) -> bool {
        self.is_call() || matches!(self.outcome, Some((Outcome::Failed(_), _)))
    }

    /// Our end of its terminal.
    pub fn terminal(&self) -> Option<&File> {
        let is_terminal = matches!(self.work, Work::Process { tty: true, .. });
        self.outputs[0].pipe.as_ref().filter(|_| is_terminal)
    }

    /// Gives a call up: it finds its input incomplete, and nobody who takes its output.
    pub fn abort(&mut self) {
        let kill = Command::Kill { id: self.id, grace_ms: 0, cause: Cause::Killed };
        self.keeper.iter_mut().for_each(|keeper| keeper.send(&kill));
        self.input.iter_mut().for_each(Input::shut);
        self.outputs.iter_mut().for_each(|output| output.pipe = None);
    }

    pub fn started_ago(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn followers(&self) -> usize {
        self.followers.len()
    }

    /// The offsets of what is kept.
    pub fn kept(&self) -> [u64; 2] {
        [self.outputs[0].buffer.start(), self.outputs[1].buffer.start()]
    }

    /// How many bytes are kept.
    pub fn weight(&self) -> usize {
        self.outputs
            .iter()
            .map(|output| usize::try_from(output.buffer.end() - output.buffer.start()).unwrap_or(0))
            .sum()
    }

    /// Keeps less.
    pub fn trim(&mut self, keep: usize) {
        if self.followers.is_empty() {
            self.outputs.iter_mut().for_each(|output| output.buffer.trim(keep));
        }
    }

    /// Sends it to a relay from these offsets on.
    pub fn follow(&mut self, relay: u64, offsets: [u64; 2]) {
        self.followers.retain(|follower| follower.relay != relay);
        let [first, second] = &self.outputs;
        // What is gone has not to be waited for.
        let within = |buffer: &Buffer, offset: u64| offset.clamp(buffer.start(), buffer.end());
        let offsets = [within(&first.buffer, offsets[0]), within(&second.buffer, offsets[1])];
        self.followers.push(Follower::new(relay, offsets));
        self.alone_since = None;
    }

    /// Sends it no more to a relay, or to those that are disconnected.
    pub fn unfollow(&mut self, is_gone: impl Fn(u64) -> bool) {
        self.followers.retain(|follower| !is_gone(follower.relay));
        if self.followers.is_empty() && self.alone_since.is_none() {
            self.alone_since = Some(Instant::now());
        }
    }

    /// Notes how far a client is.
    pub fn acknowledge(&mut self, relay: u64, output: Output, offset: u64) {
        if let Some(follower) = self.followers.iter_mut().find(|follower| follower.relay == relay) {
            follower.acknowledge(output as usize, offset);
        }
    }

    /// Up to where all clients have taken an output; none: nobody is waited for.
    fn acknowledged(&self, output: usize) -> Option<u64> {
        let all = self.followers.iter().map(|follower| follower.acknowledged[output]);
        all.min().filter(|_| !self.is_over())
    }

    /// What to wait for.
    pub fn interests(&self, share: usize) -> impl Iterator<Item = (Part, (BorrowedFd<'_>, PollFlags))> {
        let keeper = self.keeper.iter().map(|keeper| (Part::Keeper, keeper.peer().interest()));
        let input = self.input.as_ref().and_then(Input::interest).map(|interest| (Part::Input, interest));
        let outputs = self.outputs.iter().enumerate().filter_map(move |(number, output)| {
            let pipe = output.pipe.as_ref().filter(|_| output.room(self.acknowledged(number), share) > 0)?;
            Some((Part::Output(number), (pipe.as_fd(), PollFlags::POLLIN)))
        });
        keeper.chain(input).chain(outputs)
    }

    /// Reads once what was printed.
    pub fn read(&mut self, number: usize, share: usize, scratch: &mut [u8]) {
        let (acknowledged, keeps) = (self.acknowledged(number), !self.is_over());
        self.outputs[number].read(acknowledged, share, keeps, scratch);
    }

    /// Takes a report of the keeper. True: it is free for another job.
    pub fn take(&mut self, report: Report) -> bool {
        match report {
            Report::Started { pid } => self.pid = Some(pid),
            Report::Exited { status, cause, mut survivors } => {
                survivors.truncate(SURVIVORS_MAX);
                self.end(Outcome::Exited { status, cause, survivors });
            }
            Report::Failed(error) => self.end(Outcome::Failed(error.bounded())),
            Report::Done(success) => self.end(Outcome::Done(success)),
            Report::Free => return true,
        }
        false
    }

    /// Its end is known.
    pub fn end(&mut self, outcome: Outcome) {
        if self.outcome.is_some() {
            return;
        }
        self.outputs.iter_mut().for_each(Stream::ended);
        self.input.iter_mut().for_each(Input::shut);
        self.outcome = Some((outcome, Instant::now()));
    }

    /// The keeper is gone without a word.
    pub fn lost(&mut self) {
        let message = "the agent's process that kept it was killed";
        let outcome = match self.work {
            Work::Process { .. } if self.pid.is_some() => {
                Outcome::Exited { status: Status::Lost(message.into()), cause: None, survivors: Vec::new() }
            }
            _ => Outcome::Failed(Error::new(Kind::Lost, message)),
        };
        self.end(outcome);
    }

    /// When it needs attention.
    pub fn due(&self) -> Option<Instant> {
        if let Some((_, ended)) = &self.outcome {
            return Some(*ended + DRAIN_MAX).filter(|due| !self.drained && Instant::now() < *due);
        }
        let Work::Process { alone: Some(alone), .. } = self.work else { return None };
        self.alone_since.and_then(|since| since.checked_add(alone))
    }

    /// Whether nobody has followed it for as long as it may go on alone; says so once.
    pub fn is_abandoned(&mut self) -> bool {
        let is_abandoned = self.is_running() && self.due().is_some_and(|due| Instant::now() >= due);
        if is_abandoned {
            self.alone_since = None;
        }
        is_abandoned
    }

    /// Looks whether all was read that is to be.
    pub fn settle(&mut self) {
        let Some((outcome, ended)) = &self.outcome else { return };
        let is_late = ended.elapsed() >= DRAIN_MAX || matches!(outcome, Outcome::Failed(_));
        self.drained |= self.outputs.iter().all(|output| output.is_read(is_late));
        if self.drained && self.keeper.is_none() {
            // Nobody who could print is left.
            self.outputs.iter_mut().for_each(|output| output.pipe = None);
        }
    }

    /// The next event for a relay. `scratch` is memory for what it holds.
    pub fn next_event(&mut self, relay: u64, scratch: &mut Vec<u8>) -> Option<Event> {
        let is_over = self.is_over();
        let Self { id, pid, started, work, outputs, input, followers, outcome, .. } = self;
        let follower = followers.iter_mut().find(|follower| follower.relay == relay)?;
        match pid {
            Some(pid) if !std::mem::replace(&mut follower.greeted, true) => {
                return Some(Event::Started { id: *id, pid: *pid, ago_us: micros(started.elapsed()) });
            }
            // What a process prints may be here before its keeper says that it was started, which a killed one never does.
            None if matches!(work, Work::Process { .. }) && outcome.is_none() => return None,
            _ => {}
        }
        let is_told = pid.is_some() || !matches!(work, Work::Process { .. });
        if let Some(event) = input.as_ref().and_then(|input| follower.input_event(*id, input)) {
            return Some(event);
        }
        for (number, output) in [Output::Stdout, Output::Stderr].into_iter().enumerate() {
            let buffer = &outputs[number].buffer;
            if is_told && follower.sent[number] < buffer.end() {
                let mut data = std::mem::take(scratch);
                data.clear();
                let offset = buffer.read(follower.sent[number], CHUNK, &mut data);
                follower.sent[number] = offset + data.len() as u64;
                return Some(Event::Output { id: *id, output, offset, data });
            }
        }
        let (outcome, ended) = outcome.as_ref().filter(|_| is_over)?;
        followers.retain(|follower| follower.relay != relay);
        let totals = [outputs[0].buffer.end(), outputs[1].buffer.end()];
        Some(outcome.event(*id, totals, [started.elapsed(), ended.elapsed()]))
    }
}

/// What of a process has something to be done for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its keeper.
    Keeper,
    /// Its standard input.
    Input,
    /// An output.
    Output(usize),
}
