//! Objects of the cluster: all of a kind, and how programs get them.

use std::fmt::Debug;

use arl_crds::Task;
use clap::ValueEnum;
use kube::{
    Api, Resource,
    api::{ListParams, WatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::failure::Failure;

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
    K: Resource + Clone + Debug + DeserializeOwned,
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
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let mut parameters = parameters.clone().limit(PAGE);
    let mut objects = Vec::new();
    loop {
        let page = api.list(&parameters).await.map_err(|error| Failure::api(&format!("list {what}"), &error))?;
        objects.extend(page.items.into_iter().map(&keep));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(objects),
        }
    }
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
