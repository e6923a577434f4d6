//! What can be decided about a Task.

use arl_crds::{Blame, reason::TaskReason, text::printable};
use jiff::Timestamp;

use crate::{pod::Target, runs::RunControl};

/// Some of what a message says is said by code in the pod.
const MESSAGE_MAX: usize = 2048;

/// How a Task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) reason: TaskReason,
    pub(super) message: String,
    /// Who can do something about it, where it failed.
    pub(super) blame: Option<Blame>,
    /// Whether the pod has to go: something in it could not be ended.
    pub(super) gives_up_pod: bool,
}

impl Verdict {
    pub(super) fn new(reason: TaskReason, message: impl Into<String>) -> Self {
        let message = printable(&message.into(), MESSAGE_MAX);
        Self { reason, message, blame: reason.blame(), gives_up_pod: false }
    }

    /// The same, where more is known than the reason says.
    pub(super) fn blamed(self, blame: Blame) -> Self {
        Self { blame: Some(blame), ..self }
    }
}

/// What the Task is about.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    /// Nothing to do until something changes or is due.
    Rest,
    /// It is not its turn, because.
    Wait(TaskReason),
    /// Its steps are run here; one that is on record as started is only followed.
    Start(Target),
    /// How far its run has come is put on record.
    Record,
    /// Its run is asked for something.
    Ask(RunControl),
    /// Nothing of its run was sent: it waits for its turn again.
    BeginAgain,
    /// It is over.
    Finish(Verdict),
    /// What its status says holds for its present spec too, which is put on record.
    Acknowledge,
    /// It finished long ago: the object goes.
    Expire,
}

/// What to do, in full.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) decision: Decision,
    pub(super) look_again: Option<Timestamp>,
}

impl From<Decision> for Plan {
    fn from(decision: Decision) -> Self {
        Self { decision, look_again: None }
    }
}

/// It is over, for this reason.
pub(super) fn finish(reason: TaskReason, message: impl Into<String>) -> Plan {
    Decision::Finish(Verdict::new(reason, message)).into()
}
