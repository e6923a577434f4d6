//! The seam between what a Task is and how commands get into a pod.

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::{
    live::LiveReport,
    report::Report,
    run::{Leftovers, Request, RunControl, RunEnd},
};
use crate::{object::Uid, pod::Target};

/// Executes the steps of a Task.
pub trait Runner: Send + Sync + 'static {
    /// Runs the steps in order, until one fails; reports as it goes, and heeds `control`. Dropping the future lets go of the run
    /// without ending it.
    fn run<'a>(
        &'a self,
        request: Request,
        report: &'a Report,
        control: watch::Receiver<RunControl>,
    ) -> BoxFuture<'a, (RunEnd, Leftovers)>;

    /// A Sandbox has this pod: Tasks for it may come. What is heard of live processes there goes to `live`.
    fn prepare(&self, target: &Target, live: &LiveReport);

    /// A Sandbox may get this pod soon: what takes time is done now. False where there is no room for it.
    fn connect(&self, _: &Target) -> bool {
        true
    }

    /// Somebody waits to hear whether there are live processes in a pod that was prepared.
    fn ask_live(&self, target: &Target);

    /// The result of a run is on record, or nobody wants it: what the pod keeps of it may go.
    fn forget(&self, target: &Target, task: &Uid);
}
