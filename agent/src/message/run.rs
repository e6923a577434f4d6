//! What concerns runs alone.

use minicbor::{
    Decode, Decoder, Encode, Encoder, decode,
    encode::{self, Write},
};

/// The name of a run: the uid of its Task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct RunId(#[n(0)] pub(super) String);

impl RunId {
    /// `name`, if it can be the name of a directory and is no path: letters, digits and dashes, 1 to 64 of them.
    pub fn new(name: &str) -> Option<Self> {
        let run = Self(name.to_owned());
        run.is_valid().then_some(run)
    }

    /// Whether it is what [`RunId::new`] makes; what was received may be anything.
    pub fn is_valid(&self) -> bool {
        (1..=64).contains(&self.0.len()) && self.0.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What cannot be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {}

impl<C> Encode<C> for Nothing {
    fn encode<W: Write>(&self, _: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        match *self {}
    }
}

impl<'b, C> Decode<'b, C> for Nothing {
    fn decode(_: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Err(decode::Error::message("not expected of a run"))
    }
}

/// A run that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Unfinished {
    /// The run.
    #[n(0)]
    pub run: RunId,
    /// The name of its Task.
    #[n(1)]
    pub task: String,
}
