//! The stream to one pod: opened, used by every run of the pod, opened again when it breaks.

use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

use arl_agent::message::{FromAgent, RunId, Unfinished};
use arl_client::stream::{
    Greeting, Keepalive, PROTOCOL_ERRORS_MAX, Place, SILENCE_MAX, Socket, StreamError, retry_delay,
};
use arl_crds::name::is_name;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use super::{
    attached::{Attached, StreamCommand, StreamEvent},
    opening::OpeningPlace,
    streams::{Agent, Stream, meter},
};
use crate::{
    object::{Key, Uid},
    pod::Target,
};

/// A stream that no run needs is given up after so many failures; the pod's next change opens it again.
const IDLE_FAILURES: u32 = 8;
/// How often the API server is asked whether a Task is there.
const TRIES: u32 = 20;
/// More unfinished runs than a pod can have are not believed: it runs one Task at a time, besides those that are being ended.
const UNFINISHED_MAX: usize = 8;
/// So many messages that no run expects are passed over between two pings: answers to these, and all that is under way of a run of 64
/// steps that nobody follows any more.
const UNASKED_MAX: usize = 128;

fn place(target: &Target) -> Place {
    Place {
        namespace: target.pod.namespace.clone(),
        pod: target.pod.name.clone(),
        pod_uid: target.pod_uid.0.clone(),
        sandbox: None,
        container: Some(target.container.clone()),
    }
}

fn protocol_or_permanent(message: String, times: u32) -> StreamError {
    if times < PROTOCOL_ERRORS_MAX {
        return StreamError::Protocol(message);
    }
    StreamError::Permanent(format!(
        "the agent in the pod is of no use, {times} times in a row: {message}; code in the sandbox removed or changed it, or left \
         it no room: use another Sandbox"
    ))
}

impl Agent {
    /// Keeps the stream to a pod until the pod is gone, or nobody needs a stream that cannot be opened.
    pub(super) async fn keep(self: Arc<Self>, target: Target, mut commands: mpsc::UnboundedReceiver<StreamCommand>) {
        let mut attached = Attached::default();
        let (mut failures, mut unfit) = (0, 0);
        let mut has_worked = false;
        let mut asked = Asked::default();
        let place = place(&target);
        loop {
            let namespace = &target.pod.namespace;
            let Some(opening) = self.opening(namespace, &mut attached, &mut commands).await else { break };
            has_worked |= attached.has_started();
            let opened = opening.open(arl_client::stream::open(&self.client, &place, has_worked)).await;
            let error = match opened {
                Ok((socket, Greeting { version, unfinished, .. })) => {
                    (unfit, has_worked) = (0, true);
                    self.metrics.run_streams.with(["opened"]).inc();
                    attached.activity.opened(version);
                    let since = Instant::now();
                    self.end_unwanted(&target, asked.admit(unfinished, &attached));
                    self.metrics.open_streams.inc();
                    let socket = socket.metered(meter(&self.arriving, namespace));
                    let error = converse(socket, &mut attached, &mut commands).await;
                    self.metrics.open_streams.dec();
                    // One that breaks at once is no better than one that cannot be opened.
                    if since.elapsed() > SILENCE_MAX {
                        (failures, asked) = (0, Asked::default());
                    }
                    error
                }
                Err(StreamError::Protocol(message)) => {
                    unfit += 1;
                    Some(protocol_or_permanent(message, unfit))
                }
                Err(error) => Some(error),
            };
            failures += 1;
            let Some(error) = error.map(StreamError::printable) else { break };
            if self.report(&target, &mut attached, error, failures).await.is_break() {
                break;
            }
            if attached.is_idle() && failures > IDLE_FAILURES {
                break;
            }
            if let Ok(command) = timeout(retry_delay(failures), commands.recv()).await {
                let Some(command) = command else { break };
                attached.take(command);
            }
        }
        commands.close();
        let mut streams = self.lock();
        if streams.get(&target.pod_uid).is_some_and(Stream::is_closed) {
            streams.remove(&target.pod_uid);
        }
        drop(streams);
        attached.activity.unfollowed();
    }

    /// Tells those who wait for the pod why there is no stream; breaks where there never will be one.
    async fn report(
        &self,
        target: &Target,
        attached: &mut Attached,
        error: StreamError,
        failures: u32,
    ) -> ControlFlow<()> {
        let pod = &target.pod.name;
        let (result, reached) = match &error {
            StreamError::Permanent(_) | StreamError::NotExecutable(_) => ("gone", true),
            StreamError::Protocol(_) => ("unfit", true),
            StreamError::Unstarted(_) => ("broken", true),
            // The right may be granted.
            StreamError::Transient(_) | StreamError::Forbidden(_) => ("broken", false),
        };
        self.metrics.run_streams.with([result]).inc();
        let is_permanent = matches!(error, StreamError::Permanent(_) | StreamError::NotExecutable(_));
        let error = error.into_message();
        tracing::debug!(pod, error, failures, is_permanent, "no stream to the agent");
        if is_permanent {
            attached.activity.gone();
            attached.tell(|| StreamEvent::Gone(error.clone())).await;
            return ControlFlow::Break(());
        }
        attached.activity.broken(reached);
        let message = format!("the agent in pod {pod} cannot be reached: {error}");
        attached.tell(|| StreamEvent::Obstacle { message: message.clone(), reached }).await;
        ControlFlow::Continue(())
    }

    /// A place among those that open a stream now. Who has a Task need not wait for those who have none.
    async fn opening(
        &self,
        namespace: &str,
        attached: &mut Attached,
        commands: &mut mpsc::UnboundedReceiver<StreamCommand>,
    ) -> Option<OpeningPlace<'_>> {
        while attached.is_idle() {
            tokio::select! {
                biased;
                command = commands.recv() => drop(attached.take(command?)),
                place = self.opening_idle(namespace, attached.is_first_claim) => return place,
            }
        }
        self.opening_busy.place(namespace).await
    }

    async fn opening_idle(&self, namespace: &str, is_first_claim: bool) -> Option<OpeningPlace<'_>> {
        if !is_first_claim {
            self.lull.comes().await;
        }
        self.claims.none().await;
        self.opening_idle.place(namespace).await
    }

    /// Ends the runs of Tasks that were deleted, or that are over on record, while nobody watched.
    fn end_unwanted(self: &Arc<Self>, target: &Target, unfinished: Vec<Unfinished>) {
        if unfinished.is_empty() {
            return;
        }
        let (agent, target) = (Arc::clone(self), target.clone());
        tokio::spawn(async move {
            for Unfinished { run, task } in unfinished {
                if agent.is_wanted(target.pod.sibling(&task), &Uid(run.as_str().to_owned())).await == Some(false) {
                    tracing::info!(pod = %target.pod.name, task, "the Task was deleted or is over; its run ends");
                    agent.command(&target, StreamCommand::Cancel(run));
                }
            }
        });
    }
}

impl Agent {
    /// Whether a run is wanted; none where the API server does not say so in many tries.
    async fn is_wanted(&self, task: Key, uid: &Uid) -> Option<bool> {
        for failures in 1..=TRIES {
            let wanted = (self.still_wanted)(task.clone(), uid.clone()).await;
            if wanted.is_some() {
                return wanted;
            }
            tokio::time::sleep_until(Instant::now() + retry_delay(failures)).await;
        }
        None
    }
}

/// The runs of a pod whose Tasks were asked for. A pod that greets and hangs up, again and again, costs the API server no more than that.
#[derive(Default)]
struct Asked(BTreeSet<RunId>);

impl Asked {
    /// Those of `unfinished` to ask for now: nobody waits for them, and they may be what they say.
    fn admit(&mut self, unfinished: Vec<Unfinished>, attached: &Attached) -> Vec<Unfinished> {
        let may_be = |of: &Unfinished| of.run.is_valid() && is_name(&of.task) && !attached.runs.contains_key(&of.run);
        let mut new: Vec<_> = unfinished.into_iter().filter(may_be).collect();
        new.retain(|of| self.0.len() < UNFINISHED_MAX && self.0.insert(of.run.clone()));
        new
    }
}

enum Turn {
    StreamCommand(Option<StreamCommand>),
    Message(Result<FromAgent, StreamError>),
}

/// Talks until the stream breaks; `None` once there will be no more commands.
async fn converse(
    mut socket: Socket,
    attached: &mut Attached,
    commands: &mut mpsc::UnboundedReceiver<StreamCommand>,
) -> Option<StreamError> {
    if let Err(error) = socket.send(&attached.all()).await {
        return Some(error);
    }
    attached.sent().await;
    let mut keepalive = Keepalive::start();
    let mut unasked = 0;
    loop {
        let turn = async {
            tokio::select! {
                biased;
                command = commands.recv() => Turn::StreamCommand(command),
                message = socket.next() => Turn::Message(message),
            }
        };
        let frames = match timeout_at(keepalive.at(), turn).await {
            Ok(Turn::StreamCommand(Some(StreamCommand::Reopen))) => {
                return Some(StreamError::Transient("the agent does not answer".into()));
            }
            Ok(Turn::StreamCommand(command)) => attached.take(command?),
            Ok(Turn::Message(Ok(message))) => {
                keepalive.heard();
                unasked += usize::from(!attached.deliver(message).await);
                if unasked > UNASKED_MAX {
                    return Some(StreamError::Protocol("the agent says more than it was asked for".into()));
                }
                continue;
            }
            Ok(Turn::Message(Err(error))) => return Some(error),
            Err(_) => match keepalive.ping() {
                Ok(frame) => {
                    unasked = 0;
                    frame.into()
                }
                Err(error) => return Some(error),
            },
        };
        if let Err(error) = socket.send(&attached.with_deferred(frames)).await {
            return Some(error);
        }
        attached.sent().await;
    }
}

#[cfg(test)]
mod tests {
    use arl_agent::message::{Excerpt, RunEnd, StepEnd};

    use arl_client::stream::testing::Pod;

    use super::{super::attached::Attach, *};
    use crate::runs::Quota;

    fn unfinished(run: &str, task: &str) -> Unfinished {
        Unfinished { run: RunId::new(run).unwrap(), task: task.into() }
    }

    const STEPS: u32 = 64;

    fn run() -> RunId {
        RunId::new("a").unwrap()
    }

    /// All that an agent says of a run.
    fn whole() -> Vec<FromAgent> {
        let (stdout, stderr) = (Excerpt::default(), Excerpt::default());
        let step = |index| FromAgent::Step {
            run: run(),
            index,
            started_us: 0,
            ended_us: 0,
            end: StepEnd::Exited(0),
            stdout: stdout.clone(),
            stderr: stderr.clone(),
        };
        let started = FromAgent::Started { run: run(), ago_us: 0 };
        let ended = FromAgent::Ended { run: run(), end: RunEnd::Completed, survivors: Vec::new() };
        [started.clone(), started].into_iter().chain((0..=STEPS).map(step)).chain([ended]).collect()
    }

    /// How a conversation with a pod that sends this ends, and how many messages a run of so many steps gets.
    async fn conversation(messages: Vec<FromAgent>) -> (Option<StreamError>, usize) {
        let (mut pod, socket) = Pod::connected().await;
        let (events, mut receiver) = mpsc::channel(4);
        let attach = Attach { run: run(), start: None, steps: STEPS as usize, taken: 0, sent: false, events };
        let (mut attached, (_sender, mut commands)) = (Attached::default(), mpsc::unbounded_channel());
        attached.take(StreamCommand::Attach(attach));
        let counting = async {
            let mut messages = 0;
            while let Some(event) = receiver.recv().await {
                messages += usize::from(matches!(event, StreamEvent::Message(_)));
            }
            messages
        };
        let talk = async move {
            let error = converse(socket, &mut attached, &mut commands).await;
            drop(attached);
            error
        };
        let say = async {
            pod.say(messages).await;
            drop(pod);
        };
        let (error, count, ()) = tokio::join!(talk, counting, say);
        (error, count)
    }

    #[tokio::test]
    async fn who_says_more_than_a_run_can_need_is_not_listened_to() {
        let (ended, messages) = conversation(whole()).await;
        assert!(!matches!(ended, Some(StreamError::Protocol(_))), "{ended:?}");
        assert_eq!(messages, whole().len());
        let twice = [whole(), whole()].concat();
        let (ended, _) = conversation(twice).await;
        assert!(!matches!(ended, Some(StreamError::Protocol(_))), "it was asked for twice: {ended:?}");
        for flood in [FromAgent::Pong, FromAgent::Refused("no".into()), whole()[0].clone(), whole()[2].clone()] {
            let (ended, messages) = conversation(vec![flood.clone(); 1_000]).await;
            assert!(
                matches!(&ended, Some(StreamError::Protocol(message)) if message.contains("more than")),
                "{flood:?}: {ended:?}"
            );
            assert!(messages < 2 * STEPS as usize, "{flood:?}: {messages}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn messages_that_never_come_to_an_end_take_a_bounded_memory_of_all_streams_together() {
        const PART: usize = 100_000;
        let arriving = Arc::new(Quota::new(usize::MAX, 10 * PART));
        let large = FromAgent::Refused("x".repeat(PART + PART / 2));
        let connected = async |namespace| {
            let (pod, socket) = Pod::connected().await;
            (pod, socket.metered(meter(&arriving, namespace)))
        };
        let mut held = Vec::new();
        for _ in 0..20 {
            let (mut pod, mut socket) = connected("a").await;
            let said = async { tokio::join!(socket.next(), pod.say_part(&large, PART)).0 };
            match timeout(SILENCE_MAX, said).await {
                Ok(Err(StreamError::Transient(why))) => assert!(why.contains("memory"), "{why}"),
                Ok(other) => panic!("{other:?}"),
                Err(_) => held.push((pod, socket)),
            }
        }
        assert_eq!(held.len(), 10);
        for (namespace, message) in [("a", FromAgent::Pong), ("b", large)] {
            let (mut pod, mut socket) = connected(namespace).await;
            let (heard, ()) = tokio::join!(socket.next(), pod.say([message.clone()]));
            assert_eq!(heard.unwrap(), message, "what is small comes through, and what is another namespace's");
        }
        drop(held);
        assert_eq!(arriving.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whether_a_run_is_wanted_is_asked_again_where_the_api_server_does_not_say() {
        use futures::FutureExt;
        use kube::{Client, client::Body};
        let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let still_wanted: super::super::StillWanted = Arc::new({
            let asked = Arc::clone(&asked);
            move |_, _| {
                let times = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                std::future::ready((times == 3).then_some(false)).boxed()
            }
        });
        let silent = tower::service_fn(|_: http::Request<Body>| {
            std::future::pending::<Result<http::Response<Body>, std::convert::Infallible>>()
        });
        let (client, claims) = (Client::new(silent, "ns"), crate::queue::InFlight::default());
        let agent =
            Agent::new(client, super::super::testing::clock(), still_wanted, crate::metrics::Metrics::unread(), claims);
        assert_eq!(agent.is_wanted(Key::new("ns", "t"), &Uid("t".into())).await, Some(false));
    }

    #[test]
    fn a_pod_that_greets_again_and_again_with_runs_of_its_own_making_is_asked_about_few() {
        let (mut asked, attached) = (Asked::default(), Attached::default());
        let greetings = (0..1000).map(|n| (0..64).map(|m| unfinished(&format!("run-{n}-{m}"), "t")).collect());
        assert_eq!(greetings.map(|unfinished| asked.admit(unfinished, &attached).len()).sum::<usize>(), UNFINISHED_MAX);
        let mut asked = Asked::default();
        assert_eq!(asked.admit(vec![unfinished("a", "t"), unfinished("a", "t")], &attached).len(), 1);
        assert_eq!(asked.admit(vec![unfinished("a", "t"), unfinished("b", "t")], &attached).len(), 1);
    }

    #[test]
    fn what_is_no_name_of_a_task_is_not_asked_for() {
        let asked = |task| Asked::default().admit(vec![unfinished("a", task)], &Attached::default()).len();
        assert_eq!((asked("a-1.b"), asked("../../../api/v1/secrets")), (1, 0));
    }
}
