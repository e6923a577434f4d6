//! Takes what a process prints, whether or not somebody waits for it.
//!
//! A process in the background must not be held up because its starter has not looked at it yet: until it is asked for for the first
//! time, the end of its output is kept, and what is older becomes a gap. Then nothing is dropped, and a slow reader slows the process.

use std::{collections::VecDeque, time::Duration};

use arl_client::{Error, Gap, Process, ProcessEvent, live::Output};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

/// What is kept of the outputs of a process that nobody has asked for.
const KEPT_MAX: usize = 8 * 1024 * 1024;
/// What is taken ahead of a reader.
const AHEAD_MAX: usize = 256 * 1024;

/// What is asked of a process.
pub(crate) enum Request {
    /// The next event.
    Next(oneshot::Sender<Result<ProcessEvent, Error>>),
    Signal(i32),
    Resize(u16, u16),
    Kill(Duration),
}

/// The process goes on when this is dropped.
pub(crate) struct Follower {
    requests: mpsc::UnboundedSender<Request>,
}

impl Follower {
    pub(crate) fn start(runtime: &Handle, process: Process) -> Self {
        let (requests, received) = mpsc::unbounded_channel();
        runtime.spawn(follow(process, received));
        Self { requests }
    }

    pub(crate) fn send(&self, request: Request) {
        // Nothing receives it where the process has ended and its end was taken.
        let _ = self.requests.send(request);
    }

    /// The next event. One that is not waited for to the end stays the next.
    pub(crate) fn next(&self) -> impl Future<Output = Result<ProcessEvent, Error>> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Next(answer));
        async move {
            let over = || Err(Error::Usage("the process has ended, and its end was taken before".into()));
            answered.await.unwrap_or_else(|_| over())
        }
    }
}

#[derive(Default)]
struct Pending {
    events: VecDeque<Result<ProcessEvent, Error>>,
    bytes: usize,
    readers: VecDeque<oneshot::Sender<Result<ProcessEvent, Error>>>,
    is_asked_for: bool,
    /// First byte that is pending, of each output.
    starts: [u64; 2],
    gaps: [Option<Gap>; 2],
}

fn size(event: &Result<ProcessEvent, Error>) -> usize {
    event.as_ref().map_or(0, ProcessEvent::weight)
}

impl Pending {
    fn has_room(&self) -> bool {
        !self.is_asked_for || self.bytes < AHEAD_MAX
    }

    fn push(&mut self, event: Result<ProcessEvent, Error>) {
        self.add(event);
        while !self.is_asked_for && self.bytes > KEPT_MAX {
            self.drop_oldest();
        }
        self.answer();
    }

    fn add(&mut self, event: Result<ProcessEvent, Error>) {
        let event = match (self.events.back_mut(), event) {
            (Some(Ok(last)), Ok(next)) => {
                let before = last.weight();
                let next = last.append(next);
                self.bytes += last.weight() - before;
                next.map(Ok)
            }
            (_, event) => Some(event),
        };
        if let Some(event) = event {
            self.bytes += size(&event);
            self.events.push_back(event);
        }
    }

    fn drop_oldest(&mut self) {
        let Some(event) = self.events.pop_front() else { return };
        self.bytes -= size(&event);
        let (output, from, until) = match event {
            Ok(ProcessEvent::Output(output, data)) => {
                let from = self.starts[usize::from(output == Output::Stderr)];
                (output, from, from + data.len() as u64)
            }
            Ok(ProcessEvent::Gap(gap)) => (gap.output, gap.from, gap.until),
            _ => return,
        };
        let index = usize::from(output == Output::Stderr);
        self.starts[index] = until;
        let from = self.gaps[index].map_or(from, |gap| gap.from);
        self.gaps[index] = Some(Gap { output, from, until });
    }

    fn ask(&mut self, reader: oneshot::Sender<Result<ProcessEvent, Error>>) {
        if !std::mem::replace(&mut self.is_asked_for, true) {
            for gap in self.gaps.iter_mut().rev().filter_map(Option::take) {
                self.events.push_front(Ok(ProcessEvent::Gap(gap)));
            }
        }
        self.readers.push_back(reader);
        self.answer();
    }

    fn answer(&mut self) {
        while !self.events.is_empty()
            && let Some(reader) = self.readers.pop_front()
            && let Some(event) = self.events.pop_front()
        {
            let size = size(&event);
            match reader.send(event) {
                Ok(()) => self.bytes -= size,
                // It is not waited for any more.
                Err(event) => self.events.push_front(event),
            }
        }
    }

    fn is_over(&self) -> bool {
        self.events.is_empty()
    }
}

enum Turn {
    Request(Option<Request>),
    Event(Result<ProcessEvent, Error>),
}

async fn follow(mut process: Process, mut requests: mpsc::UnboundedReceiver<Request>) {
    let mut pending = Pending::default();
    let (mut has_ended, mut is_killed) = (false, false);
    while !(has_ended && pending.is_over()) {
        let turn = tokio::select! {
            request = requests.recv() => Turn::Request(request),
            event = process.next(), if !has_ended && pending.has_room() => Turn::Event(event),
        };
        match turn {
            Turn::Request(None) => {
                if is_killed && !has_ended {
                    // Once its end was taken, the pod forgets it.
                    let _ = process.wait(0).await;
                }
                return;
            }
            Turn::Request(Some(Request::Next(reader))) => pending.ask(reader),
            Turn::Request(Some(Request::Signal(signal))) => process.signal(signal),
            Turn::Request(Some(Request::Resize(columns, rows))) => process.resize(columns, rows),
            Turn::Request(Some(Request::Kill(grace))) => {
                is_killed = true;
                process.kill(grace);
            }
            Turn::Event(event) => {
                has_ended = matches!(event, Err(_) | Ok(ProcessEvent::Ended(_)));
                pending.push(event);
            }
        }
    }
}
