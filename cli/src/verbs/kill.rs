//! `kill`: ends live processes of a Sandbox.

use std::time::Duration;

use arl_client::{Error, ProcessEvent, Session, kind::Kind, live::Listed};
use arl_crds::duration;
use clap::Args;

use crate::{connect::Connection, failure::Failure, failures::Failures, kind, print, progress::answered};

/// End live processes of a Sandbox, and all that they started: TERM, a grace, KILL.
#[derive(Args, Debug)]
pub struct Flags {
    /// The Sandbox.
    #[arg(value_parser = kind::sandbox)]
    sandbox: String,
    /// The processes: PIDs of `kubectl arl ps`, or ids of `kubectl arl ps -o name`.
    #[arg(required_unless_present = "all")]
    process: Vec<String>,
    /// All of them.
    #[arg(long, conflicts_with = "process")]
    all: bool,
    /// Send this signal instead, by number or name, and wait for nothing.
    #[arg(short, long, value_parser = signal)]
    signal: Option<i32>,
    /// Between TERM and KILL.
    #[arg(long, default_value = "2s", value_parser = duration::parse)]
    grace: Duration,
}

/// Ends them.
pub async fn kill(connection: &Connection, flags: Flags) -> Result<(), Failure> {
    let sandbox = connection.sandbox(&flags.sandbox).await?;
    let listed = answered(sandbox.session(), sandbox.session().list()).await?;
    let mut failures = Failures::default();
    let processes: Vec<&Listed> = if flags.all {
        listed.iter().filter(|process| !process.ended).collect()
    } else {
        flags.process.iter().filter_map(|wanted| failures.take(find(&listed, wanted))).collect()
    };
    if processes.is_empty() && flags.all {
        print::note(format!("there are no live processes in Sandbox {}", flags.sandbox));
    }
    for process in processes {
        if let Some(done) = failures.take(end(sandbox.session(), process, &flags).await) {
            print::line(format!("{:016x} {done}", process.id.0))?;
        }
    }
    failures.result()
}

/// Ends it, or sends it the signal; what came of it.
async fn end(session: &Session, process: &Listed, flags: &Flags) -> Result<&'static str, Failure> {
    const HAD_ENDED: &str = "had ended";
    if process.ended {
        return Ok(HAD_ENDED);
    }
    let mut process = match session.attach(process.id.0).await {
        Ok(process) => process,
        // Meanwhile.
        Err(Error::Remote(error)) if error.kind == Kind::Unknown => return Ok(HAD_ENDED),
        Err(error) => return Err(error.into()),
    };
    if let Some(signal) = flags.signal {
        process.signal(signal);
        // It is on the same stream: what is answered after it has arrived after it.
        return Ok(session.list().await.map(|_| "signalled")?);
    }
    process.kill(flags.grace);
    loop {
        match process.next().await? {
            ProcessEvent::Ended(exit) if !exit.survivors.is_empty() => {
                return Err(Failure::ours(format!("these could not be ended: {}", exit.survivors.join(", "))));
            }
            ProcessEvent::Ended(_) => return Ok("ended"),
            ProcessEvent::Rejected(error) => return Err(Error::Remote(error).into()),
            ProcessEvent::Output(..) | ProcessEvent::Gap(_) => {}
        }
    }
}

/// The process that is named by its PID or id.
fn find<'a>(listed: &'a [Listed], wanted: &str) -> Result<&'a Listed, Failure> {
    let by_pid = listed.iter().filter(|process| !process.ended).find(|process| process.pid.to_string() == wanted);
    let found = by_pid.or_else(|| listed.iter().find(|process| format!("{:016x}", process.id.0) == wanted));
    found.ok_or_else(|| {
        Failure::ours(format!("there is no live process {wanted} in the Sandbox; `kubectl arl ps` lists them"))
    })
}

fn signal(text: &str) -> Result<i32, String> {
    let names = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("KILL", 9),
        ("USR1", 10),
        ("USR2", 12),
        ("TERM", 15),
        ("CONT", 18),
        ("STOP", 19),
    ];
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let by_name = names.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    by_name
        .or_else(|| name.parse().ok().filter(|number| (1..=64).contains(number)))
        .ok_or_else(|| "a signal is a number from 1 to 64 or a name, such as INT".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_numbers_and_names() {
        assert_eq!([signal("9"), signal("SIGINT"), signal("usr1")], [Ok(9), Ok(2), Ok(10)]);
        assert!(["0", "65", "NONE", "-1"].iter().all(|text| signal(text).is_err()));
    }
}
