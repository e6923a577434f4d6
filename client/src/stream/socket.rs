//! The websocket of a pods/exec call: frames of the agent's protocol in channels of the exec protocol.
//! <https://kubernetes.io/docs/reference/using-api/websockets/>

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use arl_agent::{
    BINARY, DIRECTORY,
    frame::{FROM_AGENT_MAX, Frames},
    message::{FromAgent, live::Event},
};
use futures::{SinkExt, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::{Client, api::AttachParams, core::Request};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Sleep, sleep_until},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{Role, WebSocketConfig},
    },
};

use super::{
    error::{MESSAGE_MAX, StreamError},
    place::Place,
    status,
};

pub(super) const STDIN: u8 = 0;
pub(super) const STDOUT: u8 = 1;
pub(super) const STDERR: u8 = 2;
const STATUS: u8 = 3;
pub(super) const PIECE: usize = 64 * 1024;
/// The default of 128 KiB would be most of a stream's memory.
const READ_BUFFER: usize = 4 * 1024;
/// More items than a list in a message has.
const ITEMS_MAX: usize = 1024;
/// The stream's process says why it ends, and no more, on standard error.
const STDERR_MAX: usize = 64 * 1024;
const SENDING_MAX: Duration = Duration::from_secs(20);

/// Any connection: the client's own type has no name here.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Told how many bytes a stream takes of messages that are under way; says whether it may take so many.
pub type Meter = Box<dyn FnMut(usize) -> bool + Send>;

/// A stream to the agent.
pub struct Socket {
    raw: WebSocketStream<Box<dyn Io>>,
    frames: Frames,
    /// Pieces that wait to be sent, each with its channel.
    outgoing: VecDeque<Vec<u8>>,
    /// When the piece that is being sent is given up; none where all is sent.
    sending: Option<Pin<Box<Sleep>>>,
    /// What the stream's process said on standard error, for whoever asks why the stream ended.
    message: String,
    /// How much it said there, each piece counted as one byte more.
    stderr: usize,
    /// Whether the pod's agent is known to have worked before.
    has_worked: bool,
    meter: Option<Meter>,
}

impl Socket {
    /// Starts the agent's process in the pod's executor container.
    pub async fn open(client: &Client, place: &Place, has_worked: bool) -> Result<Self, StreamError> {
        let params = AttachParams {
            container: place.container.clone(),
            stdin: true,
            stdout: true,
            stderr: true,
            tty: false,
            ..AttachParams::default()
        };
        let pods = Request::new(format!("/api/v1/namespaces/{}/pods", place.namespace));
        let command = [format!("{DIRECTORY}/{BINARY}"), "connect".into(), DIRECTORY.into()];
        let request = pods.exec(&place.pod, command, &params).map_err(StreamError::unreached)?;
        let connection = client.connect(request).await.map_err(|error| match error {
            // A kubelet that has just started answers 404 too, with other words.
            kube::Error::Api(status)
                if status.code == 404 && status.details.as_ref().is_some_and(|d| d.kind == "pods") =>
            {
                StreamError::Permanent(status.message)
            }
            kube::Error::Api(status) if status.code == 403 => StreamError::Forbidden(status.message),
            kube::Error::Api(status) if !status.message.is_empty() => StreamError::Transient(status.message),
            other => StreamError::unreached(other),
        })?;
        // Nothing has been read yet, so that nothing is lost by making it anew with smaller buffers.
        Ok(Self::over(Box::new(connection.into_stream().into_inner()), has_worked).await)
    }

    pub(super) async fn over(stream: Box<dyn Io>, has_worked: bool) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(FROM_AGENT_MAX))
            .max_frame_size(Some(FROM_AGENT_MAX));
        let raw = WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await;
        let (frames, outgoing) = (Frames::new(FROM_AGENT_MAX), VecDeque::new());
        Self { raw, frames, outgoing, sending: None, message: String::new(), stderr: 0, has_worked, meter: None }
    }

    /// The same, bounded by what `meter` allows.
    #[must_use]
    pub fn metered(self, meter: Meter) -> Self {
        Self { meter: Some(meter), ..self }
    }

    /// Whether it may take as much as it does.
    fn has_room(&mut self) -> bool {
        let held = self.frames.held();
        self.meter.as_mut().is_none_or(|meter| meter(held))
    }

    /// Sends frames to the agent. Nothing is read meanwhile: an agent that says a lot takes nothing until that is read.
    pub async fn send(&mut self, frames: &[u8]) -> Result<(), StreamError> {
        self.queue(frames);
        poll_fn(|cx| self.poll_send(cx)).await
    }

    /// Has frames sent while [`Socket::next`] waits.
    pub fn queue(&mut self, frames: &[u8]) {
        for piece in frames.chunks(PIECE) {
            match self.outgoing.back_mut() {
                Some(last) if last.len() + piece.len() <= PIECE => last.extend_from_slice(piece),
                _ => self.outgoing.push_back([&[STDIN], piece].concat()),
            }
        }
    }

    /// Whether all that was queued has been passed on.
    pub fn has_sent_all(&self) -> bool {
        self.outgoing.is_empty() && self.sending.is_none()
    }

    /// Sends what is left, and passes over what the agent says meanwhile.
    pub async fn finish(&mut self) -> Result<(), StreamError> {
        poll_fn(|cx| {
            let sent = self.poll_send(cx);
            while sent.is_pending() {
                match self.raw.poll_next_unpin(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(_) => return Poll::Ready(Err(StreamError::Transient("the stream was closed".into()))),
                    Poll::Pending => break,
                }
            }
            sent
        })
        .await
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        loop {
            let is_last = self.outgoing.is_empty();
            if is_last && self.sending.is_none() {
                return Poll::Ready(Ok(()));
            }
            let polled = if is_last { self.raw.poll_flush_unpin(cx) } else { self.raw.poll_ready_unpin(cx) };
            match polled {
                Poll::Ready(Ok(())) => self.sending = None,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(StreamError::Transient(error.to_string()))),
                Poll::Pending => {
                    let given_up =
                        self.sending.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + SENDING_MAX)));
                    let stalled = || StreamError::Transient("the stream takes nothing".into());
                    return given_up.as_mut().poll(cx).map(|()| Err(stalled()));
                }
            }
            if let Some(piece) = self.outgoing.pop_front() {
                self.sending = Some(Box::pin(sleep_until(Instant::now() + SENDING_MAX)));
                if let Err(error) = self.raw.start_send_unpin(Message::Binary(piece.into())) {
                    return Poll::Ready(Err(StreamError::Transient(error.to_string())));
                }
            }
        }
    }

    /// What arrives next, while what is queued is sent.
    async fn receive(&mut self) -> Result<Option<Message>, StreamError> {
        poll_fn(|cx| {
            let sent = self.poll_send(cx);
            match (self.raw.poll_next_unpin(cx), sent) {
                (Poll::Ready(Some(Ok(message))), _) => Poll::Ready(Ok(Some(message))),
                // What arrived before says why.
                (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
                (Poll::Ready(Some(Err(error))), _) => {
                    Poll::Ready(Err(StreamError::Transient(self.ended(&error.to_string()))))
                }
                (Poll::Ready(None), _) => Poll::Ready(Ok(None)),
                (Poll::Pending, _) => Poll::Pending,
            }
        })
        .await
    }

    /// The next message of the agent. Nothing is lost where this is dropped before it is done.
    pub async fn next(&mut self) -> Result<FromAgent, StreamError> {
        loop {
            match self.frames.take() {
                Ok(Some(message)) => {
                    self.frames.shrink();
                    let _: bool = self.has_room();
                    return Ok(bounded(message));
                }
                Ok(None) if self.has_room() => {}
                Ok(None) => {
                    return Err(StreamError::Transient(
                        "pods are sending more at a time than there is memory for; it is tried again".into(),
                    ));
                }
                Err(malformed) => return Err(StreamError::Protocol(malformed.to_string())),
            }
            let data = match self.receive().await? {
                Some(Message::Binary(data)) => data,
                Some(Message::Close(_)) | None => {
                    return Err(StreamError::Transient(self.ended("the stream was closed")));
                }
                Some(_) => continue,
            };
            match data.split_first() {
                Some((&STDOUT, bytes)) => self.frames.push(bytes),
                Some((&STDERR, bytes)) => {
                    let room = MESSAGE_MAX.saturating_sub(self.message.len());
                    self.message.push_str(&String::from_utf8_lossy(&bytes[..bytes.len().min(room)]));
                    self.stderr += data.len();
                    if self.stderr > STDERR_MAX {
                        return Err(StreamError::Protocol(
                            self.ended("the agent's process in the pod floods its standard error"),
                        ));
                    }
                }
                Some((&STATUS, bytes)) => return Err(self.status(bytes)),
                _ => {}
            }
        }
    }

    fn ended(&self, how: &str) -> String {
        let said = self.message.trim();
        if said.is_empty() { how.to_owned() } else { format!("{how}; {said}") }
    }

    /// It has ended, or could not be started: then the agent's file is not there any more, or spoilt.
    fn status(&self, bytes: &[u8]) -> StreamError {
        let status: Status = serde_json::from_slice(bytes).unwrap_or_default();
        let has_run = status::exit_code(&status).is_some();
        let message = status::explained(status.message.unwrap_or_default());
        let path = format!("{DIRECTORY}/{BINARY}");
        if status::failed_to_start(&message) && message.contains(&path) {
            return StreamError::NotExecutable(not_executable(&path, &message, self.has_worked));
        }
        let message = self.ended(if message.is_empty() { "the agent's process in the pod ended" } else { &message });
        let is_of_sandbox = has_run || status::has_no_directory(&message);
        if is_of_sandbox { StreamError::Protocol(message) } else { StreamError::Unstarted(message) }
    }
}

/// Lists are short, whatever the agent is: an empty text takes a byte in a frame, and many times that in memory.
fn bounded(mut message: FromAgent) -> FromAgent {
    match &mut message {
        FromAgent::Ended { survivors, .. } => {
            survivors.truncate(ITEMS_MAX);
            survivors.shrink_to_fit();
        }
        FromAgent::Hello { unfinished, .. } => {
            unfinished.truncate(ITEMS_MAX);
            unfinished.shrink_to_fit();
        }
        FromAgent::Live(Event::List { processes, .. }) => {
            processes.truncate(ITEMS_MAX);
            processes.shrink_to_fit();
        }
        _ => {}
    }
    message
}

/// The init container has executed the agent in the same pod, so that only something in this container can be in the way.
fn not_executable(path: &str, message: &str, has_worked: bool) -> String {
    let why = if has_worked {
        "code in the sandbox removed or changed it"
    } else {
        "the node or a security policy forbids it in this container, or code that ran here earlier removed or changed it"
    };
    format!("{path} cannot be executed in the pod: {why} ({message})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::testing::Pod;
    use arl_agent::message::{RunEnd, RunId, Unfinished};

    #[tokio::test]
    async fn what_floods_its_standard_error_is_not_the_agent() {
        let (mut pod, mut socket) = Pod::connected().await;
        let flood = async {
            for _ in 0..STDERR_MAX {
                pod.stderr(b"x").await;
            }
        };
        let trouble = tokio::select! {
            biased;
            next = socket.next() => next.unwrap_err(),
            () = flood => panic!("all of it was listened to"),
        };
        assert!(matches!(&trouble, StreamError::Protocol(message) if message.contains("floods")), "{trouble:?}");
        let (mut pod, mut socket) = Pod::connected().await;
        pod.stderr(&[b'x'; 2 * MESSAGE_MAX]).await;
        pod.say([FromAgent::Pong]).await;
        assert_eq!(socket.next().await.unwrap(), FromAgent::Pong, "some words are nothing");
    }

    /// Code in the sandbox moved it away: a node that is at work again would be no help.
    #[tokio::test]
    async fn a_container_without_its_working_directory_is_no_matter_of_its_node() {
        let (_pod, socket) = Pod::connected().await;
        let runc = "OCI runtime exec failed: exec failed: unable to start container process: ";
        for (cause, is_of_sandbox) in [
            ("chdir to cwd (\"/work\") set in config.json failed: no such file or directory: unknown", true),
            ("process_linux.go: too many open files", false),
        ] {
            let status = serde_json::json!({ "status": "Failure", "message": format!("{runc}{cause}") });
            let error = socket.status(status.to_string().as_bytes());
            assert_eq!(matches!(&error, StreamError::Protocol(_)), is_of_sandbox, "{error:?}");
            let words = error.into_message();
            assert!(words.contains(cause) && words.contains("working directory is gone") == is_of_sandbox, "{words}");
        }
    }

    #[test]
    fn lists_that_are_small_in_a_frame_are_small_in_memory() {
        let run = RunId::new("r").unwrap();
        let unfinished = vec![Unfinished { run: run.clone(), task: String::new() }; FROM_AGENT_MAX / 4];
        let survivors = vec![String::new(); FROM_AGENT_MAX];
        match bounded(FromAgent::Ended { run, end: RunEnd::Completed, survivors }) {
            FromAgent::Ended { survivors, .. } => {
                assert_eq!((survivors.len(), survivors.capacity()), (ITEMS_MAX, ITEMS_MAX));
            }
            other => panic!("{other:?}"),
        }
        match bounded(FromAgent::Hello { version: 1, unfinished, instance: None }) {
            FromAgent::Hello { unfinished, .. } => {
                assert_eq!((unfinished.len(), unfinished.capacity()), (ITEMS_MAX, ITEMS_MAX));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn code_is_blamed_alone_only_where_the_agent_has_worked_before() {
        let at_first = not_executable("/.arl/agent", "permission denied", false);
        assert!(at_first.contains("the node or a security policy") && at_first.contains("permission denied"));
        let later = not_executable("/.arl/agent", "no such file or directory", true);
        assert!(later.contains("code in the sandbox removed or changed it") && !later.contains("policy"));
    }
}
