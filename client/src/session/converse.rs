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
        let mut frames = Vec::new();
        for request in state.unsent.drain(..) {
            frame::append(&ToAgent::Live(request), &mut frames);
        }
        socket.queue(&frames);
        let turn = async {
            tokio::select! {
                biased;
                command = commands.recv() => Turn::Command(command),
                message = socket.next() => Turn::Message(message),
            }
        };
        let turn = timeout_at(keepalive.at(), turn).await;
        if socket.has_sent_all() {
            state.sent();
        }
        match turn {
            Ok(Turn::Command(None)) => return socket.finish().await.err(),
            Ok(Turn::Command(Some(command))) => state.take(command),
            Ok(Turn::Message(Ok(message))) => {
                keepalive.heard();
                if let FromAgent::Live(event) = message {
                    state.event(event);
                }
            }
            Ok(Turn::Message(Err(error))) => return Some(error),
            Err(_) => match keepalive.ping() {
                Ok(ping) => socket.queue(&ping),
                Err(error) => return Some(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arl_agent::message::{
        file::Success,
        live::{CHUNK, End, Event, Id, Output, Request, Status, WINDOW},
    };
    use tokio::time::timeout;

    use super::*;
    use crate::{
        Command as Program, Error,
        session::{PATIENCE, Session, flow::StreamEnd, link::Link},
        stream::{Place, testing::Pod},
    };

    fn session() -> (Session, mpsc::UnboundedReceiver<Command>) {
        let (sender, commands) = mpsc::unbounded_channel();
        let place =
            Place { namespace: "n".into(), pod: "p".into(), pod_uid: "u".into(), sandbox: None, container: None };
        (Session { link: Link::new(place, sender, PATIENCE), env: std::sync::Arc::default() }, commands)
    }

    /// The call that this begins.
    async fn call(pod: &mut Pod) -> Id {
        match pod.hear().await {
            Some(ToAgent::Live(Request::File { id, .. })) => id,
            other => panic!("{other:?}"),
        }
    }

    /// A pod that takes nothing before it is rid of what it has to say.
    async fn serve(mut pod: Pod) {
        let (download, upload) = (call(&mut pod).await, call(&mut pod).await);
        let live = |event| [FromAgent::Live(event)];
        pod.say(live(Event::InputRoom { id: upload, received: 0, until: WINDOW as u64 })).await;
        for number in 0..WINDOW / CHUNK {
            let (output, offset) = (Output::Stdout, (number * CHUNK) as u64);
            pod.say(live(Event::Output { id: download, output, offset, data: vec![7; CHUNK] })).await;
        }
        pod.say(live(Event::Done { id: download, result: Success::Count((WINDOW / CHUNK * CHUNK) as u64) })).await;
        let mut received = 0;
        while received < WINDOW {
            match pod.hear().await.unwrap() {
                ToAgent::Live(Request::Input { id, data, .. }) if id == upload => received += data.len(),
                ToAgent::Live(Request::Acknowledge { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        pod.say(live(Event::Done { id: upload, result: Success::Count(received as u64) })).await;
        // Until the client has heard it.
        while pod.hear().await.is_some() {}
    }

    /// Sends so many pieces of a file one after the other, never more than `room` ahead of what it is told was taken; how often it was told.
    async fn download(pieces: usize, room: usize) -> usize {
        let (mut pod, socket) = Pod::connected().await;
        let (session, mut commands) = session();
        let mut state = State::of("p");
        state.resume(Some(1), &StreamEnd::Broken);
        let serve = async move {
            let (id, mut told) = (call(&mut pod).await, 0);
            let (mut sent, mut taken) = (0, 0);
            let length = (pieces * CHUNK) as u64;
            while taken < length {
                if sent < length && sent + CHUNK as u64 <= taken + room as u64 {
                    let data = vec![7; CHUNK];
                    pod.say([FromAgent::Live(Event::Output { id, output: Output::Stdout, offset: sent, data })]).await;
                    sent += CHUNK as u64;
                    continue;
                }
                match pod.hear().await {
                    Some(ToAgent::Live(Request::Acknowledge { offset, .. })) => (taken, told) = (offset, told + 1),
                    other => panic!("{other:?}"),
                }
            }
            pod.say([FromAgent::Live(Event::Done { id, result: Success::Count(length) })]).await;
            while pod.hear().await.is_some() {}
            told
        };
        let read = async move { session.files().read("/from").await.unwrap().len() };
        let talk = converse(socket, &mut state, &mut commands);
        let all = timeout(Duration::from_secs(3600), async { tokio::join!(serve, read, talk) });
        let (told, read, _) = all.await.expect("it goes on");
        assert_eq!(read, pieces * CHUNK);
        told
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_taken_is_told_of_seldom_and_where_an_agent_waits_for_it() {
        let told = download(100, WINDOW).await;
        assert!(told <= 40, "{told}");
        assert_eq!(download(100, CHUNK).await, 100, "it has room for one piece");
    }

    #[tokio::test(start_paused = true)]
    async fn uploads_and_downloads_at_once_do_not_wait_for_each_other() {
        let (pod, socket) = Pod::connected().await;
        let (session, mut commands) = session();
        let mut state = State::of("p");
        state.resume(Some(1), &StreamEnd::Broken);
        let calls = async move {
            let files = session.files();
            let (read, written) = tokio::join!(files.read("/from"), files.write("/to", vec![8; WINDOW]));
            (read.unwrap().len(), written.unwrap())
        };
        let talk = converse(socket, &mut state, &mut commands);
        let all = timeout(Duration::from_secs(3600), async { tokio::join!(serve(pod), calls, talk) });
        let ((), (read, ()), end) = all.await.expect("neither waits for the other");
        assert!(end.is_none(), "{end:?}");
        assert_eq!(read, WINDOW / CHUNK * CHUNK);
    }

    /// Starts one process, and keeps the stream alive.
    async fn greet_and_pong(mut pod: Pod) {
        let mut starts = true;
        while let Some(message) = pod.hear().await {
            match message {
                ToAgent::Ping => pod.say([FromAgent::Pong]).await,
                ToAgent::Live(Request::Start(start)) if std::mem::take(&mut starts) => {
                    pod.say([FromAgent::Live(Event::Started { id: start.id, pid: 5, ago_us: 0 })]).await;
                }
                _ => {}
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_answers_pings_and_nothing_else_holds_up_nobody_for_ever() {
        let (pod, socket) = Pod::connected().await;
        let (session, mut commands) = session();
        let mut state = State::of("p");
        state.resume(Some(1), &StreamEnd::Broken);
        let calls = async move {
            let run = || session.run(Program::new(["true"]).timeout(Duration::from_secs(10)));
            let files = session.files();
            let (ends, starts) = (run().await.unwrap_err(), run().await.unwrap_err());
            let (stat, list) = (files.stat("a").await.unwrap_err(), files.list("a", None).await.unwrap_err());
            let remove = files.remove("a", false).await.unwrap_err();
            [ends, starts, stat, list, remove, session.list().await.unwrap_err()]
        };
        let talk = converse(socket, &mut state, &mut commands);
        let all = timeout(Duration::from_secs(3600), async { tokio::join!(greet_and_pong(pod), calls, talk) });
        let ((), errors, end) = all.await.expect("each is given up");
        assert!(end.is_none(), "{end:?}");
        for error in errors {
            assert!(matches!(error, Error::AgentUnusable { .. }), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn output_at_any_offset_is_counted_as_far_as_it_can_be() {
        let (mut pod, socket) = Pod::connected().await;
        let (session, mut commands) = session();
        let mut state = State::of("p");
        state.resume(Some(1), &StreamEnd::Broken);
        let agent = async move {
            let Some(ToAgent::Live(Request::Start(start))) = pod.hear().await else { panic!("it starts") };
            let id = start.id;
            let at = |offset| Event::Output { id, output: Output::Stdout, offset, data: vec![7; 2] };
            let end = End {
                status: Status::Exited(0),
                cause: None,
                stdout: 0,
                stderr: 0,
                started_ago_us: 0,
                ended_ago_us: 0,
                survivors: Vec::new(),
            };
            let said = [Event::Started { id, pid: 5, ago_us: 0 }, at(0), at(u64::MAX), Event::Ended { id, end }];
            pod.say(said.map(FromAgent::Live)).await;
            while pod.hear().await.is_some() {}
        };
        let run = async move { session.run(Program::new(["true"])).await };
        let ((), finished, _) = tokio::join!(agent, run, converse(socket, &mut state, &mut commands));
        assert_eq!(finished.unwrap().printed, [u64::MAX, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_kill_that_waits_behind_input_when_the_stream_breaks_is_said_on_the_next() {
        let (_sender, mut commands) = mpsc::unbounded_channel();
        let mut state = State::of("p");
        let (pod, socket) = Pod::connected().await;
        state.resume(Some(1), &StreamEnd::Broken);
        // More than is on its way at once.
        state.take(Command::Send(Request::Input { id: Id(1), offset: 0, data: vec![0; 1 << 20] }));
        let kill = Request::Kill { id: Id(2), grace_ms: 5 };
        state.take(Command::Send(kill.clone()));
        let breaks = async move {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            drop(pod);
        };
        let (end, ()) = tokio::join!(converse(socket, &mut state, &mut commands), breaks);
        state.disconnected();
        assert!(end.is_some() && state.has_kill(), "it was not sent: {end:?}");

        let (mut pod, socket) = Pod::connected().await;
        state.resume(Some(1), &StreamEnd::Broken);
        let hears = async move {
            assert_eq!(pod.hear().await, Some(ToAgent::Live(kill)));
        };
        let (end, ()) = tokio::join!(converse(socket, &mut state, &mut commands), hears);
        state.disconnected();
        assert!(end.is_some() && state.is_idle(), "one that was sent is not said again: {end:?}");
    }
}
