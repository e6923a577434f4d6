//! `connect`: the exec'd end of a client's stream, which it hands to the supervisor. It may be killed without any harm to what
//! runs, and ends when the supervisor closes the stream.

use std::{
    io::Read,
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    passing,
    peer::is_own,
    records::Records,
    supervise::{READY, TAKEN},
};

/// How long a supervisor that another stream is starting may take.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// Hands standard input and output to the supervisor of `directory`, and waits until it is done with them.
pub fn connect(directory: &Path) -> Result<(), String> {
    let supervisor = reach(directory)?;
    hand_over(&supervisor).map_err(|error| format!("the stream ended: {error}"))
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

/// The supervisor reads and writes the stream itself. It closes the socket when it is done with it; that this process has ended is
/// seen there at once.
fn hand_over(mut supervisor: &UnixStream) -> std::io::Result<()> {
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    passing::send(supervisor, &[0], &[stdin.as_fd(), stdout.as_fd()])?;
    let _ = supervisor.read_exact(&mut [0]);
    Ok(())
}
