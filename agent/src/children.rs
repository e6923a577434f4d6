//! The processes that the supervisor has started, and how a reaper waits for its children.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    io,
    process::{Child, Command},
    rc::Rc,
    time::Duration,
};

use nix::sys::{
    signal::{SigSet, SigmaskHow, Signal, raise},
    signalfd::{SfdFlags, SignalFd},
};

use crate::tree;

/// How long one waits who waits for nothing.
pub const NEVER: Duration = Duration::from_secs(3600);

/// A descriptor that is readable when a child has ended. The signal stays blocked here: `spawn` starts processes with none blocked.
pub fn watch_children() -> nix::Result<SignalFd> {
    let mask = SigSet::from(Signal::SIGCHLD);
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// Starts a process with no signal blocked. What this thread blocks would otherwise be blocked there, and in all that it starts.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let blocked = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let child = command.spawn();
    blocked.thread_set_mask()?;
    // Of a child that ended meanwhile nothing was queued.
    raise(Signal::SIGCHLD)?;
    child
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
