//! A pod for tests of what talks to an agent.

use arl_agent::{frame, message::FromAgent};
use futures::SinkExt;
use tokio::io::DuplexStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use super::socket::{PIECE, STDERR, STDOUT, Socket};

/// What stands in a pod's place, as the API server passes it on.
#[derive(Debug)]
pub struct Pod(WebSocketStream<DuplexStream>);

impl Pod {
    /// One, and the socket to it.
    pub async fn connected() -> (Self, Socket) {
        let (near, far) = tokio::io::duplex(PIECE);
        let far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        (Self(far), Socket::over(Box::new(near), true).await)
    }

    async fn send(&mut self, channel: u8, bytes: &[u8]) -> bool {
        self.0.send(Message::Binary([&[channel], bytes].concat().into())).await.is_ok()
    }

    /// Prints this on the relay's standard error.
    pub async fn stderr(&mut self, bytes: &[u8]) {
        self.send(STDERR, bytes).await;
    }

    /// Says these, as far as somebody listens.
    pub async fn say(&mut self, messages: impl IntoIterator<Item = FromAgent>) {
        for message in messages {
            if !self.send(STDOUT, &frame::encode(&message)).await {
                return;
            }
        }
    }
}
