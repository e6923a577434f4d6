//! `wait`: until objects are where they are wanted.

use std::{fmt::Debug, time::Duration};

use arl_crds::{
    Sandbox, Task, WarmPool, duration,
    labels::{self, PodState},
};
use clap::{Args, ValueEnum};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Pod};
use kube::{Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{
    connect::Connection,
    failure::{Failure, TIMED_OUT},
    kind::{Kind, Object},
    listing, print,
    progress::{Awaited, Progress},
    versions::Versions,
};

/// How long one look may take.
const LOOK_MAX: Duration = Duration::from_secs(30);
/// Until what a ready pool lags behind in is looked at again.
const LAG_STEP: Duration = Duration::from_secs(1);

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
    let rolls = async |pool: &WarmPool| rolling(pool, &idle(connection, pool).await);
    let all = async {
        for object in &flags.object {
            let Object { kind, name } = object;
            match kind {
                Kind::Pools => until::<WarmPool>(connection, name, &flags, &mut last, rolls).await?,
                Kind::Sandboxes => until::<Sandbox>(connection, name, &flags, &mut last, async |_| None).await?,
                Kind::Tasks => until::<Task>(connection, name, &flags, &mut last, async |_| None).await?,
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

/// The idle pods of a pool. Who may not see them is told so, and waits for what the pool says alone.
async fn idle(connection: &Connection, pool: &WarmPool) -> Vec<Pod> {
    let idle = format!("{}={},{}={}", labels::WARMPOOL, pool.name_any(), labels::POD_STATE, PodState::Ready.as_str());
    let listed = listing::all(&connection.api::<Pod>(), &ListParams::default().labels(&idle), "pods").await;
    listed.unwrap_or_else(|failure| {
        print::note(format!("not looked at, whether idle pods are of an earlier template: {}", failure.message));
        Vec::new()
    })
}

/// What a pool that is ready still has to replace: its counts do not tell pods of an earlier template.
fn rolling(pool: &WarmPool, idle: &[Pod]) -> Option<String> {
    let template = pool.spec.fingerprint();
    let is_old = |pod: &&Pod| {
        pod.metadata.deletion_timestamp.is_none() && pod.annotations().get(labels::TEMPLATE_HASH) != Some(&template)
    };
    let old = idle.iter().filter(is_old).count();
    (old > 0).then(|| format!("it rolls: {old} of its idle pods are of an earlier template"))
}

/// `lags` has what an object that says it is there is still to wait for.
async fn until<K>(
    connection: &Connection,
    name: &str,
    flags: &Flags,
    last: &mut String,
    lags: impl AsyncFn(&K) -> Option<String>,
) -> Result<(), Failure>
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
    let mut next = versions.next().await?;
    loop {
        let mut lagging = None;
        match (&next, flags.goal) {
            (None, Some(Goal::Gone)) => return reached("gone"),
            (Some(_), Some(Goal::Gone)) => *last = format!("{what} is there"),
            (None, None) => {
                let place = &connection.namespace;
                return Err(Failure::absence(format!("there is no {what} in namespace {place}, or it was deleted")));
            }
            (Some(object), None) => match object.progress() {
                Progress::Reached => {
                    lagging = lags(object).await;
                    match &lagging {
                        Some(why) => *last = format!("{what}: {why}"),
                        None => return reached(K::GOAL),
                    }
                }
                Progress::Waiting(why) => *last = format!("{what}: {why}"),
                Progress::Never(why) => {
                    return Err(Failure::ours(format!("{what} will not be {}: {why}", K::GOAL)));
                }
            },
        }
        if flags.timeout.is_zero() {
            return Err(late(&format!("not so now: {last}")));
        }
        next = match lagging {
            // What it lags behind in may be over without another version of it.
            Some(_) => match timeout(LAG_STEP, versions.next()).await {
                Ok(version) => version?,
                Err(_) => next,
            },
            None => versions.next().await?,
        };
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_pool_rolls_while_an_idle_pod_is_of_an_earlier_template() {
        let pool = json!({ "metadata": { "name": "p" }, "spec": { "replicas": 1, "template": { "spec": { "containers": [] } } } });
        let pool: WarmPool = serde_json::from_value(pool).unwrap();
        let pod = |template: &str, deleted: Value| -> Pod {
            let metadata = json!({ "name": "p-1", "annotations": { labels::TEMPLATE_HASH: template }, "deletionTimestamp": deleted });
            serde_json::from_value(json!({ "metadata": metadata })).unwrap()
        };
        let (old, new) = (pod("other", Value::Null), pod(&pool.spec.fingerprint(), Value::Null));
        let ends = pod("other", json!("2026-01-01T00:00:00Z"));
        for (idle, expected) in [
            (vec![], None),
            (vec![new.clone(), ends], None),
            (vec![new, old], Some("it rolls: 1 of its idle pods are of an earlier template")),
        ] {
            assert_eq!(rolling(&pool, &idle).as_deref(), expected, "{idle:?}");
        }
    }
}
