//! A client of the live path: follows processes, acknowledges what it takes, and notes gaps.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use arl_agent::message::{
    FromAgent, ToAgent,
    error::Error,
    file::{Action, Success},
    live::{CHUNK, End, Event, GRACE_MS, Id, Output, Request, Start},
};

use crate::pod::Stream;

/// Names from here on are those of file calls.
const CALLS_FROM: u64 = 1 << 32;
static CALLS: AtomicU64 = AtomicU64::new(CALLS_FROM);

/// What came of a process.
#[derive(Debug, Default)]
pub struct Taken {
    /// Standard output and error, without what is in a gap.
    pub outputs: [Vec<u8>; 2],
    /// How far each has come.
    pub offsets: [u64; 2],
    /// From where to where something is missing, in standard output.
    pub gaps: Vec<(u64, u64)>,
    pub pid: Option<i32>,
    pub room: Option<(u64, u64)>,
    pub input_closed: bool,
    pub end: Option<Result<End, Error>>,
    pub success: Option<Success>,
    pub rejected: Vec<Error>,
}

impl Taken {
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.outputs[0]).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.outputs[1]).into_owned()
    }

    pub fn end(&self) -> &End {
        self.end.as_ref().unwrap().as_ref().unwrap()
    }
}

#[derive(Default)]
pub struct Client {
    pub taken: BTreeMap<u64, Taken>,
    /// Whether outputs are only counted.
    pub counts: bool,
    /// Outputs of these are not acknowledged.
    pub silent: Vec<u64>,
}

pub fn start(id: u64, argv: &[&str]) -> Start {
    Start::new(Id(id), argv.iter().map(|argument| (*argument).to_owned()).collect())
}

/// A name for a file call.
pub fn call_id() -> u64 {
    CALLS.fetch_add(1, Ordering::Relaxed)
}

pub fn script(id: u64, script: &str) -> Start {
    start(id, &["sh", "-c", script])
}

pub fn ask(stream: &mut Stream, request: Request) {
    stream.say(&ToAgent::Live(request));
}

pub fn kill(stream: &mut Stream, id: u64) {
    ask(stream, Request::Kill { id: Id(id), grace_ms: GRACE_MS });
}

impl Client {
    /// Takes the next event.
    pub fn step(&mut self, stream: &mut Stream) {
        let message = stream.hear();
        let FromAgent::Live(event) = message else { return };
        self.take(stream, event);
    }

    pub fn take(&mut self, stream: &mut Stream, event: Event) {
        match event {
            Event::Started { id, pid, .. } => self.of(id).pid = Some(pid),
            Event::Output { id, output, offset, data } => {
                assert!(!data.is_empty() && data.len() <= CHUNK);
                let counts = self.counts;
                let taken = self.of(id);
                assert!(taken.pid.is_some() || id.0 >= CALLS_FROM, "a process prints before it was started");
                let number = output as usize;
                let expected = taken.offsets[number];
                assert!(offset >= expected, "{offset} comes twice, {expected} was expected");
                if offset > expected && output == Output::Stdout {
                    taken.gaps.push((expected, offset));
                }
                taken.offsets[number] = offset + data.len() as u64;
                let offset = taken.offsets[number];
                if !counts {
                    taken.outputs[number].extend(data);
                }
                if !self.silent.contains(&id.0) {
                    ask(stream, Request::Acknowledge { id, output, offset });
                }
            }
            Event::InputRoom { id, received, until } => self.of(id).room = Some((received, until)),
            Event::InputClosed { id } => self.of(id).input_closed = true,
            Event::Ended { id, end } => self.of(id).end = Some(Ok(end)),
            Event::Failed { id, error } => self.of(id).end = Some(Err(error)),
            Event::Rejected { id, error } => self.of(id).rejected.push(error),
            Event::Done { id, result } => self.of(id).success = Some(result),
            Event::List { .. } | Event::Activity { .. } => {}
        }
    }

    pub fn of(&mut self, id: Id) -> &mut Taken {
        self.taken.entry(id.0).or_default()
    }

    /// Until something holds of a process.
    pub fn until(&mut self, stream: &mut Stream, id: u64, mut holds: impl FnMut(&Taken) -> bool) -> &mut Taken {
        while !holds(self.of(Id(id))) {
            self.step(stream);
        }
        self.of(Id(id))
    }

    pub fn until_over(&mut self, stream: &mut Stream, id: u64) -> &mut Taken {
        self.until(stream, id, |taken| taken.end.is_some() || taken.success.is_some())
    }

    /// Sends input as far as there is room, and closes it behind all of it.
    pub fn input(&mut self, stream: &mut Stream, id: u64, mut bytes: &[u8]) {
        let taken = self.until(stream, id, |taken| taken.room.is_some() || taken.end.is_some());
        let Some((mut offset, _)) = taken.room else { return };
        while !bytes.is_empty() {
            let until = |taken: &Taken| taken.room.is_some_and(|(_, until)| until > offset);
            let taken = self.until(stream, id, |taken| until(taken) || taken.input_closed || taken.end.is_some());
            if taken.input_closed || taken.end.is_some() {
                return;
            }
            let room = usize::try_from(taken.room.unwrap().1 - offset).unwrap();
            let (now, rest) = bytes.split_at(bytes.len().min(room).min(CHUNK));
            ask(stream, Request::Input { id: Id(id), offset, data: now.to_vec() });
            (offset, bytes) = (offset + now.len() as u64, rest);
        }
        ask(stream, Request::CloseInput { id: Id(id), offset });
    }
}

/// Runs a process to its end.
pub fn run(stream: &mut Stream, start: Start) -> Taken {
    let (id, mut client) = (start.id.0, Client::default());
    ask(stream, Request::Start(Box::new(start)));
    client.until_over(stream, id);
    client.taken.remove(&id).unwrap()
}
/// Does a file call, with input, under a name of its own.
pub fn call(stream: &mut Stream, action: Action, input: &[u8]) -> (Result<Success, Error>, Vec<u8>) {
    let id = call_id();
    let mut client = Client::default();
    ask(stream, Request::File { id: Id(id), action, user: None });
    if input.is_empty() {
        ask(stream, Request::CloseInput { id: Id(id), offset: 0 });
    } else {
        client.input(stream, id, input);
    }
    client.until_over(stream, id);
    let taken = client.taken.remove(&id).unwrap();
    let result = match (taken.success, taken.end) {
        (Some(success), _) => Ok(success),
        (None, Some(Err(error))) => Err(error),
        other => panic!("{other:?}"),
    };
    let [output, _] = taken.outputs;
    (result, output)
}
