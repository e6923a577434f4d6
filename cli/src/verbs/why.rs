//! `why`: from an object to what keeps it from where it should be.

use arl_client::is_missing;
use arl_crds::{Sandbox, Task, TaskState, WarmPool, labels, name::is_name};
use clap::Args;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Event, Pod},
};
use kube::{Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;

use crate::{
    at_work::{AtWork, Wait},
    cause::{Facts, explain, telling},
    connect::Connection,
    failure::Failure,
    kind::{self, Kind, Object},
    listing, print, table,
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
    let mut facts = Facts { namespace: connection.namespace.clone(), ..Facts::default() };
    if wants(Wanted::Only(Kind::Tasks)) {
        facts.task = get::<Task>(connection, name).await?;
    }
    let sandbox = facts.task.as_ref().map_or(name, |task| &task.spec.sandbox_ref).to_owned();
    if facts.task.is_some() {
        facts.sandbox = seen(get::<Sandbox>(connection, &sandbox).await).flatten();
    } else if wants(Wanted::Only(Kind::Sandboxes)) {
        facts.sandbox = get::<Sandbox>(connection, &sandbox).await?;
    }
    let is_below = facts.task.is_some() || facts.sandbox.is_some();
    if let Some(sandbox) = &facts.sandbox {
        facts.pool = seen(get::<WarmPool>(connection, &sandbox.spec.pool_ref).await).flatten();
    } else if !is_below && wants(Wanted::Only(Kind::Pools)) {
        facts.pool = get::<WarmPool>(connection, name).await?;
    }
    if !is_below && facts.pool.is_none() && wants(Wanted::Pod) {
        facts.pods.extend(get::<Pod>(connection, name).await?);
        owners(connection, &mut facts).await;
    }
    if facts.is_empty() {
        let what = match kind {
            Wanted::Any => "pool, Sandbox, Task or pod",
            Wanted::Pod => "pod",
            Wanted::Only(Kind::Pools) => "pool",
            Wanted::Only(Kind::Sandboxes) => "Sandbox",
            Wanted::Only(Kind::Tasks) => "Task",
        };
        return Err(Failure::absence(format!(
            "there is no {what} {name} in namespace {}; `kubectl arl get` shows what is there",
            connection.namespace
        )));
    }
    let now = table::now();
    if facts.task.is_none() {
        facts.setup = seen(setup(connection, &facts).await).flatten();
    }
    if facts.pods.is_empty() {
        facts.pods = telling(seen(pods(connection, &facts).await).unwrap_or_default());
    }
    if facts.wait(now) != Wait::No {
        facts.at_work = AtWork::look(connection).await;
    }
    for pod in &facts.pods {
        let of_it = ListParams::default().fields(&format!("involvedObject.name={}", pod.name_any()));
        let Some(events) = seen(listing::all(&connection.api::<Event>(), &of_it, "Events").await) else { break };
        facts.events.extend(events);
    }
    print::data(&explain(&facts, now))
}

/// What is below the object that was asked about. Who may not see it is told so, and sees the rest.
fn seen<T>(found: Result<T, Failure>) -> Option<T> {
    found.map_err(|failure| print::note(format!("left out: {}", failure.message))).ok()
}

/// The Sandbox that holds a pod, or where none does the pool that it was made for.
async fn owners(connection: &Connection, facts: &mut Facts) {
    let Some(pod) = facts.pods.first() else { return };
    let [sandbox, pool] = [labels::SANDBOX, labels::WARMPOOL].map(|label| pod.labels().get(label).cloned());
    if let Some(sandbox) = sandbox {
        facts.sandbox = seen(get::<Sandbox>(connection, &sandbox).await).flatten();
    } else if let Some(pool) = pool {
        facts.pool = seen(get::<WarmPool>(connection, &pool).await).flatten();
    }
}

/// The Task that sets the Sandbox up, unless it has.
async fn setup(connection: &Connection, facts: &Facts) -> Result<Option<Task>, Failure> {
    let setup = facts.sandbox.as_ref().and_then(|sandbox| sandbox.status.as_ref()?.setup.as_ref());
    match setup.filter(|setup| setup.state != TaskState::Succeeded) {
        Some(setup) => get(connection, &setup.task).await,
        None => Ok(None),
    }
}

/// The pod of the Sandbox, or where it has none the idle pods of the pool.
async fn pods(connection: &Connection, facts: &Facts) -> Result<Vec<Pod>, Failure> {
    let own = facts.sandbox.as_ref().and_then(|sandbox| sandbox.status.as_ref()?.pod_name.clone());
    if let Some(name) = own {
        return Ok(get::<Pod>(connection, &name).await?.into_iter().collect());
    }
    let Some(pool) = &facts.pool else { return Ok(Vec::new()) };
    let idle = format!("{}={},{}=ready", labels::WARMPOOL, pool.name_any(), labels::POD_STATE);
    listing::all(&connection.api::<Pod>(), &ListParams::default().labels(&idle), "pods").await
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
