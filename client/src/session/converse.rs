//! One stream, from its greeting to its end.

use arl_agent::{
    frame,
    message::{FromAgent, ToAgent},
};
use tokio::{sync::mpsc, time::timeout_at};

use super::state::{Command, State};
use crate::stream::{Keepalive, Socket, StreamError};

enum Turn {
    Command(Option<Command>),
    Message(Result<FromAgent, StreamError>),
}

/// Talks until the stream breaks; `None` once all handles are dropped.
pub(super) async fn converse(
    mut socket: Socket,
    state: &mut State,
    commands: &mut mpsc::UnboundedReceiver<Command>,
) -> Option<StreamError> {
    let mut keepalive = Keepalive::start();
    loop {
        let requests = std::mem::take(&mut state.unsent);
        let frames: Vec<u8> = requests.into_iter().flat_map(|request| frame::encode(&ToAgent::Live(request))).collect();
        if !frames.is_empty()
            && let Err(error) = socket.send(&frames).await
        {
            return Some(error);
        }
        let turn = async {
            tokio::select! {
                biased;
                command = commands.recv() => Turn::Command(command),
                message = socket.next() => Turn::Message(message),
            }
        };
        match timeout_at(keepalive.at(), turn).await {
            Ok(Turn::Command(None)) => return None,
            Ok(Turn::Command(Some(command))) => state.take(command),
            Ok(Turn::Message(Ok(message))) => {
                keepalive.heard();
                if let FromAgent::Live(event) = message {
                    state.event(event);
                }
            }
            Ok(Turn::Message(Err(error))) => return Some(error),
            Err(_) => match keepalive.ping() {
                Ok(ping) => {
                    if let Err(error) = socket.send(&ping).await {
                        return Some(error);
                    }
                }
                Err(error) => return Some(error),
            },
        }
    }
}
