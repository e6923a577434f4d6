//! A command in progress: its outputs are drained, its end is waited for, its time is kept.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{ErrorKind, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use arl_agent::{
    message::{Excerpt, StepEnd, Variable},
    output::Output,
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        wait::WaitStatus,
    },
};

use crate::{
    memory,
    records::{Partial, write_partial},
    step::{Done, Outcome},
    tree,
};

/// How often what a step has printed is noted for the case that the container dies.
const NOTE_EVERY: Duration = Duration::from_millis(100);
/// After the command's end, what its pipes still hold is read; a process left behind may go on writing for ever.
const REST_MAX: usize = 1024 * 1024;
const READ: usize = 16 * 1024;
const NEVER: Duration = Duration::from_secs(3600);

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
    let spawned = Command::new(program)
        .args(arguments)
        .envs(env.iter().map(|variable| (&variable.name, &variable.value)))
        // A group of its own: what signals its group must not hit the agent.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|error| refused(program, &error))?;
    Ok(Running {
        pid: i32::try_from(child.id()).unwrap_or_default(),
        stdout: Stream::new(child.stdout.take()),
        stderr: Stream::new(child.stderr.take()),
        children,
        status: None,
        kills_before,
    })
}

/// A descriptor that is readable when a child has ended. The signal stays blocked; commands start with none blocked.
pub fn watch_children() -> nix::Result<SignalFd> {
    let mask = SigSet::from(Signal::SIGCHLD);
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// As a shell tells them apart (POSIX.1-2017, 2.8.2 Exit Status for Commands).
fn refused(program: &str, error: &std::io::Error) -> StepEnd {
    let not_executable = |code, words: &str| StepEnd::NotExecutable { code, words: format!("{program}: {words}") };
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENOTDIR) => not_executable(
            127,
            "not found in the container; neither the program nor, for a script, its interpreter may be missing",
        ),
        Some(Errno::EACCES | Errno::EPERM | Errno::ENOEXEC | Errno::EISDIR) => {
            not_executable(126, &format!("cannot be executed: {error}"))
        }
        _ => StepEnd::StartError(format!("{program} cannot be started: {error}")),
    }
}

impl Running {
    /// Waits for its end, its time or the supervisor's word.
    pub fn follow(&mut self, control: &File, deadline: Instant, partial: &Path) -> Done {
        let mut noted = Instant::now();
        let mut printed = false;
        let stopped = loop {
            let due = if printed { deadline.min(noted + NOTE_EVERY) } else { deadline };
            let ready = self.wait(Some(control), due);
            printed |= self.stdout.drain_once(ready.stdout) | self.stderr.drain_once(ready.stderr);
            self.reap();
            if self.status.is_some() {
                break None;
            }
            if ready.control {
                break Some(Outcome::Cancelled);
            }
            if Instant::now() >= deadline {
                break Some(Outcome::TimedOut);
            }
            if printed && noted.elapsed() >= NOTE_EVERY {
                let (stdout, stderr) = (Excerpt::from(&self.stdout.output), Excerpt::from(&self.stderr.output));
                write_partial(partial, &Partial { stdout, stderr });
                (noted, printed) = (Instant::now(), false);
            }
        };
        let outcome = stopped.unwrap_or_else(|| Outcome::Ended(self.end()));
        let succeeded = matches!(&outcome, Outcome::Ended(end) if end.is_success());
        let survivors = if succeeded { Vec::new() } else { self.end_tree() };
        self.stdout.drain_rest();
        self.stderr.drain_rest();
        self.reap();
        Done {
            outcome,
            stdout: Excerpt::from(&self.stdout.output),
            stderr: Excerpt::from(&self.stderr.output),
            survivors,
            is_free: !tree::has_children(),
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

    fn end_tree(&mut self) -> Vec<String> {
        let (pid, mut status) = (self.pid, self.status);
        let survivors = tree::end(&BTreeSet::new(), &mut |reaped| note(pid, reaped, &mut status));
        self.status = status;
        survivors
    }

    fn reap(&mut self) {
        while let Ok(Some(_)) = self.children.read_signal() {}
        while let Some(reaped) = tree::reap() {
            note(self.pid, reaped, &mut self.status);
        }
    }

    fn end(&self) -> StepEnd {
        match self.status {
            Some(WaitStatus::Exited(_, code)) => StepEnd::Exited(code),
            Some(WaitStatus::Signaled(_, Signal::SIGKILL, _)) if self.memory_limit_struck() => StepEnd::OutOfMemory,
            Some(WaitStatus::Signaled(_, signal, _)) => StepEnd::Exited(128 + signal as i32),
            _ => StepEnd::StartError("the command ended in an unknown way".into()),
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

fn note(pid: i32, reaped: WaitStatus, status: &mut Option<WaitStatus>) {
    let ended = matches!(reaped, WaitStatus::Exited(..) | WaitStatus::Signaled(..));
    if ended && reaped.pid().map(nix::unistd::Pid::as_raw) == Some(pid) {
        *status = Some(reaped);
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
