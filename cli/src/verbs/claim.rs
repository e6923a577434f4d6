//! `claim`: a Sandbox to keep.

use std::{path::PathBuf, time::Duration};

use arl_client::{Claim, Error, Sandbox};
use arl_crds::{
    Sandbox as SandboxObject, WarmPool,
    condition::{self, PODS_FAILING},
    duration,
};
use clap::Args;
use tokio::time::Instant;

use crate::{
    connect::{Connection, DEFINED_MAX},
    copy,
    failure::Failure,
    interrupt::Interrupts,
    kind,
    options::variable,
    print,
    progress::SILENCE_MAX,
};

/// Claim a Sandbox and print its name. It stays until it is released, or idle too long.
#[derive(Args, Debug)]
pub struct Flags {
    /// WarmPool to claim it from.
    #[arg(value_parser = kind::pool)]
    pool: String,
    /// Name of the Sandbox; unset: the pool's with a random end.
    #[arg(long)]
    name: Option<String>,
    /// Give every command that is run in it a variable, Tasks included; may be repeated. Not for secrets: it is in the Sandbox object.
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    #[command(flatten)]
    limits: Limits,
    /// Unpack this tar archive in it first, such as one of `kubectl arl snapshot`.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Into this directory.
    #[arg(long, value_name = "DIRECTORY", default_value = "/workspace", requires = "from")]
    into: String,
}

/// How long things may take.
#[derive(Args, Clone, Debug)]
pub struct Limits {
    /// Delete the Sandbox once it has been idle for this long.
    #[arg(long, default_value = "1h", value_parser = duration::parse)]
    ttl: Duration,
    /// Wait this long for it.
    #[arg(long, default_value = "5m", value_parser = duration::parse)]
    wait: Duration,
}

/// Claims a Sandbox and prints its name.
pub async fn claim(connection: &Connection, flags: Flags, interrupts: &Interrupts) -> Result<(), Failure> {
    let client = connection.client();
    let request = named(client.claim(&flags.pool), flags.name);
    let request = flags.env.into_iter().fold(request, |claim, (name, value)| claim.env(name, value));
    let sandbox = obtain(connection, request, &flags.pool, &flags.limits, interrupts).await?;
    if let Some(archive) = &flags.from
        && let Err(failure) = interrupts.or(copy::unpack(&sandbox.files(), archive, &flags.into)).await
    {
        sandbox.release().await?;
        return Err(failure);
    }
    let printed = print::line(sandbox.name());
    if printed.is_err() {
        // Nobody else knows its name.
        sandbox.release().await?;
    }
    printed
}

/// A claim of a Sandbox that is to have this name, if one was given.
pub fn named(claim: Claim, name: Option<String>) -> Claim {
    match name {
        Some(name) => claim.name(name),
        None => claim,
    }
}

/// Claims a Sandbox. Where we are interrupted, the library deletes it, which is waited for before we end.
pub async fn obtain(
    connection: &Connection,
    claim: Claim,
    pool: &str,
    limits: &Limits,
    interrupts: &Interrupts,
) -> Result<Sandbox, Failure> {
    let claim = claim.idle_ttl(limits.ttl).wait(limits.wait);
    let began = Instant::now();
    let sandbox = {
        let _waiting = print::Waiting::on(format!("waiting for a Sandbox of pool {pool}"));
        tokio::select! {
            claimed = interrupts.or(claimed(connection, claim)) => claimed?,
            never = explain(connection, pool) => match never {},
        }
    };
    let took = duration::display(began.elapsed());
    print::note(format!("Sandbox {} is ready after {took}, pod {}", sandbox.name(), sandbox.pod()));
    Ok(sandbox)
}

async fn claimed(connection: &Connection, claim: Claim) -> Result<Sandbox, Failure> {
    let until = Instant::now() + DEFINED_MAX;
    loop {
        match claim.clone().await {
            Err(Error::Api { source, .. }) if connection.is_being_defined::<SandboxObject>(&source, until).await => {}
            claimed => return Ok(claimed?),
        }
    }
}

/// Says what a pool lacks where a claim takes long.
async fn explain(connection: &Connection, pool: &str) -> std::convert::Infallible {
    tokio::time::sleep_until(Instant::now() + SILENCE_MAX).await;
    if let Ok(found) = connection.api::<WarmPool>().get_opt(pool).await {
        let Some(found) = found else {
            // One that runs has said so.
            print::note(format!("waiting: there is no WarmPool {pool}, and no operator has looked at the Sandbox yet"));
            return std::future::pending().await;
        };
        let conditions = found.status.map(|status| status.conditions).unwrap_or_default();
        if let Some(why) = condition::find_true(&conditions, PODS_FAILING).or(conditions.first()) {
            print::note(format!("waiting: {}", why.message));
        } else {
            print::note("waiting: no operator has looked at the pool yet");
        }
    }
    std::future::pending().await
}
