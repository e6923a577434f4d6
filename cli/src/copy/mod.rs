//! Files and trees between this machine and a Sandbox.

mod download;
mod place;
mod tree;
mod upload;

pub use download::{archive_to_output, download, to_output};
pub use place::Pair;
pub use upload::{from_input, open, unpack, upload};
