//! The processes that the supervisor has started, and how a reaper waits for its children.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc, time::Duration};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};

use crate::tree;

/// How long one waits who waits for nothing.
pub const NEVER: Duration = Duration::from_secs(3600);

/// A descriptor that is readable when a child has ended. The signal stays blocked; commands start with none blocked.
pub fn watch_children() -> nix::Result<SignalFd> {
    let mask = SigSet::from(Signal::SIGCHLD);
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// The supervisor's own processes: those of runs, and those of live processes. What else descends from it has lost its keeper.
#[derive(Clone, Debug, Default)]
pub struct Children(Rc<RefCell<BTreeSet<i32>>>);

impl Children {
    /// This one was started.
    pub fn insert(&self, pid: i32) {
        self.0.borrow_mut().insert(pid);
    }

    /// This one is no longer needed: what it started may be ended.
    pub fn remove(&self, pid: i32) {
        self.0.borrow_mut().remove(&pid);
    }

    /// Waits for those that have ended; orphans are among them.
    pub fn reap(&self) {
        while let Some((pid, _)) = tree::reap() {
            self.remove(pid);
        }
    }

    /// Ends whatever has come to this process since its keeper was killed; returns what cannot be ended.
    pub fn kill_orphans(&self) -> Vec<String> {
        let spared = self.0.borrow().clone();
        tree::kill_all(&spared, &mut |pid, _| self.remove(pid))
    }
}
