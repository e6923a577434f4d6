//! Steps through the agent in the pod: one exec stream a pod, opened when a Sandbox gets it, shared by all Tasks of the Sandbox.
//!
//! A stream is only a way to the run: it may break, and this process may end, while the run goes on in the pod. Whoever comes
//! back follows it and gets all of it. `arl_agent` says how the two talk.

mod activity;
mod attached;
mod decode;
mod follow;
mod limit;
mod lull;
mod opening;
mod sent;
mod stream;
mod streams;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use arl_agent::message::{RunId, ToAgent};
use futures::{FutureExt, future::BoxFuture};
use tokio::sync::watch;

pub use streams::{Agent, StillWanted};

use super::{
    LiveReport,
    report::Report,
    run::{Leftovers, Request, RunControl, RunEnd},
    runner::Runner,
};
use crate::{object::Uid, pod::Target};
use attached::StreamCommand;
use follow::Follower;

impl Runner for Arc<Agent> {
    fn run<'a>(
        &'a self,
        request: Request,
        report: &'a Report,
        control: watch::Receiver<RunControl>,
    ) -> BoxFuture<'a, (RunEnd, Leftovers)> {
        let follower = Follower::new(self, request, report);
        async move {
            match follower {
                Ok(follower) => follower.follow(control).await,
                Err(message) => (RunEnd::NotStarted(message), Leftovers::None),
            }
        }
        .boxed()
    }

    fn prepare(&self, target: &Target, live: &LiveReport) {
        self.watch_live(target, live);
    }

    fn connect(&self, target: &Target) -> bool {
        self.open(target)
    }

    fn ask_live(&self, target: &Target) {
        self.command(target, StreamCommand::AskLive);
    }

    fn forget(&self, target: &Target, task: &Uid) {
        // Where no stream is open, none is opened for this.
        if let Some((run, stream)) = RunId::new(&task.0).zip(self.lock().get(&target.pod_uid)) {
            stream.send(StreamCommand::Deferred(ToAgent::Forget { run }));
        }
    }
}

#[cfg(test)]
mod tests {
    use arl_agent::message::{LIVE_VERSION, VERSION, live};
    use arl_client::stream::testing::agents_of;
    use jiff::Timestamp;
    use tokio::sync::mpsc;

    use super::{
        testing::{agent, clock, target},
        *,
    };
    use crate::{metrics::Metrics, runs::LiveState};

    /// What an agent of this version is told after a Sandbox got its pod and a run is to be ended; and what is known of live processes then.
    async fn told(version: u32) -> (Vec<ToAgent>, LiveState) {
        let (client, mut told) = agents_of(version).await.unwrap();
        let agent = agent(client, &Metrics::unread());
        let target = target("ns", "p");
        let (wake, mut changes) = mpsc::unbounded_channel();
        let report = LiveReport::new(clock(), Arc::new(move || _ = wake.send(())));
        agent.prepare(&target, &report);
        agent.ask_live(&target);
        changes.recv().await.unwrap();
        let run = RunId::new("a").unwrap();
        agent.command(&target, StreamCommand::Cancel(run.clone()));
        let mut all = Vec::new();
        while all.last() != Some(&ToAgent::Cancel { run: run.clone() }) {
            all.push(told.recv().await.unwrap());
        }
        (all, report.state())
    }

    #[tokio::test]
    async fn a_stream_that_was_opened_before_a_sandbox_got_the_pod_is_its_stream() {
        let (client, mut told) = agents_of(VERSION).await.unwrap();
        let metrics = Metrics::unread();
        let agent = agent(client, &metrics);
        let target = target("ns", "p");
        agent.connect(&target);
        let opened = async {
            while metrics.open_streams.get() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), opened).await.unwrap();
        agent.connect(&target);
        agent.prepare(&target, &LiveReport::new(clock(), Arc::new(|| {})));
        assert_eq!(told.recv().await, Some(ToAgent::Live(live::Request::WatchActivity)), "it is the Sandbox's now");
        assert_eq!(metrics.run_streams.with(["opened"]).get(), 1);
    }

    /// One of version 1 closes the stream at what it does not know, and with it the way of its Tasks.
    #[tokio::test]
    async fn a_pod_of_an_older_operator_is_told_of_its_tasks_only() {
        let (all, state) = told(LIVE_VERSION - 1).await;
        assert!(matches!(&all[..], [ToAgent::Cancel { .. }]), "{all:?}");
        assert_eq!(state, LiveState::Absent);
        let (all, state) = told(VERSION).await;
        assert!(all.contains(&ToAgent::Live(live::Request::WatchActivity)), "{all:?}");
        assert_eq!(state, LiveState::Unanswered(Timestamp::UNIX_EPOCH));
    }
}
