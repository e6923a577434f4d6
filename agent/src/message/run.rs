//! What is said of runs alone.

use minicbor::{
    Decode, Decoder, Encode, Encoder, decode,
    encode::{self, Write},
};

use super::AgentMessage;

/// What is said of runs, and put on record: nothing of live processes.
pub type RunMessage = AgentMessage<Nothing>;

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
    pub run: super::RunId,
    /// The name of its Task.
    #[n(1)]
    pub task: String,
}
