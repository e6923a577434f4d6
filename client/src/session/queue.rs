//! What was heard of a process or call and its handle has not taken yet. An agent that is as it should be sends no more output than there
//! is room for; one that is not costs a bounded amount of memory too.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arl_agent::message::{
    error,
    file::Success,
    live::{CALL_WINDOW, End, Output},
};
use tokio::sync::Notify;

use crate::error::Error;

/// Output that one stream may bring beyond what is taken: twice what an agent sends of a file.
const AHEAD_MAX: usize = 2 * CALL_WINDOW;
/// Other events that may wait. An agent that is as it should be has one or two.
const EVENTS_MAX: usize = 1024;
/// A process that prints byte by byte makes no event of each: pieces below this size are added to the one before,
pub(crate) const SMALL: usize = 1024;
/// up to this size.
pub(crate) const MERGED_MAX: usize = 64 * 1024;

/// Whether a piece of so many bytes is added to the one before, of the same output.
pub(crate) const fn is_merged(before: usize, next: usize) -> bool {
    next < SMALL && before + next <= MERGED_MAX
}

/// What is heard of a process or call.
pub(crate) enum FlowEvent {
    /// It was started, with this number.
    Started(i32),
    /// Bytes of an output that are expected next.
    Data(Output, Vec<u8>),
    /// Bytes of an output that are gone.
    Gap(Output, u64, u64),
    /// The process has ended: the last event.
    Ended(Box<End>),
    /// The call succeeded: the last event.
    Done(Success),
    /// It failed: the last event.
    Failed(Error),
    /// A signal, a size or input was refused.
    Rejected(error::Error),
}

/// An agent that sends more than it was given room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMuch;

#[derive(Default)]
struct Queue {
    events: VecDeque<FlowEvent>,
    /// Of output, in `events`.
    bytes: usize,
    /// The most that `bytes` may be on this stream.
    bytes_max: usize,
    /// EventReceiver in `events` that are no output.
    others: usize,
    is_closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Notify,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that events are put into.
pub(crate) struct EventSender(Arc<Shared>);

/// The end that they are taken from.
pub(crate) struct EventReceiver(Arc<Shared>);

pub(crate) fn events() -> (EventSender, EventReceiver) {
    let shared = Arc::new(Shared::default());
    shared.queue().bytes_max = AHEAD_MAX;
    (EventSender(Arc::clone(&shared)), EventReceiver(shared))
}

impl EventSender {
    /// A new stream begins, on which the agent takes for taken what has arrived.
    pub(crate) fn resume(&self) {
        let mut queue = self.0.queue();
        queue.bytes_max = queue.bytes + AHEAD_MAX;
    }

    /// Fails where it may not be kept.
    pub(crate) fn push(&self, event: FlowEvent) -> Result<(), TooMuch> {
        let pushed = self.0.queue().push(event);
        self.0.changed.notify_one();
        pushed
    }

    /// The same for the last event, which is always kept.
    pub(crate) fn end(&self, event: FlowEvent) {
        let mut queue = self.0.queue();
        queue.others += 1;
        queue.events.push_back(event);
        drop(queue);
        self.0.changed.notify_one();
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        self.0.queue().is_closed = true;
        self.0.changed.notify_one();
    }
}

impl EventReceiver {
    /// The next one; none where no more will come. Nothing is lost where this is dropped before it is done.
    pub(crate) async fn next(&self) -> Option<FlowEvent> {
        loop {
            let changed = self.0.changed.notified();
            {
                let mut queue = self.0.queue();
                if let Some(event) = queue.take() {
                    return Some(event);
                }
                if queue.is_closed {
                    return None;
                }
            }
            changed.await;
        }
    }
}

impl Queue {
    fn push(&mut self, event: FlowEvent) -> Result<(), TooMuch> {
        match event {
            FlowEvent::Data(output, data) => self.push_data(output, data),
            _ if self.others == EVENTS_MAX => Err(TooMuch),
            event => {
                self.others += 1;
                self.events.push_back(event);
                Ok(())
            }
        }
    }

    fn push_data(&mut self, output: Output, data: Vec<u8>) -> Result<(), TooMuch> {
        if self.bytes + data.len() > self.bytes_max {
            return Err(TooMuch);
        }
        self.bytes += data.len();
        // The outputs have no order among each other: the last piece of this one may stand before the last of the other.
        let last = self.events.iter_mut().rev().take(2).map_while(|event| match event {
            FlowEvent::Data(of, before) => Some((*of, before)),
            _ => None,
        });
        let fits = |before: &Vec<u8>| is_merged(before.len(), data.len());
        match last.filter(|(of, _)| *of == output).map(|(_, before)| before).next().filter(|before| fits(before)) {
            Some(before) => before.extend_from_slice(&data),
            None => self.events.push_back(FlowEvent::Data(output, data)),
        }
        Ok(())
    }

    fn take(&mut self) -> Option<FlowEvent> {
        let event = self.events.pop_front();
        match &event {
            Some(FlowEvent::Data(_, data)) => self.bytes -= data.len(),
            Some(_) => self.others -= 1,
            None => {}
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use arl_agent::message::live::WINDOW;

    use super::*;

    fn data(output: Output, length: usize) -> FlowEvent {
        FlowEvent::Data(output, vec![7; length])
    }

    async fn taken(events: &EventReceiver) -> usize {
        match events.next().await {
            Some(FlowEvent::Data(_, data)) => data.len(),
            _ => panic!("it is output"),
        }
    }

    #[tokio::test]
    async fn output_that_comes_byte_by_byte_takes_no_event_a_byte() {
        let (sender, events) = events();
        for _ in 0..WINDOW {
            for output in [Output::Stdout, Output::Stderr] {
                assert_eq!(sender.push(data(output, 1)), Ok(()));
            }
        }
        assert!(events.0.queue().events.len() <= 2 * WINDOW / MERGED_MAX + 2);
        let mut bytes = 0;
        while bytes < 2 * WINDOW {
            bytes += taken(&events).await;
        }
        sender.end(FlowEvent::Started(1));
        drop(sender);
        assert!(matches!(events.next().await, Some(FlowEvent::Started(1))));
        assert!(events.next().await.is_none());
    }

    #[tokio::test]
    async fn what_nobody_takes_is_bounded_whatever_the_agent_sends() {
        let (sender, events) = events();
        let mut fits = 0;
        while sender.push(data(Output::Stdout, 24 * 1024)).is_ok() {
            fits += 24 * 1024;
        }
        assert!((2 * WINDOW..=AHEAD_MAX).contains(&fits), "{fits}");
        // What is taken makes room, and so does another stream, whose agent does not know that it was not.
        assert_eq!(taken(&events).await, 24 * 1024);
        assert_eq!(sender.push(data(Output::Stderr, 24 * 1024)), Ok(()));
        assert_eq!(sender.push(data(Output::Stderr, 24 * 1024)), Err(TooMuch));
        sender.resume();
        assert_eq!(sender.push(data(Output::Stderr, 2 * WINDOW)), Ok(()));
        let gap = || FlowEvent::Gap(Output::Stdout, 0, 1);
        let gaps = (0..2 * EVENTS_MAX).take_while(|_| sender.push(gap()).is_ok()).count();
        assert_eq!(gaps, EVENTS_MAX);
    }
}
