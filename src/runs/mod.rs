//! The runs in flight: a run is one Task's steps being executed in one pod.
//!
//! Reconcile starts a run, looks at it and ends it, and never waits for a command. A run wakes its Task when it begins and when
//! it is over; what is heard of live processes in a pod wakes its Sandbox. What executes the steps is a [`Runner`]: [`Agent`] through the agent in the pod, [`Exec`] through plain
//! pods/exec, [`ByMode`] whichever the pod was made for.

mod agent;
mod by_mode;
mod contents;
mod exec;
mod exec_status;
mod live;
mod quota;
mod registry;
mod report;
mod run;
mod runner;
mod script;
#[cfg(test)]
pub(crate) mod testing;

pub use agent::{Agent, StillWanted};
pub use by_mode::ByMode;
pub use contents::{Contents, Room};
pub use exec::Exec;
pub use live::{LiveReport, LiveState, LiveView};
pub use quota::{Quota, Share};
pub use registry::{Orphan, RunView, Runs};
pub use report::{Progress, Report, StepRun};
pub use run::{Bounds, Ended, Leftovers, Request, RunControl, RunEnd, SHORT_TASK, StepEnd};
pub use runner::Runner;
