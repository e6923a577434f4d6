//! What the stream to a pod tells of live processes there, beside its runs.

use arl_agent::{
    frame,
    message::{
        LIVE_VERSION, ToAgent,
        live::{Event, Request},
    },
};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Bytes;

use crate::runs::LiveReport;

/// Whom to tell, and whether there is a stream.
#[derive(Debug, Default)]
pub(super) struct Activity {
    report: Option<LiveReport>,
    /// The version of the agent, while a stream to it is open.
    version: Option<u32>,
    /// Whether somebody waits for an answer.
    asked: bool,
}

impl Activity {
    /// Tells from now on; returns what has to be sent for it.
    pub(super) fn watch(&mut self, report: LiveReport) -> Bytes {
        self.report = Some(report);
        self.question()
    }

    /// Somebody waits for an answer; returns what has to be sent for it.
    pub(super) fn ask(&mut self) -> Bytes {
        self.asked = self.report.is_some();
        self.question()
    }

    /// Whether somebody waits for an answer.
    pub(super) fn is_asked(&self) -> bool {
        self.asked
    }

    /// A stream was opened.
    pub(super) fn opened(&mut self, version: u32) {
        self.version = Some(version);
    }

    /// What to ask on the stream that is open, if there is one. An agent that does not know the question closes the stream at it.
    pub(super) fn question(&mut self) -> Bytes {
        let Some((report, version)) = self.report.as_ref().zip(self.version) else { return Bytes::new() };
        if version < LIVE_VERSION {
            report.absent();
            self.asked = false;
            return Bytes::new();
        }
        report.unknown(true);
        frame::encode(&ToAgent::Live(Request::WatchActivity)).into()
    }

    /// The agent says this.
    pub(super) fn take(&mut self, event: &Event) {
        let Event::Activity { live, clients, idle_us } = event else { return };
        let Some(report) = &self.report else { return };
        if (*live, *clients) == (0, 0) {
            report.idle(idle_us.map(Duration::from_micros));
        } else {
            report.active();
        }
        self.asked = false;
    }

    /// There is no stream, though the pod may be reached.
    pub(super) fn broken(&mut self, reached: bool) {
        self.version = None;
        if let Some(report) = &self.report {
            report.unknown(reached);
        }
    }

    /// There never will be one.
    pub(super) fn gone(&mut self) {
        (self.version, self.asked) = (None, false);
        if let Some(report) = &self.report {
            report.absent();
        }
    }

    /// Nobody looks after the stream any more.
    pub(super) fn unfollowed(&self) {
        if let Some(report) = &self.report {
            report.unfollowed();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arl_agent::message::VERSION;
    use jiff::Timestamp;

    use super::*;
    use crate::{clock::Clock, runs::LiveState};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn told(live: u32, clients: u32, idle_us: Option<u64>) -> Event {
        Event::Activity { live, clients, idle_us }
    }

    /// One that watches, and what it reports to.
    fn watching(version: Option<u32>) -> (Activity, LiveReport, Bytes) {
        let report = LiveReport::new(Clock::new(|| NOW), Arc::new(|| {}));
        let mut activity = Activity::default();
        if let Some(version) = version {
            activity.opened(version);
        }
        let frame = activity.watch(report.clone());
        (activity, report, frame)
    }

    #[test]
    fn each_stream_asks_an_agent_that_can_answer_and_no_other() {
        let question = frame::encode(&ToAgent::Live(Request::WatchActivity));
        let (mut activity, report, asked) = watching(None);
        assert!(asked.is_empty(), "there is no stream");
        assert_eq!(report.state(), LiveState::Unreached);
        activity.opened(VERSION);
        assert_eq!(activity.question(), question);
        assert_eq!(report.state(), LiveState::Unanswered(NOW));
        for (event, state) in [
            (told(1, 0, None), LiveState::Active),
            (told(0, 0, Some(7)), LiveState::Idle(NOW)),
            (told(0, 1, None), LiveState::Active),
        ] {
            activity.take(&event);
            assert_eq!(report.state(), state, "{event:?}");
        }
        activity.broken(false);
        assert_eq!((report.state(), activity.question()), (LiveState::Unreached, Bytes::new()));

        let (mut activity, report, asked) = watching(Some(LIVE_VERSION - 1));
        assert!(asked.is_empty(), "it would close the stream at it, on which Tasks run");
        assert_eq!((report.state(), activity.ask()), (LiveState::Absent, Bytes::new()));
        assert!(!activity.is_asked(), "nobody waits in vain");
    }

    #[test]
    fn who_waits_for_an_answer_keeps_the_stream_until_there_is_one() {
        let (mut activity, report, _) = watching(None);
        assert!(!activity.is_asked());
        activity.ask();
        activity.broken(true);
        assert!(activity.is_asked());
        assert_eq!(report.state(), LiveState::Unanswered(NOW));
        activity.opened(VERSION);
        activity.take(&told(0, 0, None));
        assert!(!activity.is_asked());
        activity.ask();
        activity.gone();
        assert_eq!((report.state(), activity.is_asked()), (LiveState::Absent, false));
    }
}
