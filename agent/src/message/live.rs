//! Live processes and file calls: version 2 of the protocol.
//!
//! Clients choose an [`Id`] for each process and each call, at random. Data goes both ways as byte streams with offsets, and the
//! receiver says how far it is: nobody is sent more than it has room for.
//!
//! ```text
//!   client                                   agent
//!     Start{id}              ───────────────>
//!                            <───────────────  Started{id, pid}, InputRoom{id, 0, n}
//!     Input{id, 0, bytes}    ───────────────>                       as far as there is room, then CloseInput{id, total}
//!                            <───────────────  InputRoom{id, received, until}
//!                            <───────────────  Output{id, Stdout, 0, bytes} ...
//!     Acknowledge{id, Stdout, offset} ──────>                       unacknowledged: at most some 256 KiB an output, 1 MiB of a file
//!                            <───────────────  Ended{id, end}       after the last output
//!     Forget{id}             ───────────────>
//! ```
//!
//! A client whose stream broke sends [`Request::Follow`] with its offsets on another, and goes on with its input at
//! [`Event::InputRoom::received`]. An [`Event::Output`] that begins behind the offset that was expected leaves a gap: those bytes
//! are no longer kept. [`Request::Start`] of a process that was started already follows it from its beginning. An agent that has
//! lost a process answers [`Event::Failed`] with [`Kind::Unknown`](super::error::Kind::Unknown): its end will never be known.

mod event;
mod id;
pub mod printed;
mod request;
#[cfg(test)]
pub(crate) mod tests;

pub use event::{Cause, End, Event, Process, Status};
pub use id::{Id, Output};
pub use request::{Request, Size, Start};

/// How long a foreground process may go on while no client follows it: see [`Start::alone_ms`].
pub const ALONE_MS: u64 = 60_000;
/// Between TERM and KILL, where a request leaves it open.
pub const GRACE_MS: u64 = 2_000;
/// The most processes and file calls of a pod at the same time.
pub const LIVE_MAX: usize = 256;
/// The most processes that have ended and are kept until they are forgotten.
pub const ENDED_MAX: usize = 64;
/// The most bytes of a command in a list.
pub const COMMAND_MAX: usize = 256;
/// The most bytes of an output that are kept, and the most that are sent ahead of what was acknowledged.
pub const WINDOW: usize = 256 * 1024;
/// The same of a file. What has arrived is told of for each part of it, and each time wakes all that a byte passes through; what comes after it
/// on its stream waits for it.
pub const CALL_WINDOW: usize = 4 * WINDOW;
/// The most bytes of data in one message, either way. The agent's allocator gives larger pieces back to the system each time, which
/// costs more than all else that is done with them.
pub const CHUNK: usize = 24 * 1024;
