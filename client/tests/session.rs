//! Sessions with pods that do not work as they should: an API server that passes each stream on to a script.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends by panicking")]

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use arl_agent::{
    frame::{Frames, TO_AGENT_MAX, encode},
    message::{
        FromAgent, ToAgent, VERSION,
        live::{CHUNK, End, Event, Id, Output, Request, Status},
    },
};
use arl_client::{Command, Error, Fault, Session, kind::Kind, stream::Place};
use futures::{FutureExt, SinkExt, StreamExt};
use kube::{Client, Config};
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request as Upgrade, Response},
    },
};

const INSTANCE: u64 = 7;

/// The pod's end of a stream.
struct Stream {
    socket: WebSocketStream<TcpStream>,
    frames: Frames,
}

impl Stream {
    async fn say(&mut self, message: &FromAgent) {
        let _ = self.socket.send(Message::Binary([&[1], &encode(message)[..]].concat().into())).await;
    }

    /// What the client says next; `None` once it is gone.
    async fn hear(&mut self) -> Option<ToAgent> {
        loop {
            if let Some(message) = self.frames.take().unwrap() {
                return Some(message);
            }
            match self.socket.next().await? {
                Ok(Message::Binary(data)) => self.frames.push(&data[1..]),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    async fn greet(&mut self, instance: u64) {
        assert!(matches!(self.hear().await, Some(ToAgent::Hello { .. })));
        let unfinished = Vec::new();
        self.say(&FromAgent::Hello { version: VERSION, unfinished, instance: Some(instance) }).await;
    }

    async fn start(&mut self) -> Option<Id> {
        loop {
            match self.hear().await? {
                ToAgent::Live(Request::Start(start)) => return Some(start.id),
                ToAgent::Live(Request::Unfollow { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// It has run, and exited with this code.
    async fn ran(&mut self, id: Id, code: i32) {
        self.say(&FromAgent::Live(Event::Started { id, pid: 5, ago_us: 0 })).await;
        let end = End {
            status: Status::Exited(code),
            cause: None,
            stdout: 0,
            stderr: 0,
            started_ago_us: 0,
            ended_ago_us: 0,
            survivors: Vec::new(),
        };
        self.say(&FromAgent::Live(Event::Ended { id, end })).await;
        while self.hear().await.is_some() {}
    }
}

/// A session with a pod whose streams, numbered from 1, are what `script` makes of them.
async fn session<F: Future<Output = ()> + Send>(
    patience: Duration,
    script: impl Fn(u32, Stream) -> F + Send + Sync + 'static,
) -> (Session, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let count = Arc::new(AtomicU32::new(0));
    let (script, counter) = (Arc::new(script), Arc::clone(&count));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (script, counter) = (Arc::clone(&script), Arc::clone(&counter));
            tokio::spawn(async move {
                #[allow(clippy::unnecessary_wraps, clippy::result_large_err, reason = "it is the type of the callback")]
                let protocol = |_: &Upgrade, mut response: Response| {
                    let name = "v4.channel.k8s.io".parse().unwrap();
                    response.headers_mut().insert("sec-websocket-protocol", name);
                    Ok(response)
                };
                let socket = accept_hdr_async(stream, protocol).await.unwrap();
                let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
                script(number, Stream { socket, frames: Frames::new(TO_AGENT_MAX) }).await;
            });
        }
    });
    let client = Client::try_from(Config::new(url)).unwrap();
    let place = Place { namespace: "n".into(), pod: "p".into(), pod_uid: "u".into(), sandbox: None, container: None };
    (Session::new(client, place, patience), count)
}

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_start_that_may_have_arrived_is_sent_again_to_the_same_agent_only() {
    let breaks_then = |instance: u64| {
        session(PATIENCE, move |number, mut stream| async move {
            stream.greet(if number == 1 { INSTANCE } else { instance }).await;
            let Some(id) = stream.start().await else { return };
            // The first stream breaks before it is known whether the process was started.
            if number > 1 {
                stream.ran(id, 3).await;
            }
        })
    };
    let (same, _) = breaks_then(INSTANCE).await;
    assert_eq!(same.run(Command::new(["true"])).await.unwrap().exit.code, 3);
    let (other, streams) = breaks_then(INSTANCE + 1).await;
    let error = other.run(Command::new(["true"])).await.unwrap_err();
    assert_eq!((error.kind(), error.fault()), (Some(Kind::Lost), Fault::Task), "{error}");
    assert!(error.to_string().contains("not known whether"), "{error}");
    assert_eq!(streams.load(Ordering::SeqCst), 2);
    // What is asked for after that is new to this agent.
    assert_eq!(other.run(Command::new(["true"])).await.unwrap().exit.code, 3);
}

#[tokio::test]
async fn an_agent_that_greets_and_hangs_up_is_given_up() {
    let patience = Duration::from_secs(3);
    let (session, streams) = session(patience, |_, mut stream| async move {
        stream.greet(INSTANCE).await;
    })
    .await;
    let error = session.run(Command::new(["true"])).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let streams = streams.load(Ordering::SeqCst);
    assert!((3..12).contains(&streams), "{streams} streams");
}

/// The memory of this process, in bytes.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB")).unwrap();
    resident.trim().parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn an_agent_that_sends_more_than_there_is_room_for_costs_no_memory() {
    const FLOOD: u64 = 128 << 20;
    let (session, _) = session(PATIENCE, |_, mut stream| async move {
        stream.greet(INSTANCE).await;
        let Some(id) = stream.start().await else { return };
        stream.say(&FromAgent::Live(Event::Started { id, pid: 5, ago_us: 0 })).await;
        for offset in (0..FLOOD).step_by(CHUNK) {
            let data = vec![7; CHUNK];
            stream.say(&FromAgent::Live(Event::Output { id, output: Output::Stdout, offset, data })).await;
        }
        let Some(next) = stream.start().await else { return };
        stream.ran(next, 4).await;
    })
    .await;
    let before = memory();
    let mut process = session.start(Command::new(["cat"])).await.unwrap();
    // What is asked next is answered behind the flood, none of which is taken meanwhile.
    assert_eq!(session.run(Command::new(["true"])).await.unwrap().exit.code, 4);
    let grown = memory().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes");
    let error = loop {
        match process.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, Error::AgentUnusable { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Task);
}

fn heard(request: Option<ToAgent>) -> Option<Request> {
    match request? {
        ToAgent::Live(request) => Some(request),
        other => panic!("{other:?}"),
    }
}

/// No stream says that it has passed a request on.
#[tokio::test]
async fn a_kill_is_said_again_on_the_next_stream() {
    let (session, _) = session(PATIENCE, |number, mut stream| async move {
        stream.greet(INSTANCE).await;
        if number == 1 {
            let Some(id) = stream.start().await else { return };
            stream.say(&FromAgent::Live(Event::Started { id, pid: 5, ago_us: 0 })).await;
            while !matches!(heard(stream.hear().await), Some(Request::Kill { .. }) | None) {}
            return;
        }
        while let Some(request) = heard(stream.hear().await) {
            if let Request::Kill { id, grace_ms: 250 } = request {
                return stream.ran(id, 143).await;
            }
        }
    })
    .await;
    let process = session.start(Command::new(["sleep", "100"])).await.unwrap();
    process.kill(Duration::from_millis(250));
    let ended = tokio::time::timeout(Duration::from_secs(20), process.wait(0)).await;
    assert_eq!(ended.expect("it is told again").unwrap().exit.code, 143);
}

#[tokio::test]
async fn who_is_refused_beside_another_takes_nothing_from_it() {
    let (session, _) = session(PATIENCE, |_, mut stream| async move {
        stream.greet(INSTANCE).await;
        let Some(id) = stream.start().await else { return };
        stream.say(&FromAgent::Live(Event::Started { id, pid: 5, ago_us: 0 })).await;
        while let Some(request) = heard(stream.hear().await) {
            if let Request::Kill { id, .. } = request {
                return stream.ran(id, 143).await;
            }
        }
    })
    .await;
    let mut process = session.start(Command::new(["sleep", "100"])).await.unwrap();
    assert!(process.take_stdin().is_none(), "none was asked for");
    // It has asked, and does not hear that it is refused.
    assert!(session.attach(process.id()).now_or_never().is_none());
    process.kill(Duration::from_millis(250));
    let ended = tokio::time::timeout(Duration::from_secs(20), process.wait(0)).await;
    assert_eq!(ended.expect("it ends").unwrap().exit.code, 143);
}

#[tokio::test]
async fn a_kill_is_said_although_the_session_is_dropped_at_once() {
    let (sender, mut killed) = tokio::sync::mpsc::unbounded_channel();
    let (session, _) = session(PATIENCE, move |_, mut stream| {
        let sender = sender.clone();
        async move {
            stream.greet(INSTANCE).await;
            if let Some(Request::Kill { id, .. }) = heard(stream.hear().await) {
                let _ = sender.send(id);
            }
        }
    })
    .await;
    session.kill(77, Duration::ZERO);
    drop(session);
    let id = tokio::time::timeout(Duration::from_secs(20), killed.recv()).await.expect("it is told");
    assert_eq!(id, Some(Id(77)));
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_no_process() {
    // On the stream that it was sent on, and on the next.
    for breaks in [false, true] {
        let (sender, mut killed) = tokio::sync::mpsc::unbounded_channel();
        let (session, _) = session(PATIENCE, move |number, mut stream| {
            let sender = sender.clone();
            async move {
                stream.greet(INSTANCE).await;
                if number == 1 {
                    let _ = sender.send(stream.start().await);
                    if breaks {
                        return;
                    }
                }
                while let Some(request) = heard(stream.hear().await) {
                    if let Request::Kill { id, .. } = request {
                        let _ = sender.send(Some(id));
                    }
                }
            }
        })
        .await;
        let starting = tokio::spawn({
            let session = session.clone();
            async move { session.start(Command::new(["sleep", "100"]).background()).await.map(drop) }
        });
        let started = killed.recv().await.unwrap();
        starting.abort();
        let id = tokio::time::timeout(Duration::from_secs(20), killed.recv()).await.expect("it is told").unwrap();
        assert_eq!(id, started);
    }
}

/// What the agent's process in the pod ends with, as the kubelet says it: code in the Sandbox has killed it.
const KILLED: &[u8] = br#"{"status":"Failure","reason":"NonZeroExitCode","message":"command terminated with exit code 137","details":{"causes":[{"reason":"ExitCode","message":"137"}]}}"#;

#[tokio::test]
async fn of_a_call_that_is_cut_off_it_is_said_whose_fault_that_is_and_whether_it_may_have_been_done() {
    for (is_whole, is_killed, fault, words) in [
        (false, false, Fault::Infrastructure, "; try it again"),
        (true, false, Fault::Infrastructure, "not known whether"),
        (false, true, Fault::Task, "; try it again"),
        (true, true, Fault::Task, "not known whether"),
    ] {
        let (session, _) = session(PATIENCE, move |number, mut stream| async move {
            stream.greet(INSTANCE).await;
            if number > 1 {
                while stream.hear().await.is_some() {}
                return;
            }
            loop {
                match heard(stream.hear().await) {
                    Some(Request::File { id, .. }) if is_whole => {
                        stream.say(&FromAgent::Live(Event::InputRoom { id, received: 0, until: 1000 })).await;
                    }
                    Some(Request::CloseInput { .. } | Request::File { .. }) | None => break,
                    Some(_) => {}
                }
            }
            if is_killed {
                let _ = stream.socket.send(Message::Binary([&[3], KILLED].concat().into())).await;
            }
        })
        .await;
        let error = session.files().append("log", "line").await.unwrap_err();
        assert_eq!(error.fault(), fault, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// What cannot be read, with the error that a write has where nobody reads.
struct Broken;

impl AsyncRead for Broken {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
}

#[tokio::test]
async fn content_that_cannot_be_read_is_not_taken_for_the_end_of_the_call() {
    let (session, _) = session(PATIENCE, |_, mut stream| async move {
        stream.greet(INSTANCE).await;
        while stream.hear().await.is_some() {}
    })
    .await;
    let (files, mut content) = (session.files(), Broken);
    let written = tokio::time::timeout(Duration::from_secs(20), files.write_from("f", None, &mut content));
    let error = written.await.expect("it ends").unwrap_err();
    assert_eq!(error.fault(), Fault::Usage, "{error}");
}

#[tokio::test]
async fn a_process_gets_the_variables_of_its_sandbox_and_its_own_win() {
    let (session, _) = session(PATIENCE, |_, mut stream| async move {
        stream.greet(INSTANCE).await;
        let Some(ToAgent::Live(Request::Start(start))) = stream.hear().await else { return };
        let env: Vec<_> = start.env.iter().map(|v| format!("{}={}", v.name, v.value)).collect();
        // The last of a name counts.
        let is_right = env == ["A=b", "OF=sandbox", "A=own"];
        stream.ran(start.id, i32::from(!is_right)).await;
    })
    .await;
    let session = session.with_env([("OF".into(), "sandbox".into()), ("A".into(), "b".into())].into());
    assert_eq!(session.run(Command::new(["true"]).env("A", "own")).await.unwrap().exit.code, 0);
}
