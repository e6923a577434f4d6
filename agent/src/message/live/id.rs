//! Names of processes, calls and their outputs.

use minicbor::{Decode, Encode};

/// The name of a live process, or of a file call: a random number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Id(#[n(0)] pub u64);

/// An output of a process. A file call has the first one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Output {
    /// Standard output.
    #[n(0)]
    Stdout,
    /// Standard error.
    #[n(1)]
    Stderr,
}
