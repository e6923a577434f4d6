//! Keeps one stream to a pod as long as somebody needs it, opens another when it breaks, and takes up every process where it was.

use std::{collections::BTreeMap, time::Duration};

use arl_agent::{
    frame,
    message::{
        FromAgent, LIVE_VERSION, ToAgent,
        live::{ENDED_MAX, Event, Id, Process, Request},
    },
};
use kube::Client;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};

use super::{
    attempts::{Attempts, Hopeless},
    flow::{Agent, Flow, Opening, Received},
    queue::{EventSender, FlowEvent, TooMuch},
};
use crate::{
    error::Error,
    stream::{self, Greeting, Keepalive, Place, Socket, StreamError},
};

/// What handles ask of a session.
pub(crate) enum Command {
    /// Start or follow something.
    Open { id: Id, opening: Opening, events: EventSender, received: watch::Sender<Received> },
    /// Input for something.
    Input(Id, Vec<u8>),
    /// There is no more input.
    CloseInput(Id),
    /// Send this once; it needs no answer.
    Send(Request),
    /// Nobody waits for it any more.
    Abandon(Id),
    /// Which processes are there?
    List(oneshot::Sender<Result<Vec<Process>, Error>>),
}

/// What is to be kept up over streams.
#[derive(Default)]
struct State {
    pod: String,
    flows: BTreeMap<Id, Flow>,
    lists: BTreeMap<u64, oneshot::Sender<Result<Vec<Process>, Error>>>,
    /// Requests that no stream has taken.
    unsent: Vec<Request>,
    next_list: u64,
    /// Processes whose end was taken on this stream: that they may be forgotten can get lost with it.
    ended: Vec<Id>,
    /// Where the stream that is open leads to.
    connected: Option<Agent>,
    /// Whether this stream has brought anything that was not known.
    has_news: bool,
}

impl State {
    /// Notes a command; what is to be sent for it is left in `unsent`.
    fn take(&mut self, command: Command) {
        match command {
            Command::Open { id, events, .. } if self.flows.contains_key(&id) => {
                // Two would take each other's bytes. Who asked may have given up.
                let error = Error::Usage("this session follows that process already".into());
                events.end(FlowEvent::Failed(error));
            }
            Command::Open { id, opening, events, received } => {
                let mut flow = Flow::new(id, opening, events, received);
                if let Some(agent) = self.connected {
                    // What is new can be sent.
                    self.unsent.extend(flow.resume(agent).unwrap_or_default());
                }
                self.flows.insert(id, flow);
            }
            Command::Input(id, data) => self.with_input(id, |flow| flow.write(&data)),
            Command::CloseInput(id) => self.with_input(id, Flow::close),
            Command::Send(request) => self.unsent.push(request),
            Command::Abandon(id) => {
                if let Some(flow) = self.flows.remove(&id) {
                    self.unsent.push(flow.abandon());
                }
            }
            Command::List(answer) => {
                self.next_list += 1;
                self.lists.insert(self.next_list, answer);
                if self.connected.is_some() {
                    self.unsent.push(Request::List { request: self.next_list });
                }
            }
        }
    }

    fn with_input(&mut self, id: Id, change: impl FnOnce(&mut Flow)) {
        if let Some(flow) = self.flows.get_mut(&id) {
            change(flow);
            self.unsent.extend(flow.take_input());
        }
    }

    /// What is sent first on a new stream. Calls that do not survive the one before end.
    fn resume(&mut self, agent: Agent) {
        (self.connected, self.has_news) = (Some(agent), false);
        let mut requests: Vec<_> = self.ended.drain(..).map(|id| Request::Forget { id }).collect();
        self.flows.retain(|_, flow| {
            let again = flow.resume(agent);
            let survives = again.is_ok();
            match again {
                Ok(again) => requests.extend(again),
                Err(error) => flow.end(FlowEvent::Failed(error)),
            }
            survives
        });
        requests.extend(self.lists.keys().map(|request| Request::List { request: *request }));
        requests.append(&mut self.unsent);
        self.unsent = requests;
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Started { id, pid, .. } => self.hear(id, |flow| flow.started(pid)),
            Event::Output { id, output, offset, data } => self.hear(id, |flow| flow.output(output, offset, data)),
            Event::InputRoom { id, received, until } => {
                let mut has_news = false;
                self.with_input(id, |flow| has_news = flow.room(received, until));
                self.has_news |= has_news;
            }
            Event::InputClosed { id } => self.with_input(id, Flow::input_closed),
            Event::Ended { id, end } => {
                self.last(id, FlowEvent::Ended(Box::new(end)));
                self.unsent.push(Request::Forget { id });
                if self.ended.len() == ENDED_MAX {
                    self.ended.remove(0);
                }
                self.ended.push(id);
            }
            Event::Failed { id, error } => self.last(id, FlowEvent::Failed(Error::Remote(error))),
            Event::Rejected { id, error } => {
                if let Some(flow) = self.flows.get(&id) {
                    flow.rejected(error);
                }
            }
            Event::Done { id, result } => self.last(id, FlowEvent::Done(result)),
            Event::List { request, processes } => {
                if let Some(answer) = self.lists.remove(&request) {
                    self.has_news = true;
                    // Who asked may have given up.
                    let _ = answer.send(Ok(processes));
                }
            }
            Event::Activity { .. } => {}
        }
    }

    /// Something was heard of a process or call; it is true where it was not known.
    fn hear(&mut self, id: Id, hear: impl FnOnce(&mut Flow) -> Result<bool, TooMuch>) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        if let Ok(is_new) = hear(flow) {
            self.has_news |= is_new;
            return;
        }
        self.unsent.push(flow.abandon());
        let message = "it sends more than it was given room for".into();
        self.last(id, FlowEvent::Failed(Error::AgentUnusable { pod: self.pod.clone(), message }));
    }

    fn last(&mut self, id: Id, event: FlowEvent) {
        if let Some(flow) = self.flows.remove(&id) {
            self.has_news = true;
            flow.end(event);
        }
    }

    fn is_idle(&self) -> bool {
        self.flows.is_empty() && self.lists.is_empty() && self.unsent.is_empty()
    }

    fn fail(&mut self, error: impl Fn() -> Error) {
        for flow in std::mem::take(&mut self.flows).into_values() {
            flow.end(FlowEvent::Failed(error()));
        }
        for answer in std::mem::take(&mut self.lists).into_values() {
            let _ = answer.send(Err(error()));
        }
        self.unsent.clear();
    }
}

/// Runs until all handles are dropped. `patience` is how long the pod may be out of reach before what is in progress fails.
pub(crate) async fn drive(
    client: Client,
    place: Place,
    patience: Duration,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let mut state = State { pod: place.pod.clone(), ..State::default() };
    let (mut attempts, mut has_worked) = (Attempts::new(patience), false);
    loop {
        if state.is_idle() {
            let Some(command) = commands.recv().await else { return };
            state.take(command);
            attempts = Attempts::new(patience);
        }
        let retry_at = attempts.next();
        while let Ok(command) = timeout_at(retry_at, commands.recv()).await {
            let Some(command) = command else { return };
            state.take(command);
        }
        let error = match stream::open(&client, &place, has_worked).await {
            Ok((_, Greeting { version, .. })) if version < LIVE_VERSION => {
                state.fail(|| Error::OldAgent { pod: place.pod.clone() });
                continue;
            }
            Ok((socket, Greeting { instance, .. })) => {
                has_worked = true;
                let since = Instant::now();
                state.resume(instance);
                let Some(error) = converse(socket, &mut state, &mut commands).await else { return };
                state.connected = None;
                attempts.closed(since, state.has_news);
                error
            }
            Err(error) => error,
        };
        tracing::debug!(pod = place.pod, ?error, "no stream to the agent");
        let Some(hopeless) = attempts.failed(&error) else { continue };
        let (pod, message) = (place.pod.clone(), error.printable().into_message());
        state.fail(|| {
            let (pod, message) = (pod.clone(), message.clone());
            match hopeless {
                Hopeless::Forbidden => Error::Forbidden { pod, message },
                Hopeless::Gone => Error::PodLost { pod, message },
                Hopeless::Unusable => Error::AgentUnusable { pod, message },
                Hopeless::Unreachable => Error::Unreachable { pod, message },
            }
        });
    }
}

enum Turn {
    Command(Option<Command>),
    Message(Result<FromAgent, StreamError>),
}

/// Talks until the stream breaks; `None` once all handles are dropped.
async fn converse(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, Fault, Session, stream::testing::agents_of};

    /// One of version 1 closes a stream at what it does not know, so that it is told nothing.
    #[tokio::test]
    async fn an_agent_of_an_older_operator_is_met_in_words() {
        let (client, mut told) = agents_of(LIVE_VERSION - 1).await.unwrap();
        let place = Place {
            namespace: "ns".into(),
            pod: "p".into(),
            pod_uid: "uid".into(),
            container: Some("executor".into()),
        };
        let session = Session::new(client, place, Duration::from_secs(60));
        // Each time anew: the pod stays, and so does the answer.
        for _ in 0..2 {
            let error = session.run(Command::new(["true"])).await.unwrap_err();
            let expected = "pod p was made by an older operator: its agent cannot run live commands; Tasks still work";
            assert_eq!((error.to_string().as_str(), error.fault()), (expected, Fault::Usage));
        }
        let listed = session.list().await.unwrap_err();
        assert!(matches!(listed, Error::OldAgent { .. }), "{listed}");
        assert!(told.try_recv().is_err());
    }
}
