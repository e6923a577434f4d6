//! What will happen without the operator's doing, and when.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use arl_operator::runs::RunEnd;

use crate::{agent::RunId, outages::Outage, users::Deed};

/// Something due.
#[derive(Clone, Debug)]
pub enum Action {
    /// The kubelet's next look at the pod with this uid.
    Kubelet(crate::kubelet::PodEvent, String),
    /// The garbage collector looks at everything.
    CollectGarbage,
    /// The namespace controller empties a namespace that is going.
    EmptyNamespace(String),
    /// The step that a run is at ends.
    EndStep(RunId),
    /// A run's time is over.
    EndRun(RunId, RunEnd),
    /// A live process in this pod ends.
    EndLive(String, u64),
    /// A person does something.
    User(Deed),
    /// An operator process starts.
    Start,
    /// Another operator process starts beside those that live.
    Second,
    /// An operator process learns that another one leads, and ends.
    Depose(usize),
    /// One of the operator processes stands still for this long.
    Pause(Duration),
    /// It goes on.
    Resume(usize),
    /// The operators' wall clock jumps by so many milliseconds.
    ClockJump(i64),
    /// Calls are refused for so long, and then no more.
    Outage(Outage, Duration),
    EndOutage(Outage),
    /// A node does not answer for so long; that is noticed; and it answers again.
    NodeAway(String, Duration),
    NodeUnready(String),
    NodeBack(String),
    /// Old versions are forgotten.
    Compact,
}

#[derive(Debug, Default)]
pub struct Agenda {
    due: BTreeMap<(Instant, u64), Action>,
    count: u64,
}

impl Agenda {
    pub fn after(&mut self, delay: Duration, action: Action) {
        self.count += 1;
        self.due.insert((Instant::now() + delay, self.count), action);
    }

    /// When the next thing is due.
    pub fn next(&self) -> Option<Instant> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    /// What is due now.
    pub fn pop(&mut self) -> Option<Action> {
        let (at, _) = self.due.keys().next()?;
        (*at <= Instant::now()).then(|| self.due.pop_first().map(|(_, action)| action)).flatten()
    }

    /// Drops what only disturbs.
    pub fn calm_down(&mut self) {
        let disturbs = |a: &Action| {
            use Action::{ClockJump, Compact, NodeAway, Outage, Pause, Second};
            matches!(a, Second | Pause(_) | ClockJump(_) | Compact | Outage(..) | NodeAway(..))
        };
        self.due.retain(|_, action| !disturbs(action));
    }

    /// Whether people are done.
    pub fn users_are_done(&self) -> bool {
        !self.due.values().any(|a| matches!(a, Action::User(_)))
    }
}
