//! What the operator and the agent in a pod share: their messages and how output is bounded.
//!
//! ```text
//!   operator ──exec stream──> supervise ──socket pair──> step ──pipes──> the command
//!              (websocket)    (runs, records)            (one a step)
//! ```
//!
//! What is exec'd for a stream (`connect`) hands its two ends to `supervise` over a unix socket, and waits.
//!
//! [`frame`] cuts the byte stream into messages, [`message`] has what is in them, [`output`] bounds what a command prints.
//! Both sides treat whatever arrives as untrusted: sizes are bounded before anything is allocated, and what cannot be read is
//! an error, never a panic.
#![forbid(unsafe_code)]

pub mod frame;
pub mod message;
pub mod output;

/// Where `install` has the volume, and where the executor container has the parts that it may see.
pub const DIRECTORY: &str = "/.arl";
/// The folder of the volume that the executor container has at [`DIRECTORY`], to read and execute only.
pub const BIN: &str = "bin";
/// The folder of the volume that the executor container has in [`DIRECTORY`], under the same name: all users may make files there.
pub const STATE: &str = "state";
/// The agent's file in [`DIRECTORY`].
pub const BINARY: &str = "agent";
/// The file in [`DIRECTORY`] that holds the pod's uid.
pub const POD: &str = "pod";
/// The file beside it that holds the working directory of the executor container as the template names it, where it does.
pub const HOME: &str = "home";
/// The variable that tells `install` the uid of its pod.
pub const POD_UID: &str = "ARL_POD_UID";
