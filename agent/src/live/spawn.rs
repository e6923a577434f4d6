//! Starting the process of a keeper.

use std::{
    fs::File,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use arl_agent::message::{
    Variable,
    error::{Error, Kind},
    live::Id,
};
use rustix::process::{Pid, Signal, WaitStatus, ioctl_tiocsctty, kill_process, kill_process_group};

use super::{job::Program, user::Identity};
use crate::{children::spawn, memory, refusal};

/// A process that was started.
pub struct Running {
    pub id: Id,
    pub pid: Pid,
    /// Whether it leads a group of its own.
    pub has_group: bool,
    pub status: Option<WaitStatus>,
    pub kills_before: Option<u64>,
}

impl Running {
    /// Sends it a signal, and its group with it.
    pub fn signal(&self, signal: Signal) {
        let _ = if self.has_group { kill_process_group(self.pid, signal) } else { kill_process(self.pid, signal) };
    }

    /// A child was waited for, which may be this one.
    pub fn note(&mut self, reaped: i32, how: WaitStatus) {
        // Ids are used again.
        if reaped == self.pid.as_raw_nonzero().get() && self.status.is_none() {
            self.status = Some(how);
        }
    }
}

/// The working directory is looked up by its name each time: processes may move it away and make another.
pub fn go_to(home: &str, cwd: Option<&str>) -> Result<(), Error> {
    let directory = cwd.map_or_else(|| Path::new(home).to_owned(), |cwd| Path::new(home).join(cwd));
    std::env::set_current_dir(&directory).map_err(|error| Error {
        kind: Kind::NoWorkingDirectory,
        message: format!("the working directory {}: {error}", directory.display()),
        errno: error.raw_os_error(),
    })
}

/// Starts it, as whom and where it is to run: this process goes there first.
pub fn start(
    id: Id,
    program: &Program,
    home: &str,
    identity: Option<&Identity>,
    descriptors: Vec<OwnedFd>,
) -> Result<Running, Error> {
    let broken = |error: &dyn std::fmt::Display| Error::new(Kind::Other, format!("no process can be started: {error}"));
    let Some((name, arguments)) = program.argv.split_first() else {
        return Err(Error::new(Kind::Invalid, "no command"));
    };
    let terminal = if program.tty { descriptors.first().map(OwnedFd::try_clone) } else { None };
    let terminal = terminal.transpose().map_err(|error| broken(&error))?;
    if let Some(terminal) = &terminal {
        if let Some(identity) = identity {
            // Where this is refused the user could still read and write.
            let _ = nix::unistd::fchown(terminal, Some(identity.uid().into()), None);
        }
        nix::unistd::setsid().map_err(|error| broken(&error))?;
        ioctl_tiocsctty(terminal).map_err(|error| broken(&error))?;
    }
    identity.map_or(Ok(()), Identity::assume)?;
    go_to(home, program.cwd.as_deref().filter(|cwd| !cwd.is_empty()))?;
    let [stdin, stdout, stderr] = standard(program, descriptors).map_err(|error| broken(&error))?;
    let kills_before = memory::kills();
    let mut command = Command::new(name);
    command.args(arguments).stdin(stdin).stdout(stdout).stderr(stderr);
    if terminal.is_some() {
        // In the group of this process, which the terminal has in its foreground: another would be stopped where it reads at once.
        command.env("TERM", "xterm-256color");
    } else {
        command.process_group(0);
    }
    command.envs(identity.map(Identity::variables).unwrap_or_default());
    command.envs(program.env.iter().map(|variable| (&variable.name, &variable.value)));
    let child = spawn(&mut command).map_err(|error| refused(name, &program.env, &error))?;
    // What this holds of the descriptors is closed here.
    drop(command);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default()).ok_or_else(|| broken(&"no pid"))?;
    Ok(Running { id, pid, has_group: terminal.is_none(), status: None, kills_before })
}

/// Standard input, output and error.
fn standard(program: &Program, descriptors: Vec<OwnedFd>) -> std::io::Result<[Stdio; 3]> {
    let mut descriptors = descriptors.into_iter();
    if program.tty {
        let terminal =
            descriptors.next().map_or_else(|| Err(std::io::ErrorKind::NotFound.into()), Ok::<_, std::io::Error>)?;
        return Ok([terminal.try_clone()?.into(), terminal.try_clone()?.into(), terminal.into()]);
    }
    let mut next = |is_there: bool| descriptors.next().filter(|_| is_there).map_or_else(Stdio::null, Stdio::from);
    let stdin = if program.stdin { next(true) } else { Stdio::from(File::open("/dev/null")?) };
    Ok([stdin, next(true), next(true)])
}

fn refused(program: &str, env: &[Variable], error: &std::io::Error) -> Error {
    let kind = refusal::kind(program, env, error);
    let name = refusal::named(program);
    let message = match kind {
        Kind::NotFound => format!("{name}: {}", refusal::NOT_FOUND),
        Kind::NotExecutable => format!("{name}: {}", refusal::not_executable(program, env, error)),
        Kind::TooLarge => format!("{name}: the arguments or variables are too many: {error}"),
        Kind::Invalid => format!("{name}: cannot be started: {error}"),
        _ => format!("{name} cannot be started: {error}"),
    };
    Error { kind, message, errno: error.raw_os_error() }
}
