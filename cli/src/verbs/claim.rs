//! `claim`: a Sandbox to keep.

use std::{path::PathBuf, time::Duration};

use arl_client::{Claim, Client, Error, Sandbox};
use arl_crds::{
    Sandbox as SandboxObject, WarmPool,
    condition::{self, PODS_FAILING},
    duration,
};
use clap::Args;
use kube::api::DeleteParams;
use tokio::time::{Instant, timeout};

use crate::{
    connect::{Connection, is_missing},
    copy,
    failure::Failure,
    interrupt::Interrupts,
    print,
};

/// How long a Sandbox may still be on its way to the API server when we are interrupted.
const CREATION_MAX: Duration = Duration::from_secs(2);
/// How long a claim may take before we say why.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Claim a Sandbox and print its name. It stays until it is released, or idle too long.
#[derive(Args, Debug)]
pub struct Flags {
    /// WarmPool to claim it from.
    pool: String,
    /// Name of the Sandbox; unset: the pool's with a random end.
    #[arg(long)]
    name: Option<String>,
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
    let sandbox = obtain(connection, &connection.client(), &flags.pool, flags.name, &flags.limits, interrupts).await?;
    if let Some(archive) = &flags.from
        && let Err(failure) = interrupts.or(copy::unpack(&sandbox.files(), archive, &flags.into)).await
    {
        sandbox.release().await?;
        return Err(failure);
    }
    print::line(sandbox.name())
}

/// Claims a Sandbox; nothing is left of it where we are interrupted.
pub async fn obtain(
    connection: &Connection,
    client: &Client,
    pool: &str,
    name: Option<String>,
    limits: &Limits,
    interrupts: &Interrupts,
) -> Result<Sandbox, Failure> {
    let name = name.unwrap_or_else(|| arl_client::name_for(pool));
    let claim = client.claim(pool).name(&name).idle_ttl(limits.ttl).wait(limits.wait);
    let began = Instant::now();
    let sandbox = {
        let _waiting = print::Waiting::on(format!("waiting for a Sandbox of pool {pool}"));
        tokio::select! {
            claimed = unless_interrupted(connection, claim, &name, interrupts) => claimed?,
            never = explain(connection, pool) => match never {},
        }
    };
    let took = duration::display(began.elapsed());
    print::note(format!("Sandbox {name} is ready after {took}, pod {}", sandbox.pod()));
    Ok(sandbox)
}

async fn unless_interrupted(
    connection: &Connection,
    claim: Claim,
    name: &str,
    interrupts: &Interrupts,
) -> Result<Sandbox, Failure> {
    let mut claiming = claim.into_future();
    tokio::select! {
        claimed = &mut claiming => match claimed {
            // The library deletes it beside us, and we may end before.
            Err(error @ Error::NotReady { .. }) => {
                delete(connection, name).await?;
                Err(error.into())
            }
            claimed => Ok(claimed?),
        },
        interrupt = interrupts.first() => {
            if !delete(connection, name).await? {
                // It was on its way: what is known of it then decides.
                let _ = timeout(CREATION_MAX, claiming).await;
                delete(connection, name).await?;
            }
            Err(interrupt.into())
        }
    }
}

/// Says what a pool lacks where a claim takes long.
async fn explain(connection: &Connection, pool: &str) -> std::convert::Infallible {
    tokio::time::sleep_until(Instant::now() + SILENCE_MAX).await;
    if let Ok(pool) = connection.api::<WarmPool>().get(pool).await {
        let conditions = pool.status.map(|status| status.conditions).unwrap_or_default();
        if let Some(why) = condition::find_true(&conditions, PODS_FAILING).or(conditions.first()) {
            print::note(format!("waiting: {}", why.message));
        } else {
            print::note("waiting: no operator has looked at the pool yet");
        }
    }
    std::future::pending().await
}

/// Deletes a Sandbox; whether it was there.
pub async fn delete(connection: &Connection, name: &str) -> Result<bool, Failure> {
    match connection.api::<SandboxObject>().delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(true),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(Failure::api(&format!("delete Sandbox {name}"), &error)),
    }
}
