//! `why`: from an object to what keeps it from where it should be.

use arl_crds::{Sandbox, Task, WarmPool, labels, name::is_name};
use clap::Args;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Event, Pod},
};
use kube::{Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;

use crate::{
    cause::{Facts, explain},
    connect::{Connection, is_missing},
    failure::Failure,
    kind::{self, Kind, Object},
    listing, print,
};

/// Say why a pool, Sandbox, Task or pod is as it is, and what to do.
#[derive(Args, Debug)]
pub struct Flags {
    /// Its name; with the kind before a slash where several have it, such as task/x.
    #[arg(value_parser = subject)]
    name: Subject,
}

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Subject {
    kind: Wanted,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Any,
    Pod,
    Only(Kind),
}

fn subject(text: &str) -> Result<Subject, String> {
    let Some((kind, name)) = text.split_once('/') else {
        return Ok(Subject { kind: Wanted::Any, name: kind::any(text)? });
    };
    if ["pod", "pods", "po"].contains(&kind) {
        return Ok(Subject { kind: Wanted::Pod, name: kind::any(name)? });
    }
    let object = Object::parse(text).map_err(|_| "write it as pool/NAME, sandbox/NAME, task/NAME or pod/NAME")?;
    Ok(Subject { kind: Wanted::Only(object.kind), name: object.name })
}

/// Prints it.
pub async fn why(connection: &Connection, flags: Flags) -> Result<(), Failure> {
    let Subject { kind, name } = flags.name;
    let name = name.as_str();
    let wants = |other: Wanted| kind == Wanted::Any || kind == other;
    let mut facts = Facts::default();
    if wants(Wanted::Only(Kind::Tasks)) {
        facts.task = get::<Task>(connection, name).await?;
    }
    let sandbox = facts.task.as_ref().map_or(name, |task| &task.spec.sandbox_ref).to_owned();
    if facts.task.is_some() || wants(Wanted::Only(Kind::Sandboxes)) {
        facts.sandbox = get::<Sandbox>(connection, &sandbox).await?;
    }
    let pool = facts.sandbox.as_ref().map_or(name, |sandbox| &sandbox.spec.pool_ref).to_owned();
    let is_below = facts.task.is_some() || facts.sandbox.is_some();
    if is_below || wants(Wanted::Only(Kind::Pools)) {
        facts.pool = get::<WarmPool>(connection, &pool).await?;
    }
    if !is_below && facts.pool.is_none() && wants(Wanted::Pod) {
        facts.pods.extend(get::<Pod>(connection, name).await?);
    }
    if facts.is_empty() {
        let what = match kind {
            Wanted::Any => "pool, Sandbox, Task or pod",
            Wanted::Pod => "pod",
            Wanted::Only(Kind::Pools) => "pool",
            Wanted::Only(Kind::Sandboxes) => "Sandbox",
            Wanted::Only(Kind::Tasks) => "Task",
        };
        return Err(Failure::ours(format!(
            "there is no {what} {name} in namespace {}; `kubectl arl get` shows what is there",
            connection.namespace
        )));
    }
    pods(connection, &mut facts).await?;
    for pod in &facts.pods {
        let of_it = ListParams::default().fields(&format!("involvedObject.name={}", pod.name_any()));
        facts.events.extend(listing::all(&connection.api::<Event>(), &of_it, "Events").await?);
    }
    print::data(&explain(&facts))
}

/// The pod of the Sandbox, or where it has none the idle pods of the pool.
async fn pods(connection: &Connection, facts: &mut Facts) -> Result<(), Failure> {
    let own = facts.sandbox.as_ref().and_then(|sandbox| sandbox.status.as_ref()?.pod_name.clone());
    if let Some(name) = own {
        facts.pods.extend(get::<Pod>(connection, &name).await?);
    } else if let Some(pool) = &facts.pool {
        let idle = format!("{}={},{}=ready", labels::WARMPOOL, pool.name_any(), labels::POD_STATE);
        let idle = ListParams::default().labels(&idle);
        facts.pods = listing::all(&connection.api::<Pod>(), &idle, "pods").await?;
    }
    Ok(())
}

async fn get<K>(connection: &Connection, name: &str) -> Result<Option<K>, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
{
    if !is_name(name) {
        return Ok(None);
    }
    match connection.api::<K>().get(name).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(Failure::api(&format!("get {} {name}", K::kind(&())), &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_as_elsewhere() {
        for (text, kind) in [
            ("x", Wanted::Any),
            ("sbx/x", Wanted::Only(Kind::Sandboxes)),
            ("wp/x", Wanted::Only(Kind::Pools)),
            ("task.arl.infra.io/x", Wanted::Only(Kind::Tasks)),
            ("pods/x", Wanted::Pod),
        ] {
            assert_eq!(subject(text), Ok(Subject { kind, name: "x".into() }), "{text}");
        }
        assert!(["bogus/x", "p/x", "task/", "/x"].iter().all(|text| subject(text).is_err()));
    }
}
