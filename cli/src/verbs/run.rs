//! `run`: a command in a Sandbox that is claimed for it.

use arl_client::{Client, Sandbox, Step};
use arl_crds::TaskStatus;
use clap::Args;
use serde_json::json;

use super::claim::{self, Limits};
use crate::{
    connect::Connection,
    copy::{self, Pair},
    failure::Failure,
    interrupt::Interrupts,
    kind,
    options::Process,
    outcome::outcome,
    print,
    relay::{Streams, relay},
};

/// Claim a Sandbox, run a command in it, and release it.
#[derive(Args, Debug)]
#[command(after_help = "Ctrl-C ends the command and releases the Sandbox; a second one leaves at once.\n\n\
    Example: kubectl arl run python-pool -- python -c 'print(1)'")]
pub struct Flags {
    /// WarmPool to claim the Sandbox from.
    #[arg(value_parser = kind::pool)]
    pool: String,
    /// Keep the Sandbox; its name is printed on standard error.
    #[arg(long)]
    keep: bool,
    /// Name of the Sandbox; unset: the pool's with a random end.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    process: Process,
    #[command(flatten)]
    streams: Streams,
    #[command(flatten)]
    limits: Limits,
    /// Copy a local file or directory into the Sandbox first; may be repeated.
    #[arg(long, value_name = "LOCAL:REMOTE")]
    cp_in: Vec<Pair>,
    /// Copy a file or directory of the Sandbox here afterwards, whatever the exit code; may be repeated.
    #[arg(long, value_name = "REMOTE:LOCAL")]
    cp_out: Vec<Pair>,
    /// Run it as a Task: recorded in an object, without standard input, its output at the end.
    #[arg(long, conflicts_with_all = ["stdin", "tty", "user"])]
    task: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Claims, runs and releases; the command's exit code.
pub async fn run(connection: &Connection, flags: Flags, interrupts: &Interrupts) -> Result<u8, Failure> {
    flags.streams.check()?;
    let client = connection.client();
    let sandbox = obtain(connection, &client, &flags, interrupts).await?;
    let result = inside(&sandbox, &flags, interrupts).await;
    if flags.keep {
        print::note(format!("Sandbox {} is kept: `kubectl arl release {0}` gives it back", sandbox.name()));
        return result;
    }
    match sandbox.release().await {
        Ok(()) => result,
        Err(error) => {
            let failure = Failure::from(error);
            print::note(format!("Sandbox {} is not released: {}", sandbox.name(), failure.message));
            result.and(Err(Failure::quiet(failure.code)))
        }
    }
}

async fn obtain(
    connection: &Connection,
    client: &Client,
    flags: &Flags,
    interrupts: &Interrupts,
) -> Result<Sandbox, Failure> {
    let request = claim::named(client.claim(&flags.pool), flags.name.clone());
    claim::obtain(connection, request, &flags.pool, &flags.limits, interrupts).await
}

async fn inside(sandbox: &Sandbox, flags: &Flags, interrupts: &Interrupts) -> Result<u8, Failure> {
    let files = sandbox.files();
    for Pair(local, remote) in &flags.cp_in {
        interrupts.or(copy::upload(&files, local.as_ref(), remote)).await?;
    }
    let ended = if flags.task {
        outcome(&interrupts.or(task(sandbox, flags)).await?)
    } else {
        Ok(relay(sandbox.session(), flags.process.of(&flags.command), flags.streams, interrupts).await?)
    };
    let mut copied = Ok(());
    for Pair(remote, local) in &flags.cp_out {
        copied = copied.and(interrupts.or(copy::download(&files, remote, local.as_ref())).await);
    }
    match (ended, copied) {
        (Ok(code), copied) => copied.map(|()| code),
        (ended, Ok(())) => ended,
        (ended, Err(failure)) => {
            print::note(failure.message);
            ended
        }
    }
}

async fn task(sandbox: &Sandbox, flags: &Flags) -> Result<TaskStatus, Failure> {
    let mut step = json!({ "name": "run", "type": "Command", "command": flags.command });
    if let Some(directory) = &flags.process.workdir {
        step["workDir"] = json!(directory);
    }
    step["env"] = flags.process.env.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let step: Step = serde_json::from_value(step).map_err(|error| Failure::ours(error.to_string()))?;
    let status = sandbox.task(vec![step], flags.process.timeout).await?;
    print::bytes(status.stdout.as_deref().unwrap_or_default().as_bytes())?;
    print::raw(status.stderr.as_deref().unwrap_or_default().as_bytes());
    Ok(status)
}
