//! `connect`: the exec'd end of the operator's stream, and nothing but a relay: it may be killed, or live on unseen when its
//! client is gone, without any harm to what runs.

use std::{
    fs::File,
    io::{Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::alarm,
};

use crate::{
    peer::is_own,
    records::Records,
    supervise::{READY, TAKEN},
};

/// The operator sends something every 20 s. A relay that receives nothing for this long has been left behind by a runtime that
/// was restarted: the alarm ends it.
const SILENCE_SECONDS: u32 = 90;
/// How long a supervisor that another relay is starting may take.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// Relays standard input and output to the supervisor of `directory`.
pub fn connect(directory: &Path) -> Result<(), String> {
    let supervisor = reach(directory)?;
    alarm::set(SILENCE_SECONDS);
    relay(&supervisor).map_err(|error| format!("the stream ended: {error}"))
}

fn reach(directory: &Path) -> Result<UnixStream, String> {
    let records = Records::open(directory)?;
    let socket = records.socket();
    let since = Instant::now();
    loop {
        match UnixStream::connect(&socket) {
            Ok(stream) if is_own(&stream) => return Ok(stream),
            Ok(_) => return Err(format!("another user's process listens in {}", records.name())),
            Err(error) if since.elapsed() > PATIENCE => {
                return Err(format!("the supervisor does not answer in {}: {error}", records.name()));
            }
            Err(_) if start_supervisor(directory)? => {}
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Starts one and waits until it listens; false: there is one already, so this one ended.
fn start_supervisor(directory: &Path) -> Result<bool, String> {
    let mut child = Command::new("/proc/self/exe")
        .arg("supervise")
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the supervisor cannot be started: {error}"))?;
    let mut report = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut report);
    }
    if report == READY {
        return Ok(true);
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if report == TAKEN {
        return Ok(false);
    }
    Err(format!("the supervisor ended ({status}): {}", report.trim()))
}

fn relay(supervisor: &UnixStream) -> std::io::Result<()> {
    let mut stdin = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut stdout = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let mut fds =
            [PollFd::new(stdin.as_fd(), PollFlags::POLLIN), PollFd::new(supervisor.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let [from_operator, from_supervisor] = fds.map(|fd| fd.any().unwrap_or(false));
        if from_operator {
            let read = stdin.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            alarm::set(SILENCE_SECONDS);
            (&*supervisor).write_all(&buffer[..read])?;
        }
        if from_supervisor {
            let read = (&*supervisor).read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            stdout.write_all(&buffer[..read])?;
        }
    }
}
