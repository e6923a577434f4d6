//! The runs of a pod that somebody waits for, and what is said on its stream.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use arl_agent::{
    frame,
    message::{FromAgent, RunId, ToAgent},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_tungstenite::tungstenite::Bytes;

use super::activity::Activity;
use crate::runs::LiveReport;

/// A run that does not take what is said of it would stall the others of its pod.
const TAKING_MAX: Duration = Duration::from_secs(10);

/// More runs than a pod can have in need of an end: they are asked again when they are found unfinished again.
const CANCELLED_MAX: usize = 64;
/// What the agent says of a run besides the ends of its steps: that it was started, twice where it is asked for just then, that a step was
/// interrupted, and how it ended. Some more, for an agent of a later version.
const BESIDE_STEPS: usize = 8;
/// What nobody waits for does not pile up while there is no stream.
const DEFERRED_MAX: usize = 16 * 1024;

/// What a stream delivers to a run.
pub(super) enum StreamEvent {
    /// It was sent to the agent, on a stream that is open.
    Sent,
    /// A message of the agent.
    Message(FromAgent),
    /// The agent cannot be reached now.
    Obstacle {
        /// Why.
        message: String,
        /// Whether the pod is reached, and something in it stands in the way.
        reached: bool,
    },
    /// The agent is gone for good; why.
    Gone(String),
}

/// A run that wants to be started, or only followed.
pub(super) struct Attach {
    pub(super) run: RunId,
    /// The frame that starts it, until it is known to have been started.
    pub(super) start: Option<Bytes>,
    /// How many steps it has.
    pub(super) steps: usize,
    /// How many messages were taken of it on this stream.
    pub(super) taken: usize,
    /// Whether [`StreamEvent::Sent`] was delivered for this stream.
    pub(super) sent: bool,
    pub(super) events: mpsc::Sender<StreamEvent>,
}

/// What a stream is to do.
pub(super) enum StreamCommand {
    /// Start or follow a run.
    Attach(Attach),
    /// End a run.
    Cancel(RunId),
    /// Send this with what is sent next: nobody waits for it.
    Deferred(ToAgent),
    /// A Sandbox has the pod: report live processes from now on.
    WatchLive {
        report: LiveReport,
        /// Whether the claim was one of many at once.
        in_burst: bool,
    },
    /// Ask whether there are live processes; somebody waits for the answer.
    AskLive,
    /// Open another stream: this one is of no use.
    Reopen,
}

/// The runs of a pod that somebody waits for.
#[derive(Default)]
pub(super) struct Attached {
    pub(super) runs: BTreeMap<RunId, Attach>,
    /// Those to be ended, until they have.
    cancelled: BTreeSet<RunId>,
    /// Frames that go out with the next one.
    deferred: Vec<u8>,
    pub(super) activity: Activity,
    /// Whether a Sandbox has the pod whose claim was alone, or the first of a burst: its stream need not wait for the others.
    pub(super) is_first_claim: bool,
}

impl Attached {
    /// Notes a command and returns what has to be sent for it.
    pub(super) fn take(&mut self, command: StreamCommand) -> Bytes {
        match command {
            // Its run was given up while the stream was being opened: nobody would follow it, or end it.
            StreamCommand::Attach(attach) if attach.events.is_closed() => Bytes::new(),
            StreamCommand::Attach(attach) => {
                let frame = ask(&attach);
                self.runs.insert(attach.run.clone(), attach);
                frame
            }
            StreamCommand::Cancel(run) => {
                let frame = cancel(&run);
                // Some of them are those that the agent itself speaks of.
                if self.cancelled.len() < CANCELLED_MAX {
                    self.cancelled.insert(run);
                }
                frame
            }
            StreamCommand::Deferred(message) => {
                if self.deferred.len() < DEFERRED_MAX {
                    self.deferred.extend(frame::encode(&message));
                }
                Bytes::new()
            }
            StreamCommand::WatchLive { report, in_burst } => {
                self.is_first_claim = !in_burst;
                self.activity.watch(report)
            }
            StreamCommand::AskLive => self.activity.ask(),
            StreamCommand::Reopen => Bytes::new(),
        }
    }

    /// `frame` with what was to be mentioned; nothing, where there is no frame.
    pub(super) fn with_deferred(&mut self, frame: Bytes) -> Bytes {
        if frame.is_empty() || self.deferred.is_empty() {
            return frame;
        }
        let mut frames = std::mem::take(&mut self.deferred);
        frames.extend_from_slice(&frame);
        frames.into()
    }

    /// What has to be sent on a new stream.
    pub(super) fn all(&mut self) -> Vec<u8> {
        self.leave_out_abandoned();
        self.runs.values_mut().for_each(|attach| (attach.sent, attach.taken) = (false, 0));
        let cancels = self.cancelled.iter().map(cancel);
        let question = self.activity.question();
        self.runs.values().map(ask).chain(cancels).chain([question]).flatten().collect()
    }

    /// Whether nobody waits for the pod.
    pub(super) fn is_idle(&mut self) -> bool {
        self.leave_out_abandoned();
        self.runs.is_empty() && !self.activity.is_asked()
    }

    /// Whether one of them has been started, so that the agent must have been there.
    pub(super) fn has_started(&self) -> bool {
        self.runs.values().any(|attach| attach.start.is_none())
    }

    fn leave_out_abandoned(&mut self) {
        self.runs.retain(|_, attach| !attach.events.is_closed());
    }

    /// Gives a message to the run that it is about; returns whether there is one that can still expect it.
    pub(super) async fn deliver(&mut self, message: FromAgent) -> bool {
        let (run, is_last) = match &message {
            FromAgent::Started { run, .. } | FromAgent::Step { run, .. } => (run.clone(), false),
            FromAgent::Ended { run, .. } | FromAgent::Unknown { run } => (run.clone(), true),
            FromAgent::Live(event) => {
                self.activity.take(event);
                return false;
            }
            FromAgent::Hello { .. } | FromAgent::Refused(_) | FromAgent::Pong => return false,
        };
        if is_last {
            self.cancelled.remove(&run);
        }
        let Some(attach) = self.runs.get_mut(&run).filter(|a| a.taken < a.steps + BESIDE_STEPS) else { return false };
        attach.taken += 1;
        // From here on it is only followed, and its contents need no memory.
        attach.start = None;
        let taken = timeout(TAKING_MAX, attach.events.send(StreamEvent::Message(message))).await;
        if is_last || !matches!(taken, Ok(Ok(()))) {
            self.runs.remove(&run);
        }
        true
    }

    /// What was asked for is on its way.
    pub(super) async fn sent(&mut self) {
        for attach in self.runs.values_mut().filter(|attach| !attach.sent) {
            attach.sent = true;
            let _ = timeout(TAKING_MAX, attach.events.send(StreamEvent::Sent)).await;
        }
    }

    pub(super) async fn tell(&self, event: impl Fn() -> StreamEvent) {
        for attach in self.runs.values() {
            let _ = timeout(TAKING_MAX, attach.events.send(event())).await;
        }
    }
}

fn ask(attach: &Attach) -> Bytes {
    attach.start.clone().unwrap_or_else(|| frame::encode(&ToAgent::Follow { run: attach.run.clone() }).into())
}

fn cancel(run: &RunId) -> Bytes {
    frame::encode(&ToAgent::Cancel { run: run.clone() }).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_was_given_up_before_its_turn_is_not_sent() {
        let (events, receiver) = mpsc::channel(4);
        let start = Some(Bytes::from_static(b"start"));
        let attach = Attach { run: RunId::new("a").unwrap(), start, steps: 1, taken: 0, sent: false, events };
        drop(receiver);
        let mut attached = Attached::default();
        assert!(attached.take(StreamCommand::Attach(attach)).is_empty());
        assert!(attached.runs.is_empty());
    }
}
