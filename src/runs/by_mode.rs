//! The runner that takes for each pod the one it was made for.

use std::sync::Arc;

use arl_crds::ExecutorMode;
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::{
    agent::Agent,
    exec::Exec,
    live::LiveReport,
    report::Report,
    run::{Leftovers, Request, RunControl, RunEnd},
    runner::Runner,
};
use crate::object::Uid;
use crate::pod::Target;

/// Through the agent or through plain exec.
pub struct ByMode {
    /// For pods that have the agent.
    pub agent: Arc<Agent>,
    /// For all others.
    pub exec: Exec,
}

impl ByMode {
    fn of(&self, target: &Target) -> &dyn Runner {
        match target.mode {
            ExecutorMode::Agent => &self.agent,
            ExecutorMode::Exec => &self.exec,
        }
    }
}

impl Runner for ByMode {
    fn run<'a>(
        &'a self,
        request: Request,
        report: &'a Report,
        control: watch::Receiver<RunControl>,
    ) -> BoxFuture<'a, (RunEnd, Leftovers)> {
        match request.target.mode {
            ExecutorMode::Agent => self.agent.run(request, report, control),
            ExecutorMode::Exec => self.exec.run(request, report, control),
        }
    }

    fn prepare(&self, target: &Target, live: &LiveReport) {
        self.of(target).prepare(target, live);
    }

    fn connect(&self, target: &Target) -> bool {
        self.of(target).connect(target)
    }

    fn ask_live(&self, target: &Target) {
        self.of(target).ask_live(target);
    }

    fn forget(&self, target: &Target, task: &Uid) {
        self.of(target).forget(target, task);
    }
}
