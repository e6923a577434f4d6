//! Objects of the cluster: all of a kind, and how programs get them.

use std::fmt::Debug;

use arl_client::guarded::{Guarded, Unreadable};
use arl_crds::Task;
use clap::ValueEnum;
use kube::{
    Api, Resource,
    api::{ListParams, WatchParams},
    core::{ObjectList, Request},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    failure::{Failure, unreadable},
    print,
};

/// Of a page.
const PAGE: u32 = 500;

/// How objects are printed, if not as a table for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// As JSON.
    Json,
    /// As YAML.
    Yaml,
    /// Their kinds and names alone.
    Name,
    /// As a table with more columns.
    Wide,
}

/// All objects, page by page.
pub async fn all<K>(api: &Api<K>, parameters: &ListParams, what: &str) -> Result<Vec<K>, Failure>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    all_as(api, parameters, what, |object| object).await
}

/// All objects, page by page, each as `keep` leaves it: what a page carries and nobody needs does not add up.
pub async fn all_as<K>(
    api: &Api<K>,
    parameters: &ListParams,
    what: &str,
    keep: impl Fn(K) -> K,
) -> Result<Vec<K>, Failure>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let mut parameters = parameters.clone().limit(PAGE);
    let mut objects = Vec::new();
    loop {
        let page = page(api, &parameters).await.map_err(|error| Failure::api(&format!("list {what}"), &error))?;
        objects.extend(page.items.into_iter().filter_map(readable).map(&keep));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(objects),
        }
    }
}

async fn page<K>(api: &Api<K>, parameters: &ListParams) -> kube::Result<ObjectList<Guarded<K>>>
where
    K: Resource + Clone + DeserializeOwned,
{
    let request = Request::new(api.resource_url()).list(parameters).map_err(kube::Error::BuildRequest)?;
    api.clone().into_client().request(request).await
}

/// The object. One that cannot be read is named on standard error, and keeps nobody from the others.
pub fn readable<K: Resource<DynamicType = ()>>(object: Guarded<K>) -> Option<K> {
    object.0.map_err(|unreadable| print::note(left_out::<K>(&unreadable))).ok()
}

/// Which object is left out, and why.
pub fn left_out<K: Resource<DynamicType = ()>>(Unreadable { error, metadata }: &Unreadable) -> String {
    let [name, namespace] = [&metadata.name, &metadata.namespace].map(|text| text.as_deref().unwrap_or_default());
    format!("left out: {} {name} in namespace {namespace}: {}", K::kind(&()), unreadable(error))
}

/// Asks whether these may be listed and watched: a watch tries for ever what is not allowed.
pub async fn allowed<K>(api: &Api<K>, selected: &ListParams) -> Result<(), Failure>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let refused = |verb: &str, error: &kube::Error| Failure::api(&format!("{verb} {}", K::plural(&())), error);
    let listed = api.list_metadata(&selected.clone().limit(1)).await.map_err(|error| refused("list", &error))?;
    let version = listed.metadata.resource_version.unwrap_or_default();
    let parameters = WatchParams { label_selector: selected.label_selector.clone(), ..WatchParams::default() };
    // What it would say is not waited for.
    api.watch_metadata(&parameters, &version).await.map(drop).map_err(|error| refused("watch", &error))
}

/// Outputs and contents are most of a Task, and no table shows them.
pub fn without_outputs(task: &mut Task) {
    task.spec.steps.clear();
    if let Some(status) = &mut task.status {
        (status.stdout, status.stderr) = (None, None);
        status.steps.clear();
    }
}

/// An object as the API has it.
pub fn value(object: impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(object).map_err(|error| Failure::ours(format!("an object cannot be written: {error}")))
}

/// Objects for programs: a list, as kubectl prints it.
pub fn list(format: Format, items: &[Value]) -> Result<String, Failure> {
    one(format, &json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items }))
}

/// Values that are no objects.
pub fn values(format: Format, values: Vec<Value>) -> Result<String, Failure> {
    one(format, &Value::Array(values))
}

/// One value.
pub fn one(format: Format, value: &Value) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::ours(format!("an object cannot be written: {error}"));
    match format {
        Format::Yaml => serde_saphyr::to_string(value).map_err(|error| failed(&error)),
        _ => serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|error| failed(&error)),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use kube::{Client, ResourceExt, client::Body};
    use tower::service_fn;

    use super::*;

    #[tokio::test]
    async fn an_object_that_cannot_be_read_keeps_nobody_from_the_others() {
        let task = |name: &str, ended: &str| {
            json!({
                "apiVersion": "arl.infra.io/v1alpha1", "kind": "Task", "metadata": { "name": name, "namespace": "ns" },
                "spec": { "sandboxRef": "s", "steps": [] }, "status": { "completedAt": ended },
            })
        };
        // The schema takes the one, and no clock has it.
        let items =
            [task("a", "2024-01-01T00:00:00Z"), task("b", "9999-12-31T23:59:59Z"), task("c", "2024-01-01T00:00:00Z")];
        let list = json!({ "apiVersion": "arl.infra.io/v1alpha1", "kind": "TaskList", "metadata": {}, "items": items });
        let answer = service_fn(move |_: http::Request<Body>| {
            let answer = http::Response::new(Body::from(list.to_string().into_bytes()));
            async move { Ok::<_, Infallible>(answer) }
        });
        let api = Api::<Task>::namespaced(Client::new(answer, "ns"), "ns");
        let listed = all(&api, &ListParams::default(), "tasks").await.unwrap();
        assert_eq!(listed.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["a", "c"]);
        let b = serde_json::from_value::<Guarded<Task>>(task("b", "9999-12-31T23:59:59Z")).unwrap();
        let said = left_out::<Task>(&b.0.unwrap_err());
        assert!(
            said.starts_with("left out: Task b in namespace ns: this version of kubectl arl cannot read it"),
            "{said}"
        );
    }
}
