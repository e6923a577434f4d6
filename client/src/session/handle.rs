//! A caller's end of a process or file call.

use std::{io, time::Duration};

use arl_agent::message::live::{CALL_WINDOW, Id, Output, Request, WINDOW};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

use super::{
    flow::{Opening, Received},
    link::Link,
    queue::{EventReceiver, FlowEvent, events},
    state::Command,
};
use crate::error::Error;

/// So many bytes that were taken are told of at once: each message costs every process on its way as much as a piece of output does.
const SAID_AT: u64 = WINDOW as u64 / 4;
/// The same of a file.
const SAID_AT_OF_FILES: u64 = CALL_WINDOW as u64 / 8;
/// An agent may have less room than that.
const SAID_WITHIN: Duration = Duration::from_millis(2);

pub(crate) struct Handle {
    link: Link,
    id: Id,
    number: u64,
    events: EventReceiver,
    taken: [u64; 2],
    /// What of that the agent has been told.
    said: [u64; 2],
    /// How much it has not been told, and since when.
    unsaid: u64,
    said_at: u64,
    unsaid_since: Option<Instant>,
    stdin: Option<Stdin>,
    /// Whether the caller has heard that it was started.
    is_started: bool,
    is_over: bool,
}

impl Handle {
    pub(super) fn open(link: Link, id: Id, opening: Opening) -> Self {
        let taken = if let Opening::Attach(offsets) = opening { offsets } else { [0; 2] };
        let (sender, events) = events();
        let (received, room) = watch::channel(Received::default());
        let number = link.next_number();
        // Of a process that was started by somebody else it is not known whether it has an input.
        let has_input = match &opening {
            Opening::Process(start) => start.stdin || start.tty.is_some(),
            Opening::Attach(_) | Opening::File(..) => true,
        };
        let (window, said_at) = match &opening {
            Opening::File(..) => (CALL_WINDOW, SAID_AT_OF_FILES),
            Opening::Process(_) | Opening::Attach(_) => (WINDOW, SAID_AT),
        };
        link.send(Command::Open { id, number, opening, events: sender, received });
        let stdin = has_input.then(|| Stdin { link: link.clone(), id, sent: 0, window, room });
        Self {
            link,
            id,
            number,
            events,
            taken,
            said: taken,
            unsaid: 0,
            said_at,
            unsaid_since: None,
            stdin,
            is_started: false,
            is_over: false,
        }
    }

    pub(crate) fn id(&self) -> Id {
        self.id
    }

    pub(crate) fn take_stdin(&mut self) -> Option<Stdin> {
        self.stdin.take()
    }

    /// The next event. Taking bytes makes room for more, which the agent hears of a part of the window at a time, or where nothing more comes.
    pub(crate) async fn next(&mut self) -> FlowEvent {
        loop {
            let next = self.events.next();
            let event = match self.unsaid_since {
                Some(since) => {
                    let Ok(event) = timeout_at(since + SAID_WITHIN, next).await else {
                        self.acknowledge();
                        continue;
                    };
                    event
                }
                None => next.await,
            };
            let event = event.unwrap_or_else(|| FlowEvent::Failed(self.link.lost()));
            match &event {
                FlowEvent::Data(output, data) => self.take(*output, data.len() as u64),
                FlowEvent::Gap(output, from, until) => self.take(*output, until.saturating_sub(*from)),
                FlowEvent::Ended(_) | FlowEvent::Done(_) | FlowEvent::Failed(_) => {
                    self.is_over = true;
                    self.acknowledge();
                }
                FlowEvent::Started(_) => self.is_started = true,
                FlowEvent::Rejected(_) => {}
            }
            return event;
        }
    }

    /// The same where that takes the agent `time` and a moment at most. One that is silent for longer is of no use.
    pub(crate) async fn next_within(&mut self, time: Duration) -> FlowEvent {
        let next = timeout(self.link.answer_max().saturating_add(time), self.next()).await;
        next.unwrap_or_else(|_| FlowEvent::Failed(self.link.silent()))
    }

    fn take(&mut self, output: Output, bytes: u64) {
        let taken = &mut self.taken[usize::from(output == Output::Stderr)];
        *taken = taken.saturating_add(bytes);
        self.unsaid = self.unsaid.saturating_add(bytes);
        self.unsaid_since.get_or_insert_with(Instant::now);
        if self.unsaid >= self.said_at {
            self.acknowledge();
        }
    }

    fn acknowledge(&mut self) {
        self.unsaid = 0;
        if self.unsaid_since.take().is_none() {
            return;
        }
        for (number, output) in [Output::Stdout, Output::Stderr].into_iter().enumerate() {
            if self.said[number] != self.taken[number] {
                self.said[number] = self.taken[number];
                let request = Request::Acknowledge { id: self.id, output, offset: self.taken[number] };
                self.link.send(Command::Send(request));
            }
        }
    }

    pub(crate) fn send(&self, request: Request) {
        self.link.send(Command::Send(request));
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.is_over {
            let (id, number, is_started) = (self.id, self.number, self.is_started);
            self.link.send(Command::Abandon { id, number, is_started });
        }
    }
}

/// Standard input of a process, or the content of a file.
#[derive(Debug)]
pub struct Stdin {
    link: Link,
    id: Id,
    sent: u64,
    /// How many bytes may be on their way.
    window: usize,
    room: watch::Receiver<Received>,
}

impl Stdin {
    /// Writes all of it. Waits while the process does not read.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] where nobody reads it any more.
    pub async fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        for piece in data.chunks(WINDOW / 4) {
            let ahead = (self.window - piece.len()) as u64;
            let sent = self.sent;
            let room = self.room.wait_for(|now| now.closed || sent - now.bytes.min(sent) <= ahead).await;
            if room.map_err(|_| closed())?.closed {
                return Err(closed());
            }
            self.sent += piece.len() as u64;
            self.link.send(Command::Input(self.id, piece.to_vec()));
        }
        Ok(())
    }

    /// Writes all that there is to read.
    pub async fn copy_from(&mut self, reader: &mut (dyn AsyncRead + Unpin + Send)) -> io::Result<u64> {
        self.try_copy_from(reader).await?.ok_or_else(closed)
    }

    /// The same; none where nobody reads it any more, so that an error is always the reader's.
    pub(crate) async fn try_copy_from(
        &mut self,
        reader: &mut (dyn AsyncRead + Unpin + Send),
    ) -> io::Result<Option<u64>> {
        let mut buffer = vec![0; self.window / 4];
        let mut total = 0;
        loop {
            let count = reader.read(&mut buffer).await?;
            if count == 0 {
                return Ok(Some(total));
            }
            if self.write_all(&buffer[..count]).await.is_err() {
                return Ok(None);
            }
            total += count as u64;
        }
    }

    /// Closes it: the process reads the end of its input.
    pub fn close(self) {
        self.link.send(Command::CloseInput(self.id));
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the process does not read its standard input")
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Usage(format!("the content cannot be read or written here: {error}"))
    }
}
