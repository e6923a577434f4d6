//! Frames: a length of four bytes, most significant first, and as many bytes of [CBOR](https://www.rfc-editor.org/rfc/rfc8949).

use std::convert::Infallible;

use minicbor::{Decode, Encode, encode::Write};

/// The most bytes of a frame to the agent: a Task is an object in etcd, which holds 1.5 MiB.
pub const TO_AGENT_MAX: usize = 2 * 1024 * 1024;
/// The most bytes of a frame from the agent: both outputs of a step, and some text.
pub const FROM_AGENT_MAX: usize = 192 * 1024;

const HEADER: usize = 4;

/// Why bytes are not what they should be.
#[derive(Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A frame is longer than the other side may send.
    TooLong(usize),
    /// A frame holds no message that is known here; why.
    Unreadable(String),
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong(length) => write!(f, "a frame of {length} bytes is too long"),
            Self::Unreadable(message) => write!(f, "a frame cannot be read: {message}"),
        }
    }
}

impl std::error::Error for Malformed {}

/// `message` as a frame.
pub fn encode<M: Encode<()>>(message: &M) -> Vec<u8> {
    let mut frame = Vec::new();
    append(message, &mut frame);
    frame
}

/// Adds `message` as a frame.
pub fn append<M: Encode<()>>(message: &M, frames: &mut Vec<u8>) {
    let start = frames.len() + HEADER;
    frames.extend([0; HEADER]);
    // Writing to a Vec cannot fail.
    let _ = minicbor::encode(message, &mut *frames);
    let length = u32::try_from(frames.len() - start).unwrap_or(u32::MAX);
    frames[start - HEADER..start].copy_from_slice(&length.to_be_bytes());
}

/// How long its frame is, without making it.
pub fn length<M: Encode<()>>(message: &M) -> usize {
    let mut length = Length(HEADER);
    // Counting cannot fail.
    let _ = minicbor::encode(message, &mut length);
    length.0
}

struct Length(usize);

impl Write for Length {
    type Error = Infallible;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.0 += bytes.len();
        Ok(())
    }
}

/// Bytes that arrived and the frames in them.
#[derive(Debug)]
pub struct Frames {
    buffer: Vec<u8>,
    start: usize,
    max: usize,
    /// So much memory is not given back between messages.
    kept: usize,
}

impl Frames {
    /// For frames of at most `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, max, kept: 0 }
    }

    /// Keeps so much memory between messages: where many come, giving it back costs more than reading them.
    #[must_use]
    pub fn keeping(self, kept: usize) -> Self {
        Self { kept, ..self }
    }

    /// How much memory is taken by what has arrived.
    pub fn held(&self) -> usize {
        self.buffer.capacity()
    }

    /// Gives back the memory that is kept.
    pub fn shrink(&mut self) {
        if self.start == self.buffer.len() {
            (self.buffer, self.start) = (Vec::new(), 0);
        }
    }

    /// Takes what arrived next.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.buffer.capacity() > self.kept {
            self.shrink();
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
    use proptest::{collection::vec, prelude::*, sample::Index, test_runner::TestCaseError};

    use super::*;
    use crate::message::ToAgent;

    #[test]
    fn messages_arrive_however_the_bytes_are_cut() {
        let sent = [ToAgent::Ping, ToAgent::Hello { version: 1, pod: "uid".into() }, ToAgent::Ping];
        let bytes: Vec<u8> = sent.iter().flat_map(encode).collect();
        assert_eq!(sent.iter().map(length).sum::<usize>(), bytes.len());
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

    #[test]
    fn a_frame_may_be_as_long_as_is_said_and_no_longer() {
        let frame = encode(&ToAgent::Ping);
        let length = frame.len() - HEADER;
        let taken = |max| {
            let mut frames = Frames::new(max);
            frames.push(&frame);
            frames.take::<ToAgent>().map_err(|error| error.to_string())
        };
        assert_eq!(taken(length), Ok(Some(ToAgent::Ping)));
        assert_eq!(taken(length - 1), Err(format!("a frame of {length} bytes is too long")));
    }

    #[test]
    fn memory_is_given_back_between_messages_but_for_what_is_to_be_kept() {
        let frame = encode(&ToAgent::Hello { version: 1, pod: "x".repeat(1000) });
        for (kept, stays) in [(0, false), (100, false), (100_000, true)] {
            let mut frames = Frames::new(TO_AGENT_MAX).keeping(kept);
            frames.push(&frame);
            assert!(frames.take::<ToAgent>().unwrap().is_some() && frames.held() >= frame.len());
            frames.push(&[]);
            assert_eq!(frames.held() >= frame.len(), stays, "{kept}");
            frames.shrink();
            assert_eq!(frames.held(), 0, "{kept}");
        }
    }

    /// What is done to bytes on their way.
    #[derive(Clone, Debug)]
    enum Edit {
        Set(Index, u8),
        Flip(Index, u8),
        Insert(Index, Vec<u8>),
        Remove(Index, usize),
        Repeat(Index, usize),
        Cut(Index),
        /// Another length in a frame's header.
        Length(u32),
    }

    fn edit() -> impl Strategy<Value = Edit> {
        // The first bytes of arrays, maps, texts and numbers whose length or value follows, the largest of them too.
        let telling = [0x1b, 0x3b, 0x5b, 0x5f, 0x7b, 0x7f, 0x80, 0x9b, 0x9f, 0xbb, 0xbf, 0xdb, 0xf6, 0xf7, 0xff];
        let head = prop::sample::select(telling.to_vec());
        prop_oneof![
            (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
            (any::<Index>(), head.clone()).prop_map(|(at, byte)| Edit::Set(at, byte)),
            (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip(at, 1 << bit)),
            (any::<Index>(), vec(any::<u8>(), 1..10)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
            (any::<Index>(), head, vec(prop::sample::select(&[0, 0x7f, 0xff][..]), 0..9)).prop_map(
                |(at, head, mut bytes)| {
                    bytes.insert(0, head);
                    Edit::Insert(at, bytes)
                }
            ),
            (any::<Index>(), 1..20_usize).prop_map(|(at, count)| Edit::Remove(at, count)),
            (any::<Index>(), 1..40_usize).prop_map(|(at, count)| Edit::Repeat(at, count)),
            any::<Index>().prop_map(Edit::Cut),
            prop_oneof![0..64_u32, any::<u32>()].prop_map(Edit::Length),
        ]
    }

    fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
        for edit in edits {
            let end = |at: usize, count: usize| (at + count).min(bytes.len());
            match edit {
                _ if bytes.is_empty() => break,
                Edit::Set(at, byte) => *at.get_mut(&mut bytes) = *byte,
                Edit::Flip(at, bit) => *at.get_mut(&mut bytes) ^= bit,
                Edit::Insert(at, more) => {
                    let at = at.index(bytes.len());
                    bytes.splice(at..at, more.iter().copied());
                }
                Edit::Remove(at, count) => {
                    let at = at.index(bytes.len());
                    bytes.drain(at..end(at, *count));
                }
                Edit::Repeat(at, count) => {
                    let at = at.index(bytes.len());
                    bytes.extend_from_within(at..end(at, *count));
                }
                Edit::Cut(at) => bytes.truncate(at.index(bytes.len())),
                Edit::Length(length) if bytes.len() >= HEADER => bytes[..HEADER].copy_from_slice(&length.to_be_bytes()),
                Edit::Length(_) => {}
            }
        }
        bytes
    }

    /// The messages in `bytes`, which arrive in pieces of `piece`, and what ends them.
    fn received<M: for<'b> Decode<'b, ()>>(bytes: &[u8], piece: usize, max: usize) -> (Vec<M>, Option<Malformed>) {
        let (mut frames, mut messages) = (Frames::new(max), Vec::new());
        for piece in bytes.chunks(piece) {
            frames.push(piece);
            loop {
                match frames.take() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(malformed) => return (messages, Some(malformed)),
                }
            }
        }
        (messages, None)
    }

    /// Whatever was sent arrives, however it is cut. Whatever becomes of it on the way, what is read is a message: it can be
    /// sent again, and it is the same whatever the pieces were.
    fn holds<M>(sent: &[M], edits: &[Edit], piece: usize, max: usize) -> Result<(), TestCaseError>
    where
        M: Encode<()> + for<'b> Decode<'b, ()> + PartialEq + std::fmt::Debug,
    {
        let bytes: Vec<u8> = sent.iter().flat_map(encode).collect();
        let (arrived, malformed) = received::<M>(&bytes, piece, max);
        prop_assert_eq!((arrived.as_slice(), malformed), (sent, None));

        let bytes = edited(bytes, edits);
        let (messages, malformed) = received::<M>(&bytes, piece, max);
        let whole = received::<M>(&bytes, bytes.len().max(1), max);
        prop_assert_eq!((&messages, &malformed), (&whole.0, &whole.1));
        let again: Vec<u8> = messages.iter().flat_map(encode).collect();
        prop_assert_eq!(received::<M>(&again, piece, usize::MAX), (messages, None));
        // A long frame is refused by its header, before any of it is kept.
        let mut frames = Frames::new(max);
        frames.push(&u32::try_from(max + 1).unwrap().to_be_bytes());
        prop_assert_eq!(frames.take::<M>(), Err(Malformed::TooLong(max + 1)));
        Ok(())
    }

    proptest! {
        #[test]
        fn fuzz_frames_to_the_agent(
            sent in vec(crate::message::tests::to_agent(), 0..4), edits in vec(edit(), 1..6), piece in 1..200_usize
        ) {
            holds(&sent, &edits, piece, TO_AGENT_MAX)?;
        }

        #[test]
        fn fuzz_frames_from_the_agent(
            sent in vec(crate::message::tests::from_agent(), 0..4), edits in vec(edit(), 1..6), piece in 1..200_usize
        ) {
            holds(&sent, &edits, piece, FROM_AGENT_MAX)?;
        }
    }
}
