//! One run, followed to its end: what its stream tells, what is asked of it, and how long it may take.

use std::{
    ops::ControlFlow::{self, Break, Continue},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::timeout_at,
};
use tokio_tungstenite::tungstenite::Bytes;

use super::{
    attached::{Attach, StreamCommand, StreamEvent},
    decode,
    limit::{Limit, PATIENCE},
    sent::{self, Sent},
    streams::Agent,
};
use crate::runs::{
    report::Report,
    run::{Leftovers, Request, RunControl, RunEnd, more_than},
};

/// What the pod has on record of a run whose container was restarted is there as soon as the container is.
const SETTLING: Duration = Duration::from_secs(5);

/// How far the run has come, as far as this process knows. The frame that starts it holds the contents of its files, and is kept only until
/// the agent has them.
enum Stage {
    /// Nothing of it is in the pod.
    Waiting(Bytes),
    /// It was sent then, and may run.
    Sent(Bytes, Timestamp),
    /// The agent has it on record: it may only be followed.
    Started,
}

enum Next {
    StreamEvent(Option<StreamEvent>),
    Asked(RunControl),
}

/// Follows one run.
pub(super) struct Follower<'a> {
    agent: &'a Arc<Agent>,
    report: &'a Report,
    run: Sent,
    stage: Stage,
    asked: RunControl,
    limit: Limit,
}

impl<'a> Follower<'a> {
    /// Fails, in words, for what no pod can be sent.
    pub(super) fn new(agent: &'a Arc<Agent>, request: Request, report: &'a Report) -> Result<Self, String> {
        let run = Sent::of(&request).ok_or("the Task's uid is none")?;
        let (stage, limit) = if request.started_at.is_some() {
            (Stage::Started, Limit::new(run.timeout + PATIENCE))
        } else {
            (Stage::Waiting(sent::start(request, &run.id)?), Limit::none())
        };
        Ok(Self { agent, report, run, stage, asked: RunControl::Continue, limit })
    }

    /// Resolves with the run's end.
    pub(super) async fn follow(mut self, mut control: watch::Receiver<RunControl>) -> (RunEnd, Leftovers) {
        let mut answers = self.attach();
        loop {
            let asked = self.asked;
            let next = async {
                tokio::select! {
                    biased;
                    event = answers.recv() => Next::StreamEvent(event),
                    control = more_than(&mut control, asked) => Next::Asked(control),
                }
            };
            let flow = match timeout_at(self.limit.at(), next).await {
                Ok(Next::StreamEvent(Some(event))) => self.take(event),
                Ok(Next::StreamEvent(None)) => {
                    answers = self.attach();
                    Continue(())
                }
                Ok(Next::Asked(control)) => self.ask(control),
                Err(_) => self.late(),
            };
            if let Break(end) = flow {
                return end;
            }
        }
    }

    fn attach(&self) -> mpsc::Receiver<StreamEvent> {
        let (events, receive) = mpsc::channel(4);
        let start = match &self.stage {
            Stage::Waiting(start) | Stage::Sent(start, _) => Some(start.clone()),
            Stage::Started => None,
        };
        let attach = Attach { run: self.run.id.clone(), start, steps: self.run.steps, taken: 0, sent: false, events };
        self.agent.command(&self.run.target, StreamCommand::Attach(attach));
        receive
    }

    fn take(&mut self, event: StreamEvent) -> ControlFlow<(RunEnd, Leftovers)> {
        let now = self.agent.clock.now();
        match event {
            StreamEvent::Message(message) => {
                decode::take(message, &self.run, self.report, now)?;
                if !matches!(self.stage, Stage::Started) {
                    self.stage = Stage::Started;
                    if self.asked != RunControl::Cancel {
                        self.limit.begin(self.run.timeout + PATIENCE);
                    }
                }
            }
            StreamEvent::Sent => {
                self.report.reached();
                if self.asked != RunControl::Settle {
                    self.limit.only_reached();
                }
                if let Stage::Waiting(start) = &self.stage {
                    self.stage = Stage::Sent(start.clone(), now);
                }
                // It may have to wait for the end of a run before it, whose Task was deleted.
                self.limit.lower(self.run.timeout + 2 * PATIENCE);
                self.limit.reached();
            }
            StreamEvent::Obstacle { message, reached } => {
                if reached {
                    self.limit.reached();
                } else {
                    self.limit.unreached();
                }
                self.report.obstacle(&message, now);
            }
            StreamEvent::Gone(message) => {
                return Break(match self.stage {
                    Stage::Started => (RunEnd::Lost(message), Leftovers::Unknown),
                    Stage::Waiting(_) | Stage::Sent(..) => (RunEnd::NotStarted(message), Leftovers::None),
                });
            }
        }
        Continue(())
    }

    fn ask(&mut self, control: RunControl) -> ControlFlow<(RunEnd, Leftovers)> {
        self.asked = control;
        match control {
            RunControl::Continue => {}
            RunControl::Settle if !self.may_run() => return Break((RunEnd::NotSent, Leftovers::None)),
            // The kubelet has told of it: the node is reached, whatever the container is.
            RunControl::Settle => self.limit.lower_for_all(SETTLING),
            RunControl::Cancel => {
                if self.may_run() {
                    self.limit.lower(PATIENCE);
                } else {
                    self.limit.lower_for_all(PATIENCE);
                }
                self.agent.command(&self.run.target, StreamCommand::Cancel(self.run.id.clone()));
            }
        }
        Continue(())
    }

    /// It has taken longer than it may.
    fn late(&mut self) -> ControlFlow<(RunEnd, Leftovers)> {
        if self.asked != RunControl::Settle && self.limit.try_again() {
            self.agent.command(&self.run.target, StreamCommand::Reopen);
            return Continue(());
        }
        if let Stage::Sent(_, at) = self.stage {
            self.report.started(at);
        }
        let unanswered = || Leftovers::Survivors("the agent in the pod does not answer".into());
        let left = if self.may_run() { unanswered() } else { Leftovers::None };
        Break(match self.asked {
            RunControl::Continue => (RunEnd::TimedOut, left),
            RunControl::Settle => (RunEnd::Lost("the container was started again".into()), Leftovers::None),
            RunControl::Cancel => (RunEnd::Cancelled, left),
        })
    }

    fn may_run(&self) -> bool {
        !matches!(self.stage, Stage::Waiting(_))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request as HttpRequest, Response};
    use kube::{Client, client::Body};
    use tower::service_fn;

    use super::{super::testing, *};
    use crate::{
        metrics::Metrics,
        object::{Key, Uid},
        runs::{Quota, Share},
    };

    /// A run, and what it is followed by where the API server says that no stream can be opened now.
    fn unreached() -> (Arc<Agent>, Report, Request) {
        let api = service_fn(|_: HttpRequest<Body>| async {
            Ok::<_, Infallible>(Response::builder().status(503).body(Body::empty()).unwrap())
        });
        let agent = testing::agent(Client::new(api, "ns"), &Metrics::unread());
        let report = Report::new(Share::new(&Arc::new(Quota::new(1, 1)), "ns"), Arc::new(|| {}));
        let request = Request {
            task: Key::new("ns", "t"),
            task_uid: Uid("t".into()),
            created: None,
            steps: Vec::new(),
            sandbox_env: std::collections::BTreeMap::new(),
            room: None,
            timeout: Duration::from_secs(30),
            target: testing::target("ns", "p"),
            started_at: None,
        };
        (agent, report, request)
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_no_stream_could_be_opened_for_was_not_sent_once_its_container_is_started_again() {
        let (agent, report, request) = unreached();
        let (asks, control) = watch::channel(RunControl::Continue);
        let restart = async {
            tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_secs(7)).await;
            asks.send_replace(RunControl::Settle);
        };
        let follower = Follower::new(&agent, request, &report).unwrap();
        let (end, ()) = tokio::join!(follower.follow(control), restart);
        assert_eq!(end, (RunEnd::NotSent, Leftovers::None));
        assert!(report.lock().obstacle.is_some(), "it was tried");
        assert_eq!(report.lock().started_at, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_sent_may_have_run_in_the_container_before() {
        for (is_started, is_sent) in [(true, false), (false, true)] {
            let (agent, report, request) = unreached();
            let mut follower = Follower::new(
                &agent,
                Request { started_at: is_started.then_some(Timestamp::UNIX_EPOCH), ..request },
                &report,
            )
            .unwrap();
            if is_sent {
                assert!(follower.take(StreamEvent::Sent).is_continue());
            }
            assert!(follower.ask(RunControl::Settle).is_continue(), "what the pod has on record is read first");
            assert!(matches!(follower.late(), Break((RunEnd::Lost(_), Leftovers::None))), "{is_started} {is_sent}");
        }
    }
}
