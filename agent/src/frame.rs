//! Frames: a length of four bytes, most significant first, and as many bytes of [CBOR](https://www.rfc-editor.org/rfc/rfc8949).

use minicbor::{Decode, Encode};

/// The most bytes of a frame to the agent: a Task is an object in etcd, which holds 1.5 MiB.
pub const TO_AGENT_MAX: usize = 2 * 1024 * 1024;
/// The most bytes of a frame from the agent: both outputs of a step, and some words.
pub const FROM_AGENT_MAX: usize = 192 * 1024;

const HEADER: usize = 4;

/// Why bytes are not what they should be.
#[derive(Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A frame is longer than the other side may send.
    TooLong(usize),
    /// A frame holds no message that is known here; in words.
    Unreadable(String),
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong(length) => write!(f, "a frame of {length} bytes is too long"),
            Self::Unreadable(words) => write!(f, "a frame cannot be read: {words}"),
        }
    }
}

impl std::error::Error for Malformed {}

/// `message` as a frame.
pub fn encode<M: Encode<()>>(message: &M) -> Vec<u8> {
    let mut frame = vec![0; HEADER];
    // Writing to a Vec cannot fail.
    let _ = minicbor::encode(message, &mut frame);
    let length = u32::try_from(frame.len() - HEADER).unwrap_or(u32::MAX);
    frame[..HEADER].copy_from_slice(&length.to_be_bytes());
    frame
}

/// Bytes that arrived and the frames in them.
#[derive(Debug)]
pub struct Frames {
    buffer: Vec<u8>,
    start: usize,
    max: usize,
}

impl Frames {
    /// For frames of at most `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, max }
    }

    /// Takes what arrived next.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start == self.buffer.len() {
            (self.buffer, self.start) = (Vec::new(), 0);
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message, if all of it has arrived. After an error the stream is of no more use.
    pub fn take<M: for<'b> Decode<'b, ()>>(&mut self) -> Result<Option<M>, Malformed> {
        let rest = &self.buffer[self.start..];
        let Some((header, body)) = rest.split_first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_be_bytes(*header) as usize;
        if length > self.max {
            return Err(Malformed::TooLong(length));
        }
        let Some(body) = body.get(..length) else { return Ok(None) };
        let message = minicbor::decode(body).map_err(|error| Malformed::Unreadable(error.to_string()))?;
        self.start += HEADER + length;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ToAgent;

    #[test]
    fn messages_arrive_however_the_bytes_are_cut() {
        let sent = [ToAgent::Ping, ToAgent::Hello { version: 1, pod: "uid".into() }, ToAgent::Ping];
        let bytes: Vec<u8> = sent.iter().flat_map(encode).collect();
        for cut in 1..bytes.len() {
            let mut frames = Frames::new(TO_AGENT_MAX);
            let mut received = Vec::new();
            for piece in bytes.chunks(cut) {
                frames.push(piece);
                while let Some(message) = frames.take::<ToAgent>().unwrap() {
                    received.push(message);
                }
            }
            assert_eq!(received, sent, "in pieces of {cut}");
        }
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for (bytes, max) in [(&[0xff, 0xff, 0xff, 0xff][..], 100), (&[0, 0, 0, 101], 100), (&[0, 0, 0, 1, 0xff], 100)] {
            let mut frames = Frames::new(max);
            frames.push(bytes);
            assert!(frames.take::<ToAgent>().is_err(), "{bytes:?}");
        }
    }

    /// A small fuzzer that runs with the unit tests: frames of real messages with bytes changed, cut and repeated.
    #[test]
    fn no_bytes_make_it_panic() {
        let seeds: Vec<Vec<u8>> = crate::message::tests::examples().iter().map(encode).collect();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % (below as u64)).unwrap()
        };
        for _ in 0..20_000 {
            let mut bytes = seeds[random(seeds.len())].clone();
            for _ in 0..=random(4) {
                let at = random(bytes.len());
                match random(3) {
                    0 => bytes[at] = u8::try_from(random(256)).unwrap(),
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, u8::try_from(random(256)).unwrap()),
                }
            }
            let mut frames = Frames::new(FROM_AGENT_MAX);
            frames.push(&bytes);
            while let Ok(Some(message)) = frames.take::<crate::message::FromAgent>() {
                if let crate::message::FromAgent::Step { stdout, .. } = message {
                    let _ = crate::output::Output::try_from(stdout);
                }
            }
        }
    }
}
