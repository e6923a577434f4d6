//! `claim`: a Sandbox to keep.

use std::{path::PathBuf, time::Duration};

use arl_client::{Claim, Error, Sandbox};
use arl_crds::{
    Sandbox as SandboxObject, Setup, Step, WarmPool,
    condition::{self, PODS_FAILING},
    duration,
};
use clap::Args;
use kube::{ResourceExt, api::ListParams};
use tokio::time::Instant;

use crate::{
    at_work::AtWork, connect::Connection, copy, failure::Failure, interrupt::Interrupts, kind, manifest,
    options::variable, print, progress::SILENCE_MAX,
};

/// Pools that are named where another was meant.
const POOLS_MAX: u8 = 5;

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
    /// Run these steps in it before it is ready: a YAML or JSON list of steps as those of a Task; - for standard input.
    #[arg(long, value_name = "FILE")]
    setup: Option<PathBuf>,
    /// For all of these steps together.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse, requires = "setup")]
    setup_timeout: Duration,
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
    let mut request = flags.env.into_iter().fold(request, |claim, (name, value)| claim.env(name, value));
    if let Some(file) = &flags.setup {
        let timeout = format!("{}ms", flags.setup_timeout.as_millis());
        let steps = interrupts.or(manifest::read(file, steps)).await?;
        request = request.setup(Setup { timeout, steps });
    }
    let archive = match &flags.from {
        Some(path) => Some((path, interrupts.or(copy::open(path)).await?)),
        None => None,
    };
    let sandbox = obtain(connection, request, &flags.pool, &flags.limits, interrupts).await?;
    if let Some((path, file)) = archive
        && let Err(failure) = interrupts.or(copy::unpack(&sandbox.files(), path, file, &flags.into)).await
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

fn steps(text: &str) -> Result<Vec<Step>, String> {
    let steps = serde_saphyr::from_str::<Vec<Step>>(text).map_err(|error| manifest::line(&error));
    let steps = steps.and_then(|steps| if steps.is_empty() { Err("there is none".to_owned()) } else { Ok(steps) });
    steps.map_err(|why| format!("a list of steps is wanted here: {why}"))
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
        let _waiting = print::Waiting::on(&format!("waiting for a Sandbox of pool {pool}"));
        tokio::select! {
            claimed = interrupts.or(claimed(connection, claim)) => claimed,
            never = explain(connection, pool) => match never {},
        }
    };
    let sandbox = match sandbox {
        Ok(sandbox) => sandbox,
        Err(failure) => return Err(with_pools(connection, pool, failure).await),
    };
    let took = duration::display(began.elapsed());
    print::note(format!("Sandbox {} is ready after {took}, pod {}", sandbox.name(), sandbox.pod()));
    Ok(sandbox)
}

async fn claimed(connection: &Connection, claim: Claim) -> Result<Sandbox, Failure> {
    fn refusal(error: &Error) -> Option<&kube::Error> {
        match error {
            Error::Api { source, .. } => Some(source),
            _ => None,
        }
    }
    Ok(connection.once_defined::<SandboxObject, _, _>(async || claim.clone().await, refusal).await?)
}

/// Why there is no Sandbox, and where its pool is not there, which pools are.
async fn with_pools(connection: &Connection, pool: &str, mut failure: Failure) -> Failure {
    let is_missing = || async { matches!(connection.api::<WarmPool>().get_opt(pool).await, Ok(None)) };
    if !failure.message.is_empty() && is_missing().await {
        failure.message += &pools(connection).await;
    }
    failure
}

/// Which pools there are, as the end of a sentence.
async fn pools(connection: &Connection) -> String {
    let few = ListParams::default().limit(u32::from(POOLS_MAX) + 1);
    let listed = connection.api::<WarmPool>().list_metadata(&few).await;
    listed.map(|list| known(&list.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>())).unwrap_or_default()
}

fn known(names: &[String]) -> String {
    let max = usize::from(POOLS_MAX);
    match names {
        [] => "; there is no pool: `kubectl arl pool create IMAGE` makes one".to_owned(),
        names if names.len() > max => {
            format!("; there are the pools {} and others", names[..max].join(", "))
        }
        [name] => format!("; there is the pool {name}"),
        names => format!("; there are the pools {}", names.join(", ")),
    }
}

/// Says what a pool lacks where a claim takes long.
async fn explain(connection: &Connection, pool: &str) -> std::convert::Infallible {
    tokio::time::sleep_until(Instant::now() + SILENCE_MAX).await;
    if let Ok(found) = connection.api::<WarmPool>().get_opt(pool).await {
        let Some(found) = found else {
            // One that runs has said so.
            let pools = pools(connection).await;
            print::note(format!(
                "waiting: there is no WarmPool {pool}, and no operator has looked at the Sandbox yet{pools}"
            ));
            return std::future::pending().await;
        };
        // A Lease says it in one call, and many may wait.
        let at_work = match AtWork::of(connection, None).await {
            yes @ AtWork::Yes(_) => yes,
            _ => AtWork::look(connection).await,
        };
        print::note(format!("waiting: {}", lacking(&found, &at_work)));
    }
    std::future::pending().await
}

/// What a claim waits for. What a pool says that has its pods, or that nobody has looked at, is not it.
fn lacking(pool: &WarmPool, at_work: &AtWork) -> String {
    let conditions = pool.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let why = condition::find_true(conditions, PODS_FAILING).or(conditions.first());
    let is_lacking = why.is_some() && condition::find_true(conditions, "Ready").is_none();
    let is_unseen = matches!(at_work, AtWork::Untraced) && is_lacking;
    match (at_work.lack().filter(|_| !is_unseen), why) {
        (Some(lack), _) => lack,
        (None, Some(why)) => why.message.clone(),
        (None, None) => "no operator has looked at the pool yet".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_setup_is_a_list_of_steps() {
        let yaml = "- name: a\n  type: Command\n  command: [pip, install, rich]\n";
        let json = r#"[{"name": "a", "type": "FilePatch", "path": "x", "content": "y"}]"#;
        for text in [yaml, json] {
            assert_eq!(steps(text).unwrap().into_iter().map(|step| step.name).collect::<Vec<_>>(), ["a"], "{text}");
        }
        for text in ["", "name: a", "- name: a", "a: ["] {
            let why = steps(text).unwrap_err();
            assert!(why.starts_with("a list of steps is wanted here: ") && !why.contains('\n'), "{text}: {why}");
        }
    }

    #[test]
    fn a_claim_waits_for_an_operator_before_it_waits_for_the_pool() {
        let with = |conditions: serde_json::Value| -> WarmPool {
            serde_json::from_value(json!({ "metadata": { "name": "p" }, "status": { "conditions": conditions },
                "spec": { "replicas": 1, "template": { "spec": { "containers": [] } } } }))
            .unwrap()
        };
        let ready = |status: &str| {
            with(json!([{ "type": "Ready", "status": status, "reason": "r", "message": "of the pool",
                "lastTransitionTime": "2026-01-01T00:00:00Z" }]))
        };
        let (unseen, unserved) = ("no operator is seen at work", "no operator has looked at the pool yet");
        let no = || AtWork::No("why".into());
        for (pool, at_work, expected) in [
            (ready("True"), no(), "no operator is at work: why"),
            (ready("False"), no(), "no operator is at work: why"),
            (ready("True"), AtWork::Untraced, unseen),
            (with(json!([])), AtWork::Untraced, unseen),
            (ready("False"), AtWork::Untraced, "of the pool"),
            (ready("False"), AtWork::Yes(None), "of the pool"),
            (ready("True"), AtWork::Unknown, "of the pool"),
            (with(json!([])), AtWork::Unknown, unserved),
        ] {
            assert!(lacking(&pool, &at_work).starts_with(expected), "{at_work:?} {pool:?}");
        }
    }

    #[test]
    fn a_few_pools_are_named() {
        let of = |count: usize| known(&(0..count).map(|number| format!("p{number}")).collect::<Vec<_>>());
        assert!(of(0).contains("pool create"));
        assert_eq!(of(1), "; there is the pool p0");
        assert_eq!(of(5), "; there are the pools p0, p1, p2, p3, p4");
        assert_eq!(of(6), "; there are the pools p0, p1, p2, p3, p4 and others");
    }
}
