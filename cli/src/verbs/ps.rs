//! `ps`: the live processes of a Sandbox.

use arl_client::live::Listed;
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    connect::Connection,
    failure::Failure,
    kind,
    listing::{Format, values},
    print,
    progress::answered,
    table::{self, Table},
};

/// List the live processes of a Sandbox; Tasks are not among them.
#[derive(Args, Debug)]
pub struct Flags {
    /// The Sandbox.
    #[arg(value_parser = kind::sandbox)]
    sandbox: String,
    /// As json, yaml, name (the ids alone) or wide (with the ids).
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    /// Leave the names of the columns out.
    #[arg(long)]
    no_headers: bool,
}

/// Prints them.
pub async fn ps(connection: &Connection, flags: Flags) -> Result<(), Failure> {
    let sandbox = connection.sandbox(&flags.sandbox).await?;
    let processes = answered(sandbox.session(), sandbox.session().list()).await?;
    match flags.output {
        Some(Format::Name) => processes.iter().try_for_each(|process| print::line(format!("{:016x}", process.id.0))),
        None | Some(Format::Wide) => {
            let is_wide = flags.output.is_some();
            print::data(&rows(&processes, is_wide, table::now()).lines(!flags.no_headers))
        }
        Some(format) => print::data(&values(format, processes.iter().map(value).collect())?),
    }
}

fn value(process: &Listed) -> Value {
    json!({
        "id": format!("{:016x}", process.id.0), "pid": process.pid, "command": process.command, "background": process.background,
        "tty": process.tty, "ended": process.ended, "clients": process.clients, "ageSeconds": process.started_ago_us / 1_000_000,
    })
}

fn rows(processes: &[Listed], is_wide: bool, now: Timestamp) -> Table {
    let header = ["PID", "STATE", "TTY", "CLIENTS", "AGE", "COMMAND", "ID"];
    let columns = if is_wide { header.len() } else { header.len() - 1 };
    let mut table = Table::new(&header[..columns]);
    for process in processes {
        let ago = SignedDuration::from_micros(i64::try_from(process.started_ago_us).unwrap_or(i64::MAX));
        let cells = [
            process.pid.to_string(),
            (if process.ended { "Ended" } else { "Running" }).to_owned(),
            (if process.tty { "yes" } else { "no" }).to_owned(),
            process.clients.to_string(),
            table::age(now.checked_sub(ago).ok(), now),
            process.command.clone(),
            format!("{:016x}", process.id.0),
        ];
        table.row(cells.into_iter().take(columns));
    }
    table
}
