//! One process or file call on a session: what was received of it, and what is to be sent.

use std::{collections::VecDeque, ops::Range};

use arl_agent::{
    frame::{TO_AGENT_MAX, length},
    message::{
        error,
        file::Action,
        live::{CHUNK, GRACE_MS, Id, Output, Request, Start},
    },
};
use tokio::sync::watch;

use super::queue::{EventSender, FlowEvent, TooMuch};
use crate::error::Error;

/// What is asked of the pod.
pub(crate) enum Opening {
    /// A process. It is started once, however often this is sent.
    Process(Box<Start>),
    /// A process that was started before, whose outputs are wanted from these offsets.
    Attach([u64; 2]),
    /// A file call, which ends with its stream.
    File(Action, Option<String>),
}

/// What surrounds what is asked for in a frame takes less.
const ENVELOPE: usize = 64;

impl Opening {
    /// Refuses what is longer than an agent takes: it would close the stream, and so end what all others do there.
    pub(super) fn check_length(&self) -> Result<(), Error> {
        let (what, bytes) = match self {
            Self::Process(start) => ("a command with its arguments and variables", length(&**start)),
            Self::File(action, user) => {
                ("a file call with its paths", length(action) + user.as_ref().map_or(0, String::len))
            }
            Self::Attach(_) => return Ok(()),
        };
        if bytes + ENVELOPE <= TO_AGENT_MAX {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "{what} has {bytes} bytes, and an agent takes {TO_AGENT_MAX} at once; write what is long to a file"
        )))
    }
}

/// Which agent a stream leads to: see [`Greeting::instance`](crate::stream::Greeting::instance).
pub(crate) type Agent = Option<u64>;

/// How far input has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) bytes: u64,
    /// Whether nobody reads it any more.
    pub(crate) closed: bool,
}

/// Input that the pod has not confirmed.
struct Input {
    /// Bytes from `received` on.
    unconfirmed: VecDeque<u8>,
    received: watch::Sender<Received>,
    /// Up to here bytes were sent on this stream.
    sent: u64,
    /// Up to here there is room.
    until: u64,
    /// How many bytes there are, once that is known.
    total: Option<u64>,
    close_sent: bool,
}

/// How the stream before ended.
pub(crate) enum StreamEnd {
    /// There was none, or it broke on its way.
    Broken,
    /// The pod's end of it exited or said what it should not: code in the Sandbox did that.
    Exited(String),
}

impl StreamEnd {
    /// What is said of a call that was on it.
    fn of_call(&self, is_without_effect: bool) -> Error {
        let outcome = if is_without_effect {
            "try it again"
        } else {
            "it is not known whether it was done: look before you try it again"
        };
        match self {
            Self::Broken => Error::Interrupted(format!("the stream to the pod broke; {outcome}")),
            Self::Exited(message) => {
                let message = format!("the agent was ended in the middle of a file call ({message}); {outcome}");
                Error::Remote(error::Error::new(error::Kind::Lost, message))
            }
        }
    }
}

/// Whether a call that was given up has done nothing, or what may be done twice. `is_complete`: all of its input was sent.
fn is_without_effect(action: &Action, is_complete: bool) -> bool {
    match action {
        Action::Read { .. } | Action::Stat { .. } | Action::List { .. } | Action::Pack { .. } => true,
        Action::Write { .. } | Action::Append { .. } => !is_complete,
        _ => false,
    }
}

pub(crate) struct Flow {
    id: Id,
    number: u64,
    opening: Opening,
    /// Whether it is known to have been started.
    confirmed: bool,
    /// To which agent it was sent before.
    sent: Option<Agent>,
    expected: [u64; 2],
    /// It was asked to end, with this time between TERM and KILL: said on each stream, since none says that it has arrived.
    killed: Option<u64>,
    events: EventSender,
    input: Input,
}

impl Flow {
    pub(crate) fn new(
        id: Id,
        number: u64,
        opening: Opening,
        events: EventSender,
        received: watch::Sender<Received>,
    ) -> Self {
        let (expected, confirmed) = match &opening {
            Opening::Attach(offsets) => (*offsets, true),
            _ => ([0; 2], false),
        };
        let input = Input { unconfirmed: VecDeque::new(), received, sent: 0, until: 0, total: None, close_sent: false };
        Self { id, number, opening, confirmed, sent: None, expected, killed: None, events, input }
    }

    /// Which of those that were opened it is.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// What is sent of it on a new stream to `agent`; an error where it does not survive the loss of the one before.
    /// `end`: how that one ended.
    pub(crate) fn resume(&mut self, agent: Agent, end: &StreamEnd) -> Result<Vec<Request>, Error> {
        let before = self.sent.replace(agent);
        let is_complete = self.input.close_sent;
        self.events.resume();
        let input = &mut self.input;
        (input.sent, input.until, input.close_sent) = (input.received.borrow().bytes, 0, false);
        let [stdout, stderr] = self.expected;
        match &self.opening {
            Opening::File(action, _) if before.is_some() => Err(end.of_call(is_without_effect(action, is_complete))),
            // An agent that does not say which it is may be another one.
            Opening::Process(_) if !self.confirmed && before.is_some_and(|it| it.is_none() || it != agent) => {
                let message = "it is not known whether the process ran: its stream broke before it was said to, and the agent that it \
                               was sent to is gone";
                Err(Error::Remote(error::Error::new(error::Kind::Lost, message)))
            }
            Opening::File(action, user) => {
                Ok(vec![Request::File { id: self.id, action: action.clone(), user: user.clone() }])
            }
            Opening::Process(start) if !self.confirmed => Ok(vec![Request::Start(start.clone())]),
            Opening::Process(_) | Opening::Attach(_) => Ok(vec![Request::Follow { id: self.id, stdout, stderr }]),
        }
        .map(|requests| requests.into_iter().chain(self.kill()).collect())
    }

    /// It is to end.
    pub(crate) fn killed(&mut self, grace_ms: u64) {
        self.killed = Some(self.killed.map_or(grace_ms, |before| before.min(grace_ms)));
    }

    /// Asks for its end, where that was asked for.
    pub(crate) fn kill(&self) -> Option<Request> {
        self.killed.map(|grace_ms| Request::Kill { id: self.id, grace_ms })
    }

    /// What is sent once nobody waits for it: a process goes on, a call does not.
    pub(crate) fn abandon(&self) -> Request {
        match self.opening {
            Opening::File(..) => Request::Kill { id: self.id, grace_ms: 0 },
            Opening::Process(_) | Opening::Attach(_) => Request::Unfollow { id: self.id },
        }
    }

    /// Ends what may have been started where its caller has not heard that it was: no one else knows its name.
    pub(crate) fn give_up(&self, is_started: bool) -> Option<Request> {
        let Opening::Process(start) = &self.opening else { return None };
        let may_run = !is_started && self.sent.is_some();
        may_run.then(|| Request::Kill { id: self.id, grace_ms: start.grace_ms.unwrap_or(GRACE_MS) })
    }

    /// Its last event.
    pub(crate) fn end(&self, event: FlowEvent) {
        self.events.end(event);
    }

    /// A request of it was refused. Where that happens again and again, and nobody listens, once is as good.
    pub(crate) fn rejected(&self, error: error::Error) {
        let _ = self.events.push(FlowEvent::Rejected(error));
    }

    /// True where it was not known.
    pub(crate) fn started(&mut self, pid: i32) -> Result<bool, TooMuch> {
        let is_new = !std::mem::replace(&mut self.confirmed, true);
        if is_new || matches!(self.opening, Opening::Attach(_)) {
            self.events.push(FlowEvent::Started(pid))?;
        }
        Ok(is_new)
    }

    /// Bytes that came before are passed over; those that are missing are said to be. True where there are any others.
    pub(crate) fn output(&mut self, output: Output, offset: u64, mut data: Vec<u8>) -> Result<bool, TooMuch> {
        let index = usize::from(output == Output::Stderr);
        let expected = self.expected[index];
        if offset > expected {
            self.events.push(FlowEvent::Gap(output, expected, offset))?;
        } else {
            let known = usize::try_from(expected - offset).unwrap_or(usize::MAX).min(data.len());
            data.drain(..known);
        }
        let end = offset.max(expected).saturating_add(data.len() as u64);
        self.expected[index] = end;
        if !data.is_empty() {
            self.events.push(FlowEvent::Data(output, data))?;
        }
        Ok(end > expected)
    }

    pub(crate) fn write(&mut self, data: &[u8]) {
        self.input.unconfirmed.extend(data);
    }

    /// There is no more input than was written.
    pub(crate) fn close(&mut self) {
        let input = &mut self.input;
        input.total = Some(input.received.borrow().bytes + input.unconfirmed.len() as u64);
    }

    /// The pod has taken input up to `received`, and has room until `until`. True where some of it was not known to be taken.
    pub(crate) fn room(&mut self, received: u64, until: u64) -> bool {
        let input = &mut self.input;
        let before = input.received.borrow().bytes;
        let taken = usize::try_from(received.saturating_sub(before)).unwrap_or(usize::MAX);
        let taken = taken.min(input.unconfirmed.len());
        input.unconfirmed.drain(..taken);
        input.until = until;
        let bytes = before + taken as u64;
        input.sent = input.sent.max(bytes);
        input.received.send_modify(|now| now.bytes = bytes);
        taken > 0
    }

    pub(crate) fn input_closed(&mut self) {
        self.input.unconfirmed.clear();
        self.input.received.send_modify(|now| now.closed = true);
    }

    /// The input that there is room for now.
    pub(crate) fn take_input(&mut self) -> Vec<Request> {
        let (id, input) = (self.id, &mut self.input);
        let received = *input.received.borrow();
        let mut requests = Vec::new();
        let (first, second) = input.unconfirmed.as_slices();
        let end = (received.bytes + input.unconfirmed.len() as u64).min(input.until);
        while !received.closed && input.sent < end {
            let from = usize::try_from(input.sent - received.bytes).unwrap_or(usize::MAX);
            let length = usize::try_from(end - input.sent).unwrap_or(usize::MAX).min(CHUNK);
            let range = from..from + length;
            let data = [part(first, 0, &range), part(second, first.len(), &range)].concat();
            requests.push(Request::Input { id, offset: input.sent, data });
            input.sent += length as u64;
        }
        if input.total == Some(input.sent) && !std::mem::replace(&mut input.close_sent, true) {
            requests.push(Request::CloseInput { id, offset: input.sent });
        }
        requests
    }
}

/// What of `range` is in `slice`, which begins at `start`.
fn part<'a>(slice: &'a [u8], start: usize, range: &Range<usize>) -> &'a [u8] {
    let at = |offset: usize| offset.saturating_sub(start).min(slice.len());
    &slice[at(range.start)..at(range.end)]
}

#[cfg(test)]
mod tests;
