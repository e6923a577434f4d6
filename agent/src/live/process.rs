//! A live process, or a file call, as the supervisor has it: its outputs are read as far as its clients have room for them.

mod ending;

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use arl_agent::message::live::{CALL_WINDOW, CHUNK, Event, Id, Output, WINDOW};
use nix::poll::PollFlags;

use super::{
    buffer::Buffer,
    follower::Follower,
    handle::Keeper,
    input::Input,
    job::Report,
    limit::Limit,
    outcome::{Outcome, micros},
    stream::Stream,
};

/// What it is.
pub enum Work {
    /// A process.
    Process {
        /// How long it may go on while nobody follows it.
        alone: Option<Duration>,
        /// Whether it has a terminal.
        tty: bool,
        /// How long it may take.
        timeout: Option<Duration>,
        /// Between TERM and KILL.
        grace_ms: u64,
    },
    /// A call, for one stream.
    Call,
}

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
    /// Until when its keeper is waited for.
    limit: Limit,
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
        let limit = match work {
            Work::Process { timeout, grace_ms, .. } => Limit::timeout(timeout, grace_ms),
            Work::Call => Limit::default(),
        };
        Self {
            id,
            command,
            work,
            keeper,
            pid,
            started,
            outputs,
            input,
            followers,
            outcome,
            drained,
            limit,
            alone_since,
        }
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

    /// How many bytes of an output its clients have not taken.
    fn not_taken(&self, output: usize) -> usize {
        let buffer = &self.outputs[output].buffer;
        let taken = self.followers.iter().map(|follower| follower.acknowledged[output]).min().unwrap_or(buffer.end());
        usize::try_from(buffer.end() - taken.clamp(buffer.start(), buffer.end())).unwrap_or(usize::MAX)
    }

    /// How many times what a process may hold of an output it may hold of each.
    pub(super) fn shares(&self) -> usize {
        if self.is_call() { CALL_WINDOW / WINDOW } else { 1 }
    }

    /// How much room there is for its input now, where a process may hold `share`: a small file is sent before it would need more.
    pub(super) fn input_room(&self, share: usize) -> usize {
        let received = self.input.as_ref().map_or(0, |input| input.room().0);
        let needed = usize::try_from(received).unwrap_or(usize::MAX).max(share);
        needed.min(share * self.shares())
    }

    /// How much has to be held for each output, and for what has been and may be sent to it, a share at a time.
    pub fn needed(&self) -> impl Iterator<Item = usize> {
        let outputs = (0..2).filter(|output| self.outputs[*output].pipe.is_some() || self.not_taken(*output) > 0);
        let input = self.input.iter().filter(|input| input.is_open());
        let all = outputs.map(|output| self.not_taken(output)).chain(input.map(Input::promised));
        let shares = self.shares();
        all.flat_map(move |needed| std::iter::repeat_n(needed.div_ceil(shares), shares))
    }

    /// Keeps less, but what its clients have not taken.
    pub fn trim(&mut self, keep: usize) {
        for number in 0..2 {
            let keep = keep.max(self.not_taken(number));
            self.outputs[number].buffer.trim(keep);
        }
    }

    /// Sends it to a client from these offsets on.
    pub fn follow(&mut self, client: u64, offsets: [u64; 2]) {
        self.followers.retain(|follower| follower.client != client);
        let [first, second] = &self.outputs;
        // What is gone has not to be waited for.
        let within = |buffer: &Buffer, offset: u64| offset.clamp(buffer.start(), buffer.end());
        let offsets = [within(&first.buffer, offsets[0]), within(&second.buffer, offsets[1])];
        self.followers.push(Follower::new(client, offsets));
        self.alone_since = None;
    }

    /// Sends it no more to a client, or to those that are disconnected.
    pub fn unfollow(&mut self, is_gone: impl Fn(u64) -> bool) {
        self.followers.retain(|follower| !is_gone(follower.client));
        if self.followers.is_empty() && self.alone_since.is_none() {
            self.alone_since = Some(Instant::now());
        }
    }

    /// Notes how far a client is.
    pub fn acknowledge(&mut self, client: u64, output: Output, offset: u64) {
        if let Some(follower) = self.followers.iter_mut().find(|follower| follower.client == client) {
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
            let share = share * self.shares();
            let pipe = output.pipe.as_ref().filter(|_| output.room(self.acknowledged(number), share) > 0)?;
            Some((Part::Output(number), (pipe.as_fd(), PollFlags::POLLIN)))
        });
        keeper.chain(input).chain(outputs)
    }

    /// Reads once what was printed.
    pub fn read(&mut self, number: usize, share: usize, scratch: &mut [u8]) {
        let (acknowledged, keeps) = (self.acknowledged(number), !self.is_over());
        let share = share * self.shares();
        self.outputs[number].read(acknowledged, share, keeps, scratch);
    }

    /// Takes a report of the keeper. True: it is free for another job.
    pub fn take(&mut self, report: Report) -> bool {
        match report {
            Report::Started { pid } => self.pid = Some(pid),
            Report::Exited { status, cause, survivors } => self.end(Outcome::Exited { status, cause, survivors }),
            Report::Failed(error) => self.end(Outcome::Failed(error.bounded())),
            Report::Done(success) => self.end(Outcome::Done(success)),
            Report::Free => return true,
        }
        false
    }

    /// The next event for a client. `scratch` is memory for what it holds.
    pub fn next_event(&mut self, client: u64, scratch: &mut Vec<u8>) -> Option<Event> {
        let is_over = self.is_over();
        let Self { id, pid, started, work, outputs, input, followers, outcome, .. } = self;
        let follower = followers.iter_mut().find(|follower| follower.client == client)?;
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
        followers.retain(|follower| follower.client != client);
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
