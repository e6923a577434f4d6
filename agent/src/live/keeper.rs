//! `live`: keeps a live process for the supervisor at the other end of its standard input, and is the reaper of all that the
//! process starts; or does a file call. It takes the next job once nothing is left of the one before.

use std::{
    collections::BTreeSet,
    os::{fd::AsFd, unix::net::UnixStream},
    sync::Arc,
    time::{Duration, Instant},
};

use arl_agent::{
    frame,
    message::live::{Cause, GRACE_MS, Id, Status},
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::SignalFd,
    },
};

use super::{
    files,
    inbox::Inbox,
    job::{self, Job, Report, Work},
    spawn::{Running, go_to, start},
    user::Identity,
};
use crate::{
    children::{NEVER, watch_children},
    memory, tree,
};

/// What a terminal sends to its foreground, which may be this process.
const OF_TERMINALS: [Signal; 6] =
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];

/// Does the jobs that arrive on standard input, until there are no more.
pub fn keep() -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let control = std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| failed(&error))?;
    nix::sys::prctl::set_child_subreaper(true).map_err(|error| failed(&error))?;
    let children = watch_children().map_err(|error| failed(&error))?;
    // Blocked, and caught where one comes while a process is started with none blocked. What is ignored, processes would inherit.
    OF_TERMINALS.into_iter().collect::<SigSet>().thread_block().map_err(|error| failed(&error))?;
    for signal in OF_TERMINALS {
        signal_hook::flag::register(signal as i32, Arc::default()).map_err(|error| failed(&error))?;
    }
    let mut keeper = Keeper { inbox: Inbox::new(UnixStream::from(control)), children };
    while let Some(job) = keeper.next_job() {
        let is_last = job.user.is_some() || matches!(&job.work, Work::Process(program) if program.tty);
        keeper.run(job);
        if is_last || !keeper.inbox.is_open() {
            break;
        }
        keeper.report(&Report::Free);
    }
    Ok(())
}

struct Keeper {
    inbox: Inbox,
    children: SignalFd,
}

impl Keeper {
    fn next_job(&mut self) -> Option<Job> {
        loop {
            match self.inbox.take() {
                Some(job::Command::Job(job)) => return Some(job),
                // Of a job that is over.
                Some(_) => {}
                None if !self.inbox.is_open() => return None,
                None => self.inbox.read(),
            }
        }
    }

    fn report(&mut self, report: &Report) {
        self.inbox.answer(&frame::encode(report));
    }

    fn run(&mut self, job: Job) {
        let descriptors = self.inbox.descriptors();
        let Job { id, home, user, work } = job;
        let identity = user.as_deref().map(Identity::find).transpose();
        match (identity, work) {
            (Err(error), _) => self.report(&Report::Failed(error.bounded())),
            (Ok(identity), Work::Process(program)) => {
                let deadline = program.timeout_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)));
                match start(id, &program, &home, identity.as_ref(), descriptors) {
                    Err(error) => self.report(&Report::Failed(error.bounded())),
                    Ok(running) => self.follow(running, deadline, program.grace_ms),
                }
            }
            (Ok(identity), Work::Call(action)) => {
                let done = identity
                    .map_or(Ok(()), |identity| identity.assume())
                    // Paths from the root need no other place.
                    .and_then(|()| {
                        go_to(&home, None).or_else(|error| if action.is_absolute() { Ok(()) } else { Err(error) })
                    })
                    .and_then(|()| files::call(&action, descriptors, &mut || self.is_committed(id)));
                self.report(&done.map_or_else(|error| Report::Failed(error.bounded()), Report::Done));
            }
        }
    }

    /// Whether the supervisor says that the input of a call was all of it.
    fn is_committed(&mut self, id: Id) -> bool {
        loop {
            match self.inbox.take() {
                Some(job::Command::Commit { id: other }) if other == id => return true,
                Some(job::Command::Kill { id: other, .. }) if other == id => return false,
                Some(_) => {}
                None if !self.inbox.is_open() => return false,
                None => self.inbox.read(),
            }
        }
    }

    fn follow(&mut self, mut running: Running, deadline: Option<Instant>, grace_ms: u64) {
        self.report(&Report::Started { pid: running.pid.as_raw_nonzero().get() });
        let (cause, survivors) = self.until_over(&mut running, deadline, grace_ms);
        let (status, has_failed) = match running.status.map(|how| (how.exit_status(), how.terminating_signal())) {
            Some((Some(code), _)) => (Status::Exited(code), code != 0),
            Some((None, Some(signal))) => (Status::Signalled(signal), true),
            _ => (Status::Lost("the process could not be ended".into()), true),
        };
        let is_out_of_memory =
            has_failed && running.kills_before.zip(memory::kills()).is_some_and(|(before, now)| now > before);
        let cause = cause.or(is_out_of_memory.then_some(Cause::OutOfMemory));
        self.report(&Report::Exited { status, cause, survivors });
        self.outlive(running);
    }

    /// Until the process has ended, or has been ended with all that it started.
    fn until_over(
        &mut self,
        running: &mut Running,
        deadline: Option<Instant>,
        grace_ms: u64,
    ) -> (Option<Cause>, Vec<String>) {
        loop {
            self.wait(running, deadline.unwrap_or_else(|| Instant::now() + NEVER));
            if running.status.is_some() {
                return (None, Vec::new());
            }
            if let Some((grace_ms, cause)) = self.requested_end(running) {
                return (Some(cause), self.end_tree(running, grace_ms));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return (Some(Cause::TimedOut), self.end_tree(running, grace_ms));
            }
        }
    }

    /// What the process left in the background lives on, until it is to end.
    fn outlive(&mut self, mut running: Running) {
        while tree::has_children() {
            self.wait(&mut running, Instant::now() + NEVER);
            if let Some((grace_ms, _)) = self.requested_end(&running) {
                self.end_tree(&mut running, grace_ms);
                if !self.inbox.is_open() {
                    return;
                }
            }
        }
    }

    /// Passes signals on; returns whether the process is to end, and how. Without a supervisor it is.
    fn requested_end(&mut self, running: &Running) -> Option<(u64, Cause)> {
        while let Some(command) = self.inbox.take() {
            match command {
                job::Command::Signal { id, signal } if id == running.id && running.status.is_none() => {
                    if let Some(signal) = rustix::process::Signal::from_named_raw(signal) {
                        running.signal(signal);
                    }
                }
                job::Command::Kill { id, grace_ms, cause } if id == running.id => return Some((grace_ms, cause)),
                _ => {}
            }
        }
        (!self.inbox.is_open()).then_some((GRACE_MS, Cause::Abandoned))
    }

    fn end_tree(&mut self, running: &mut Running, grace_ms: u64) -> Vec<String> {
        let mut over = Instant::now() + Duration::from_millis(grace_ms).min(NEVER);
        let mut asked = BTreeSet::new();
        while tree::has_children() && Instant::now() < over && tree::ask(&mut asked) {
            let next_scan = over.min(Instant::now() + tree::SCAN_EVERY);
            while tree::has_children() && Instant::now() < next_scan {
                self.wait(running, next_scan);
                // Whoever asks again may be less patient.
                if self.inbox.is_open()
                    && let Some((grace_ms, _)) = self.requested_end(running)
                {
                    over = over.min(Instant::now() + Duration::from_millis(grace_ms).min(NEVER));
                }
            }
        }
        if !tree::has_children() {
            return Vec::new();
        }
        tree::kill_all(&BTreeSet::new(), &mut |reaped, how| running.note(reaped, how))
    }

    /// Waits for a request, the end of a child, or `due`.
    fn wait(&mut self, running: &mut Running, due: Instant) {
        let mut fds = vec![PollFd::new(self.children.as_fd(), PollFlags::POLLIN)];
        // One whose other end is gone is always ready.
        if self.inbox.is_open() {
            fds.push(PollFd::new(self.inbox.as_fd(), PollFlags::POLLIN));
        }
        let left = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        if fds.get(1).is_some_and(|fd| fd.any().unwrap_or(false)) {
            self.inbox.read();
        }
        while let Ok(Some(_)) = self.children.read_signal() {}
        while let Some((reaped, how)) = tree::reap() {
            running.note(reaped, how);
        }
    }
}
