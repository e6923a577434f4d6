//! The stream to the agent of one pod, through pods/exec: opened, greeted and kept alive. The operator and clients share it.

mod error;
mod keepalive;
mod place;
mod protocol;
mod retry;
mod socket;
pub mod status;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::time::Duration;

use arl_agent::{
    frame,
    message::{FromAgent, ToAgent, Unfinished, VERSION},
};
use kube::Client;
use tokio::time::timeout;

pub use error::{MESSAGE_MAX, StreamError};
pub use keepalive::{Keepalive, SILENCE_MAX};
pub use place::Place;
pub use protocol::with_protocol_v4;
pub use retry::{PROTOCOL_ERRORS_MAX, backoff, retry_delay};
pub use socket::{Meter, Socket};

/// exec on a pod that is being removed can hang for ever (kubernetes#129144).
const OPENING_MAX: Duration = Duration::from_secs(15);
/// An agent that has not greeted by then is stopped, or not the agent.
const GREETING_MAX: Duration = Duration::from_secs(10);

/// What an agent says when it is greeted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The version of the protocol that it speaks.
    pub version: u32,
    /// The runs of Tasks that have not ended in its pod.
    pub unfinished: Vec<Unfinished>,
    /// Which agent this is, as far as live processes go; unset: it does not say.
    pub instance: Option<u64>,
}

/// Opens a stream and greets the agent. `client` is one [`with_protocol_v4`]; `has_worked` says whether this pod's agent is known to have
/// worked before, which tells who is in the way when it cannot be executed.
pub async fn open(client: &Client, place: &Place, has_worked: bool) -> Result<(Socket, Greeting), StreamError> {
    let opened = timeout(OPENING_MAX, Socket::open(client, place, has_worked)).await;
    let mut socket = opened.unwrap_or_else(|_| Err(StreamError::Transient("exec does not answer".into())))?;
    let hello = ToAgent::Hello { version: VERSION, pod: place.pod_uid.clone() };
    socket.send(&frame::encode(&hello)).await?;
    let greeting = timeout(GREETING_MAX, socket.next()).await;
    match greeting.unwrap_or_else(|_| Err(StreamError::Protocol("the agent does not greet".into())))? {
        FromAgent::Hello { version, unfinished, instance } => Ok((socket, Greeting { version, unfinished, instance })),
        // exec went to the container of an earlier pod of this name: the kubelet has not caught up. Code in the pod can say so too.
        FromAgent::Refused(message) => Err(StreamError::Unstarted(message)),
        _ => Err(StreamError::Protocol("the agent says something else before it greets".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code in the pod may stand in its place: a pod that answers is reached, whatever it says.
    #[tokio::test]
    async fn an_agent_that_refuses_every_stream_is_reached() {
        let (client, _told) = testing::agents_that_greet(FromAgent::Refused("not you".into())).await.unwrap();
        let place =
            Place { namespace: "n".into(), pod: "p".into(), pod_uid: "u".into(), sandbox: None, container: None };
        let refused = open(&with_protocol_v4(client), &place, true).await.err();
        assert!(matches!(&refused, Some(StreamError::Unstarted(message)) if message == "not you"), "{refused:?}");
    }
}
