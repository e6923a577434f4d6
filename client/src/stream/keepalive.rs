//! What keeps a stream alive, and tells one that is dead.

use std::time::Duration;

use arl_agent::{frame, message::ToAgent};
use tokio::time::Instant;

use super::error::StreamError;

/// Proxies and load balancers cut streams that are idle for a minute or more.
const PING_EVERY: Duration = Duration::from_secs(20);
/// A stream that says nothing for this long is dead.
pub const SILENCE_MAX: Duration = Duration::from_secs(50);

/// The pings of one stream.
#[derive(Debug)]
pub struct Keepalive {
    heard: Instant,
    next: Instant,
}

impl Keepalive {
    /// Of a stream that was opened now.
    pub fn start() -> Self {
        let now = Instant::now();
        Self { heard: now, next: now + PING_EVERY }
    }

    /// The agent said something.
    pub fn heard(&mut self) {
        self.heard = Instant::now();
    }

    /// When to call [`Keepalive::ping`].
    pub fn at(&self) -> Instant {
        self.next
    }

    /// The frame to send now.
    ///
    /// # Errors
    /// Where the stream is dead.
    pub fn ping(&mut self) -> Result<Vec<u8>, StreamError> {
        if self.heard.elapsed() > SILENCE_MAX {
            return Err(StreamError::Transient("the stream is silent".into()));
        }
        self.next = Instant::now() + PING_EVERY;
        Ok(frame::encode(&ToAgent::Ping))
    }
}
