//! A command in progress: its outputs are drained, its end is waited for, its time is kept.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{ErrorKind, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use arl_agent::{
    message::{Excerpt, StepEnd, Variable, error::Kind},
    output::Output,
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signalfd::SignalFd,
};
use rustix::process::WaitStatus;

use crate::{
    children::{NEVER, spawn, watch_children},
    job::{Done, Outcome},
    memory,
    records::Partial,
    refusal, tree,
};

/// After the command's own end, its outputs are read until they are closed, for this long at most: `exec > >(tee log)` has
/// its last lines printed by another process.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// Between TERM and KILL.
pub const GRACE: Duration = Duration::from_secs(2);
/// How often what a step has printed is noted for the case that the container dies.
const NOTE_EVERY: Duration = Duration::from_millis(100);
/// What the pipes still hold at the very end is read; a process left behind may go on writing for ever.
const REST_MAX: usize = 1024 * 1024;
const READ: usize = 16 * 1024;

/// A command that was started.
pub struct Running {
    pid: i32,
    stdout: Stream,
    stderr: Stream,
    children: SignalFd,
    status: Option<WaitStatus>,
    kills_before: Option<u64>,
}

/// One output, as long as somebody has its other end.
struct Stream {
    pipe: Option<File>,
    output: Output,
}

/// Starts it, or says why that cannot be.
pub fn start(arguments: &[String], env: &[Variable]) -> Result<Running, StepEnd> {
    let broken = |error: &dyn std::fmt::Display| StepEnd::StartError(error.to_string());
    let Some((program, arguments)) = arguments.split_first() else { return Err(broken(&"no command")) };
    nix::sys::prctl::set_child_subreaper(true).map_err(|error| broken(&error))?;
    let children = watch_children().map_err(|error| broken(&error))?;
    let kills_before = memory::kills();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(env.iter().map(|variable| (&variable.name, &variable.value)))
        // A group of its own: what signals its group must not hit the agent.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = spawn(&mut command).map_err(|error| refused(program, env, &error))?;
    Ok(Running {
        pid: i32::try_from(child.id()).unwrap_or_default(),
        stdout: Stream::new(child.stdout.take()),
        stderr: Stream::new(child.stderr.take()),
        children,
        status: None,
        kills_before,
    })
}

/// As a shell tells them apart (POSIX.1-2017, 2.8.2 Exit Status for Commands).
fn refused(program: &str, env: &[Variable], error: &std::io::Error) -> StepEnd {
    let name = refusal::named(program);
    let not_executable = |code, message: &str| StepEnd::NotExecutable { code, message: format!("{name}: {message}") };
    match refusal::kind(program, env, error) {
        Kind::NotFound => not_executable(127, refusal::NOT_FOUND),
        Kind::NotExecutable => not_executable(126, &refusal::not_executable(program, env, error)),
        _ => StepEnd::StartError(format!("{name} cannot be started: {error}")),
    }
}

impl Running {
    /// Waits for its end, its time or the supervisor's request; what is left then is ended, unless it succeeded.
    pub fn follow(&mut self, control: &File, deadline: Instant, note: &mut dyn FnMut(Partial)) -> Done {
        let mut notes = Notes { at: Instant::now(), printed: false, note };
        let outcome = self.until_over(control, deadline, &mut notes);
        let succeeded = matches!(&outcome, Outcome::Ended(end) if end.is_success());
        let survivors = if succeeded { Vec::new() } else { self.end_tree(&mut notes) };
        self.stdout.drain_rest();
        self.stderr.drain_rest();
        self.reap();
        let Partial { stdout, stderr, .. } = self.printed();
        Done { outcome, stdout, stderr, survivors, is_free: !tree::has_children() }
    }

    fn until_over(&mut self, control: &File, deadline: Instant, notes: &mut Notes<'_>) -> Outcome {
        let (mut ended, mut due) = (None, deadline);
        loop {
            let stop = self.attend(Some(control), due, notes);
            if ended.is_none() && self.status.is_some() {
                ended = Some(Outcome::Ended(self.end()));
                due = deadline.min(Instant::now() + DRAIN_MAX);
            }
            let is_late = Instant::now() >= due;
            let is_silent = self.stdout.pipe.is_none() && self.stderr.pipe.is_none();
            match ended.take() {
                Some(end) if stop || is_late || is_silent => return end,
                None if stop => return Outcome::Cancelled,
                None if is_late => return Outcome::TimedOut,
                other => ended = other,
            }
        }
    }

    /// What the command left in the background lives on: it is reaped, and what it prints is dropped.
    pub fn outlive(mut self) {
        while tree::has_children() {
            let ready = self.wait(None, Instant::now() + NEVER);
            self.stdout.discard_once(ready.stdout);
            self.stderr.discard_once(ready.stderr);
            self.reap();
        }
    }

    /// Asks everything that is left to end, and after a grace kills it; returns what cannot be.
    fn end_tree(&mut self, notes: &mut Notes<'_>) -> Vec<String> {
        let (over, mut asked) = (Instant::now() + GRACE, BTreeSet::new());
        while tree::has_children() && Instant::now() < over && tree::ask(&mut asked) {
            let next_scan = over.min(Instant::now() + tree::SCAN_EVERY);
            while tree::has_children() && Instant::now() < next_scan {
                self.attend(None, next_scan, notes);
            }
        }
        if !tree::has_children() {
            return Vec::new();
        }
        let (pid, mut status) = (self.pid, self.status);
        let survivors = tree::kill_all(&BTreeSet::new(), &mut |reaped, how| note(pid, reaped, how, &mut status));
        self.status = status;
        survivors
    }

    /// Waits until something happens or `due`, and takes it; returns whether the supervisor wants an end.
    fn attend(&mut self, control: Option<&File>, due: Instant, notes: &mut Notes<'_>) -> bool {
        let ready = self.wait(control, notes.due(due));
        notes.printed |= self.stdout.drain_once(ready.stdout) | self.stderr.drain_once(ready.stderr);
        self.reap();
        if notes.printed && notes.at.elapsed() >= NOTE_EVERY {
            (notes.note)(self.printed());
            (notes.at, notes.printed) = (Instant::now(), false);
        }
        ready.control
    }

    fn printed(&self) -> Partial {
        Partial { stdout: Excerpt::from(&self.stdout.output), stderr: Excerpt::from(&self.stderr.output), index: None }
    }

    fn reap(&mut self) {
        while let Ok(Some(_)) = self.children.read_signal() {}
        while let Some((reaped, how)) = tree::reap() {
            note(self.pid, reaped, how, &mut self.status);
        }
    }

    /// The code that a shell would report; a failure during which something was killed for lack of memory, be it a child of the command, is laid to
    /// that.
    fn end(&self) -> StepEnd {
        let killed = |status: WaitStatus| Some(128 + status.terminating_signal()?);
        match self.status.and_then(|status| status.exit_status().or_else(|| killed(status))) {
            Some(code) if code != 0 && self.memory_limit_struck() => StepEnd::OutOfMemory(Some(code)),
            Some(code) => StepEnd::Exited(code),
            None => StepEnd::StartError("the command ended in an unknown way".into()),
        }
    }

    fn memory_limit_struck(&self) -> bool {
        self.kills_before.zip(memory::kills()).is_some_and(|(before, now)| now > before)
    }

    fn wait(&self, control: Option<&File>, due: Instant) -> Ready {
        let pipes = [self.stdout.pipe.as_ref(), self.stderr.pipe.as_ref(), control];
        let fds = pipes.into_iter().enumerate().filter_map(|(place, pipe)| Some((Some(place), pipe?.as_fd())));
        let (places, mut fds): (Vec<_>, Vec<_>) = std::iter::once((None, self.children.as_fd()))
            .chain(fds)
            .map(|(place, fd)| (place, PollFd::new(fd, PollFlags::POLLIN)))
            .unzip();
        let left = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        let is_ready = |place| places.iter().zip(&fds).any(|(p, fd)| *p == Some(place) && fd.any().unwrap_or(false));
        Ready { stdout: is_ready(0), stderr: is_ready(1), control: is_ready(2) }
    }
}

struct Ready {
    stdout: bool,
    stderr: bool,
    control: bool,
}

/// When what was printed is noted, and how.
struct Notes<'a> {
    at: Instant,
    printed: bool,
    note: &'a mut dyn FnMut(Partial),
}

impl Notes<'_> {
    fn due(&self, due: Instant) -> Instant {
        if self.printed { due.min(self.at + NOTE_EVERY) } else { due }
    }
}

fn note(pid: i32, reaped: i32, how: WaitStatus, status: &mut Option<WaitStatus>) {
    // Ids are used again.
    if reaped == pid && status.is_none() {
        *status = Some(how);
    }
}

impl Stream {
    fn new(pipe: Option<impl Into<OwnedFd>>) -> Self {
        Self { pipe: pipe.map(|pipe| File::from(pipe.into())), output: Output::default() }
    }

    /// Reads once what is there; returns whether anything was printed.
    fn drain_once(&mut self, ready: bool) -> bool {
        let mut buffer = [0; READ];
        let read = if ready { self.read(&mut buffer) } else { 0 };
        self.output.push(&buffer[..read]);
        read > 0
    }

    fn discard_once(&mut self, ready: bool) {
        if ready {
            self.read(&mut [0; READ]);
        }
    }

    /// Reads what is there without waiting for more.
    fn drain_rest(&mut self) {
        for _ in 0..REST_MAX / READ {
            let Some(pipe) = &self.pipe else { return };
            let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
            let ready = matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..));
            if !self.drain_once(ready) {
                return;
            }
        }
    }

    /// At its end, or an error, the pipe is closed, so that it is not looked at again.
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        let Some(pipe) = &mut self.pipe else { return 0 };
        match pipe.read(buffer) {
            Ok(read @ 1..) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            _ => {
                self.pipe = None;
                0
            }
        }
    }
}
