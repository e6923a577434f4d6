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
mod sent;
mod stream;
mod streams;

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
                Some(follower) => follower.follow(control).await,
                None => (RunEnd::NotStarted("the Task's uid is none".into()), Leftovers::None),
            }
        }
        .boxed()
    }

    fn prepare(&self, target: &Target, live: &LiveReport) {
        self.watch_live(target, live);
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
