//! A runner for tests of those who have one and start no run.

use futures::{FutureExt, future::BoxFuture};
use tokio::sync::watch;

use super::{
    live::LiveReport,
    report::Report,
    run::{Leftovers, Request, RunControl, RunEnd},
    runner::Runner,
};
use crate::{object::Uid, pod::Target};

/// Its runs go on for ever.
pub struct Idle;

impl Runner for Idle {
    fn run<'a>(
        &'a self,
        _: Request,
        _: &'a Report,
        _: watch::Receiver<RunControl>,
    ) -> BoxFuture<'a, (RunEnd, Leftovers)> {
        std::future::pending().boxed()
    }

    fn prepare(&self, _: &Target, _: &LiveReport) {}

    fn ask_live(&self, _: &Target) {}

    fn forget(&self, _: &Target, _: &Uid) {}
}
