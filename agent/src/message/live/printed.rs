//! What a step prints, while it runs: the frames of `arl-agent output`.

use minicbor::{Decode, Encode};

use super::Output;

/// A piece of an output. What is between two pieces of the same output is no longer kept.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Printed {
    /// Which step of the run, from 0.
    #[n(0)]
    pub step: u32,
    /// Which of its outputs.
    #[n(1)]
    pub output: Output,
    /// Where the piece begins.
    #[n(2)]
    pub offset: u64,
    /// The piece.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub data: Vec<u8>,
}
