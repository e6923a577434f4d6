//! `wait`: until objects are where they are wanted.

use std::{fmt::Debug, time::Duration};

use arl_crds::{Sandbox, Task, WarmPool, duration};
use clap::{Args, ValueEnum};
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{
    connect::Connection,
    failure::{Failure, TIMED_OUT},
    kind::{Kind, Object},
    print,
    progress::{Awaited, Progress},
    versions::Versions,
};

/// How long one look may take.
const LOOK_MAX: Duration = Duration::from_secs(30);

/// Wait until pools and Sandboxes are ready and Tasks have finished, or until objects are gone.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit code: 0 when all are there, however a Task ended; 124 after --timeout; 125 where one never will be."
)]
pub struct Flags {
    /// What is waited for: pool/NAME, sandbox/NAME or task/NAME.
    #[arg(required = true, value_name = "KIND/NAME", value_parser = Object::parse)]
    object: Vec<Object>,
    /// Wait until they are this; unset: pools and Sandboxes ready, Tasks finished.
    #[arg(long = "for", value_enum, value_name = "GOAL")]
    goal: Option<Goal>,
    /// Wait no longer than this; 0: look once.
    #[arg(long, default_value = "5m", value_parser = duration::parse)]
    timeout: Duration,
}

/// What else can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Goal {
    /// Deleted, and not there any more.
    Gone,
}

/// Waits for all of them.
pub async fn wait(connection: &Connection, flags: Flags) -> Result<(), Failure> {
    let mut last = String::new();
    let all = async {
        for object in &flags.object {
            let Object { kind, name } = object;
            match kind {
                Kind::Pools => until::<WarmPool>(connection, name, &flags, &mut last).await?,
                Kind::Sandboxes => until::<Sandbox>(connection, name, &flags, &mut last).await?,
                Kind::Tasks => until::<Task>(connection, name, &flags, &mut last).await?,
            }
        }
        Ok(())
    };
    let limit = if flags.timeout.is_zero() { LOOK_MAX } else { flags.timeout };
    let waited = timeout(limit, all).await;
    waited.unwrap_or_else(|_| {
        let after = duration::display(limit);
        Err(late(&format!("not so within {after}: {last}")))
    })
}

fn late(why: &str) -> Failure {
    Failure { code: TIMED_OUT, ..Failure::ours(why) }
}

async fn until<K>(connection: &Connection, name: &str, flags: &Flags, last: &mut String) -> Result<(), Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Awaited
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let what = format!("{} {name}", K::kind(&()));
    let reached = |word: &str| print::line(format!("{}/{name} {word}", K::kind(&()).to_lowercase()));
    *last = format!("{what}: the API server has not answered");
    let mut versions = Versions::<K>::of(connection, name);
    loop {
        match (versions.next().await?, flags.goal) {
            (None, Some(Goal::Gone)) => return reached("gone"),
            (Some(_), Some(Goal::Gone)) => *last = format!("{what} is there"),
            (None, None) => {
                let place = &connection.namespace;
                return Err(Failure::absence(format!("there is no {what} in namespace {place}, or it was deleted")));
            }
            (Some(object), None) => match object.progress() {
                Progress::Reached => return reached(K::GOAL),
                Progress::Waiting(why) => *last = format!("{what}: {why}"),
                Progress::Never(why) => {
                    return Err(Failure::ours(format!("{what} will not be {}: {why}", K::GOAL)));
                }
            },
        }
        if flags.timeout.is_zero() {
            return Err(late(&format!("not so now: {last}")));
        }
    }
}
