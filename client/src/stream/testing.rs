//! A pod for tests of what talks to an agent.

use std::io::Error;

use arl_agent::{
    frame::{self, Frames, TO_AGENT_MAX},
    message::{FromAgent, LIVE_VERSION, ToAgent},
};
use futures::{SinkExt, StreamExt};
use http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL};
use tokio::{
    io::DuplexStream,
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        protocol::Role,
    },
};

use super::socket::{PIECE, STDERR, STDIN, STDOUT, Socket};

/// What stands in a pod's place, as the API server passes it on.
#[derive(Debug)]
pub struct Pod(WebSocketStream<DuplexStream>, Frames);

impl Pod {
    /// One, and the socket to it.
    pub async fn connected() -> (Self, Socket) {
        let (near, far) = tokio::io::duplex(PIECE);
        let far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        (Self(far, Frames::new(TO_AGENT_MAX)), Socket::over(Box::new(near), true).await)
    }

    async fn send(&mut self, channel: u8, bytes: &[u8]) -> bool {
        self.0.send(Message::Binary([&[channel], bytes].concat().into())).await.is_ok()
    }

    /// What it is told next; none where the stream has ended, or what comes is no message.
    pub async fn hear(&mut self) -> Option<ToAgent> {
        loop {
            if let Some(message) = self.1.take().ok()? {
                return Some(message);
            }
            if let Message::Binary(data) = self.0.next().await?.ok()?
                && let Some((&STDIN, bytes)) = data.split_first()
            {
                self.1.push(bytes);
            }
        }
    }

    /// Prints this on the standard error of the stream's process.
    pub async fn stderr(&mut self, bytes: &[u8]) {
        self.send(STDERR, bytes).await;
    }

    /// Says as much as this of a message.
    pub async fn say_part(&mut self, message: &FromAgent, bytes: usize) {
        self.send(STDOUT, &frame::encode(message)[..bytes]).await;
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

/// A cluster in whose pods agents of this version greet; and what they are told besides. Like one of version 1, they close a stream on
/// which they are told what their version does not have.
///
/// # Errors
/// Where this machine gives no port.
pub async fn agents_of(version: u32) -> std::io::Result<(kube::Client, mpsc::UnboundedReceiver<ToAgent>)> {
    agents_that_greet(FromAgent::Hello { version, unfinished: Vec::new(), instance: Some(1) }).await
}

/// The same with agents that answer a greeting so.
///
/// # Errors
/// Where this machine gives no port.
pub async fn agents_that_greet(
    greeting: FromAgent,
) -> std::io::Result<(kube::Client, mpsc::UnboundedReceiver<ToAgent>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let (told, hears) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(greet(connection, greeting.clone(), told.clone()));
        }
    });
    let config = kube::Config::new(url.parse().map_err(Error::other)?);
    Ok((kube::Client::try_from(config).map_err(Error::other)?, hears))
}

async fn greet(connection: TcpStream, greeting: FromAgent, told: mpsc::UnboundedSender<ToAgent>) {
    let is_old = matches!(greeting, FromAgent::Hello { version, .. } if version < LIVE_VERSION);
    #[allow(clippy::result_large_err, reason = "the type is that of the library's callback")]
    let protocol = |_: &Request, mut response: Response| {
        let protocol = HeaderValue::from_static("v4.channel.k8s.io");
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        Ok(response)
    };
    let Ok(mut socket) = accept_hdr_async(connection, protocol).await else { return };
    let mut frames = Frames::new(TO_AGENT_MAX);
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(data) = message else { continue };
        if let Some((&STDIN, bytes)) = data.split_first() {
            frames.push(bytes);
        }
        while let Ok(Some(message)) = frames.take::<ToAgent>() {
            let answer = match message {
                ToAgent::Hello { .. } => greeting.clone(),
                ToAgent::Ping => FromAgent::Pong,
                message => {
                    let is_unknown = is_old && matches!(message, ToAgent::Live(_));
                    if told.send(message).is_err() || is_unknown {
                        return;
                    }
                    continue;
                }
            };
            let data = [&[STDOUT], &*frame::encode(&answer)].concat();
            if socket.send(Message::Binary(data.into())).await.is_err() {
                return;
            }
        }
    }
}
