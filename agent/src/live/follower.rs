//! How far a client is with a process.

use arl_agent::message::live::{Event, Id};

use super::input::{Input, UNTOLD_MAX};

/// A client that is sent what a process prints.
#[derive(Debug)]
pub struct Follower {
    /// Which.
    pub client: u64,
    /// Up to where each output was sent.
    pub sent: [u64; 2],
    /// Up to where its client has taken each.
    pub acknowledged: [u64; 2],
    /// Whether it knows that the process was started.
    pub greeted: bool,
    /// How much of the input it knows to have arrived, and up to where it knows of room.
    room: Option<(u64, u64)>,
    /// Whether it knows that the input is closed.
    knows_closed: bool,
}

impl Follower {
    /// One that has these parts of the outputs.
    pub fn new(client: u64, offsets: [u64; 2]) -> Self {
        Self { client, sent: offsets, acknowledged: offsets, greeted: false, room: None, knows_closed: false }
    }

    /// Its client has taken an output up to an offset: no less than before, and no more than was sent.
    pub fn acknowledge(&mut self, output: usize, offset: u64) {
        let known = self.acknowledged[output];
        self.acknowledged[output] = offset.clamp(known, self.sent[output].max(known));
    }

    /// What it does not know of the input yet.
    pub fn input_event(&mut self, id: Id, input: &Input) -> Option<Event> {
        let (received, until) = input.room();
        if !input.is_open() && !input.is_complete() {
            return (!std::mem::replace(&mut self.knows_closed, true)).then_some(Event::InputClosed { id });
        }
        let is_news = |(told, room)| until != room || received >= told + UNTOLD_MAX;
        if !self.room.is_none_or(is_news) {
            return None;
        }
        self.room = Some((received, until));
        Some(Event::InputRoom { id, received, until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_sent_cannot_be_acknowledged() {
        let mut follower = Follower::new(1, [5, 0]);
        follower.sent[0] = 20;
        for (offset, acknowledged) in [(10, 10), (7, 10), (u64::MAX, 20), (0, 20)] {
            follower.acknowledge(0, offset);
            assert_eq!(follower.acknowledged[0], acknowledged);
        }
    }
}
