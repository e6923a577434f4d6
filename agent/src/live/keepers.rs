//! The keepers of processes and calls: reports, those that wait for the next job, and those that are lost.

use arl_agent::message::live::{Cause, Id};

use super::{Live, handle::Keeper};

/// Keepers that wait for the next process.
const SPARE_MAX: usize = 2;

impl Live {
    /// One that takes a job.
    pub(super) fn keeper(&mut self) -> std::io::Result<Keeper> {
        while let Some(mut keeper) = self.spare.pop() {
            if keeper.is_there() {
                return Ok(keeper);
            }
        }
        Keeper::start(&self.directory)
    }

    /// Takes what a keeper reports, or its end.
    pub(super) fn read_keeper(&mut self, id: Id) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let Some(keeper) = &mut process.keeper else { return };
        keeper.read();
        let mut is_free = false;
        while let Some(report) = process.keeper.as_mut().and_then(Keeper::take) {
            is_free |= process.take(report);
        }
        let is_open = process.keeper.as_ref().is_some_and(|keeper| keeper.peer().is_open());
        if is_free && is_open {
            // Dropping it ends it.
            let keeper = process.keeper.take();
            self.spare.extend(keeper.filter(|_| self.spare.len() < SPARE_MAX));
        } else if !is_open && process.is_running() {
            self.lose(id, None);
        } else if !is_open {
            process.keeper = None;
        }
    }

    /// Gives up keepers that should have reported an end by now: somebody has stopped them.
    pub(super) fn lose_overdue(&mut self) {
        let overdue = |(id, process): (&Id, &super::Process)| Some((*id, process.overdue()?));
        let overdue: Vec<_> = self.processes.iter().filter_map(overdue).collect();
        for (id, cause) in overdue {
            self.lose(id, Some(cause));
        }
    }

    /// Ends a keeper that may still be there. What it leaves behind is ended here, where it comes to: this process is the next
    /// reaper above.
    fn lose(&mut self, id: Id, cause: Option<Cause>) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        if let Some(keeper) = process.keeper.take() {
            self.children.remove(keeper.pid);
        }
        process.lost(cause);
        self.children.kill_orphans();
    }
}
