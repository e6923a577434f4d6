//! What is to be kept up over streams: the processes and calls in progress, and what is still to be said.

use std::collections::BTreeMap;

use arl_agent::message::live::{ENDED_MAX, Event, Id, Process, Request};
use tokio::sync::{oneshot, watch};

use super::{
    flow::{Agent, Flow, Opening, Received, StreamEnd},
    queue::{EventSender, FlowEvent, TooMuch},
};
use crate::error::Error;

/// What handles ask of a session.
pub(crate) enum Command {
    /// Start or follow something.
    Open { id: Id, number: u64, opening: Opening, events: EventSender, received: watch::Sender<Received> },
    /// Input for something.
    Input(Id, Vec<u8>),
    /// There is no more input.
    CloseInput(Id),
    /// Send this once; it needs no answer.
    Send(Request),
    /// Nobody waits for it any more.
    Abandon { id: Id, number: u64, is_started: bool },
    /// Which processes are there?
    List(oneshot::Sender<Result<Vec<Process>, Error>>),
}

/// What is to be kept up over streams.
#[derive(Default)]
pub(super) struct State {
    pod: String,
    flows: BTreeMap<Id, Flow>,
    lists: BTreeMap<u64, oneshot::Sender<Result<Vec<Process>, Error>>>,
    /// Requests that no stream has taken.
    pub(super) unsent: Vec<Request>,
    /// Kills that no stream is known to have taken: they may be among those unsent, or have been lost with what they waited in.
    kills: Vec<Request>,
    next_list: u64,
    /// Processes whose end was taken on this stream: that they may be forgotten can get lost with it.
    ended: Vec<Id>,
    /// Where the stream that is open leads to.
    pub(super) connected: Option<Agent>,
    /// Whether this stream has brought anything that was not known.
    pub(super) has_news: bool,
}

impl State {
    /// Nothing yet.
    pub(super) fn of(pod: &str) -> Self {
        Self { pod: pod.to_owned(), ..Self::default() }
    }

    /// Notes a command; what is to be sent for it is left in `unsent`.
    pub(super) fn take(&mut self, command: Command) {
        match command {
            Command::Open { id, events, .. } if self.flows.contains_key(&id) => {
                // Two would take each other's bytes. Who asked may have given up.
                let error = Error::Usage("this session follows that process already".into());
                events.end(FlowEvent::Failed(error));
            }
            Command::Open { id, number, opening, events, received } => {
                if let Err(error) = opening.check_length() {
                    return events.end(FlowEvent::Failed(error));
                }
                let mut flow = Flow::new(id, number, opening, events, received);
                if let Some(agent) = self.connected {
                    // What is new can be sent.
                    self.unsent.extend(flow.resume(agent, &StreamEnd::Broken).unwrap_or_default());
                }
                self.flows.insert(id, flow);
            }
            Command::Input(id, data) => self.with_input(id, |flow| flow.write(&data)),
            Command::CloseInput(id) => self.with_input(id, Flow::close),
            Command::Send(request) => {
                if let Request::Kill { id, grace_ms } = request
                    && let Some(flow) = self.flows.get_mut(&id)
                {
                    flow.killed(grace_ms);
                }
                self.send(request);
            }
            // One that was refused beside another does not end that.
            Command::Abandon { id, number, is_started }
                if self.flows.get(&id).is_some_and(|flow| flow.number() == number) =>
            {
                let Some(flow) = self.flows.remove(&id) else { return };
                match flow.give_up(is_started) {
                    Some(kill) => self.send(kill),
                    // Another stream knows nothing of it.
                    None if self.connected.is_none() => self.unsent.extend(flow.kill()),
                    None => self.unsent.push(flow.abandon()),
                }
            }
            Command::Abandon { .. } => {}
            Command::List(answer) => {
                self.next_list += 1;
                self.lists.insert(self.next_list, answer);
                if self.connected.is_some() {
                    self.unsent.push(Request::List { request: self.next_list });
                }
            }
        }
    }

    fn send(&mut self, request: Request) {
        if matches!(request, Request::Kill { .. }) && !self.kills.contains(&request) {
            self.kills.push(request.clone());
        }
        self.unsent.push(request);
    }

    fn with_input(&mut self, id: Id, change: impl FnOnce(&mut Flow)) {
        if let Some(flow) = self.flows.get_mut(&id) {
            change(flow);
            // How much room there is on the next stream is not known.
            if self.connected.is_some() {
                self.unsent.extend(flow.take_input());
            }
        }
    }

    /// What is sent first on a new stream. Calls that do not survive the one before end.
    pub(super) fn resume(&mut self, agent: Agent, end: &StreamEnd) {
        (self.connected, self.has_news) = (Some(agent), false);
        let mut requests: Vec<_> = self.ended.drain(..).map(|id| Request::Forget { id }).collect();
        self.flows.retain(|_, flow| {
            let again = flow.resume(agent, end);
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

    /// The stream is no more. Who asked for a kill may be gone, and waits for no answer: it is said again.
    pub(super) fn disconnected(&mut self) {
        self.connected = None;
        for kill in &self.kills {
            if !self.unsent.contains(kill) {
                self.unsent.push(kill.clone());
            }
        }
    }

    /// The stream has taken all that it was given.
    pub(super) fn sent(&mut self) {
        self.kills.clear();
    }

    pub(super) fn event(&mut self, event: Event) {
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

    pub(super) fn has_kill(&self) -> bool {
        self.unsent.iter().any(|request| matches!(request, Request::Kill { .. })) || !self.kills.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.flows.is_empty() && self.lists.is_empty() && self.unsent.is_empty()
    }

    pub(super) fn fail(&mut self, error: impl Fn() -> Error) {
        for flow in std::mem::take(&mut self.flows).into_values() {
            flow.end(FlowEvent::Failed(error()));
        }
        for answer in std::mem::take(&mut self.lists).into_values() {
            let _ = answer.send(Err(error()));
        }
        self.unsent.clear();
        self.kills.clear();
    }
}

#[cfg(test)]
mod tests {
    use arl_agent::{
        frame::TO_AGENT_MAX,
        message::{file::Action, live::Start},
    };

    use super::*;
    use crate::session::queue;

    fn input(state: &State) -> Vec<(u64, usize)> {
        let of = |request: &Request| match request {
            Request::Input { offset, data, .. } => Some((*offset, data.len())),
            Request::CloseInput { offset, .. } => Some((*offset, 0)),
            _ => None,
        };
        state.unsent.iter().filter_map(of).collect()
    }

    #[test]
    fn input_that_is_written_between_two_streams_is_sent_where_the_second_has_got_to() {
        let (mut state, id) = (State::of("p"), Id(1));
        let ((events, _heard), (received, _room)) = (queue::events(), watch::channel(Received::default()));
        let opening = Opening::Process(Box::new(Start::new(id, vec!["cat".into()])));
        state.resume(Some(1), &StreamEnd::Broken);
        state.take(Command::Open { id, number: 0, opening, events, received });
        state.event(Event::Started { id, pid: 1, ago_us: 0 });
        state.event(Event::InputRoom { id, received: 0, until: 100 });
        state.take(Command::Input(id, vec![7; 10]));
        assert_eq!(input(&state), [(0, 10)]);
        state.unsent.clear();
        state.disconnected();
        state.take(Command::Input(id, vec![7; 5]));
        state.take(Command::CloseInput(id));
        assert_eq!(input(&state), []);
        state.resume(Some(1), &StreamEnd::Broken);
        assert_eq!(input(&state), []);
        state.event(Event::InputRoom { id, received: 4, until: 104 });
        assert_eq!(input(&state), [(4, 11), (15, 0)]);
    }

    /// An agent closes the stream at what is too long for it, whoever else is on it.
    #[tokio::test]
    async fn what_is_too_long_for_an_agent_is_not_sent() {
        let long = || "x".repeat(TO_AGENT_MAX);
        let process = |text| Opening::Process(Box::new(Start::new(Id(1), vec!["echo".into(), text])));
        let file = |path: String| Opening::File(Action::Stat { path: path.into(), follow: true }, None);
        let fits = || "x".repeat(TO_AGENT_MAX - 1024);
        for (opening, is_sent) in
            [(process(long()), false), (file(long()), false), (process(fits()), true), (file(fits()), true)]
        {
            let (mut state, id) = (State::of("p"), Id(1));
            let ((events, heard), (received, _room)) = (queue::events(), watch::channel(Received::default()));
            state.resume(Some(1), &StreamEnd::Broken);
            state.take(Command::Open { id, number: 0, opening, events, received });
            assert_eq!(state.unsent.len(), usize::from(is_sent));
            if is_sent {
                let mut frame = Vec::new();
                arl_agent::frame::append(&arl_agent::message::ToAgent::Live(state.unsent[0].clone()), &mut frame);
                assert!(frame.len() <= TO_AGENT_MAX);
            } else {
                let heard = heard.next().await;
                assert!(matches!(heard, Some(FlowEvent::Failed(Error::Usage(_)))));
            }
        }
    }

    /// Its caller has heard of it once that has taken the event.
    #[tokio::test]
    async fn a_process_of_whose_start_its_caller_has_not_heard_is_ended_with_it() {
        use crate::{
            session::{PATIENCE, handle::Handle, link::Link},
            stream::Place,
        };
        for is_heard in [false, true] {
            let (mut state, id) = (State::of("p"), Id(1));
            state.resume(Some(1), &StreamEnd::Broken);
            let (sender, mut commands) = tokio::sync::mpsc::unbounded_channel();
            let place =
                Place { namespace: "n".into(), pod: "p".into(), pod_uid: "u".into(), sandbox: None, container: None };
            let opening = Opening::Process(Box::new(Start::new(id, vec!["cat".into()])));
            let mut handle = Handle::open(Link::new(place, sender, PATIENCE), id, opening);
            state.take(commands.recv().await.unwrap());
            state.event(Event::Started { id, pid: 1, ago_us: 0 });
            if is_heard {
                handle.next().await;
            }
            drop(handle);
            state.take(commands.recv().await.unwrap());
            assert_ne!(state.has_kill(), is_heard, "{:?}", state.unsent);
        }
    }
}
