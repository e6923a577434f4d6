//! Sandboxes of the ARL operator for programs.
#![forbid(unsafe_code)]

pub mod stream;
