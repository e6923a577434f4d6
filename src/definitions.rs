//! Whether the cluster's CustomResourceDefinitions are those the operator was built with. Of what a definition does not know,
//! the API server keeps nothing and says nothing, so that an old definition looks like a bug.
//!
//! They are read as everybody may read them, from the published OpenAPI, since reading definitions needs a cluster-wide right.

use std::collections::BTreeSet;

use arl_crds::GROUP;
use kube::Client;
use serde_json::Value;

use crate::metrics::Metrics;

/// Fields of Kubernetes' own, which the published schema only refers to.
const NOT_OURS: [&str; 3] = ["apiVersion", "kind", "metadata"];
/// Enough to recognise what is missing.
const NAMED: usize = 5;

/// Compares, and says in the log and in `arl_crd_schema_outdated` what is missing. For once, when the operator starts.
pub async fn compare(client: Client, metrics: std::sync::Arc<Metrics>) {
    let path = format!("/openapi/v3/apis/{GROUP}/v1alpha1");
    let published: Value = match http::Request::get(&path).body(Vec::new()) {
        Ok(request) => match client.request(request).await {
            Ok(published) => published,
            Err(kube::Error::Api(status)) if status.code == 404 => Value::Null,
            Err(error) => {
                return tracing::warn!(%error, path, "the cluster's CustomResourceDefinitions cannot be compared with the operator's");
            }
        },
        Err(error) => return tracing::error!(%error, path, "no request; this is a bug in the operator"),
    };
    for (plural, definition) in arl_crds::definitions() {
        let kind = &definition.spec.names.kind;
        let own = serde_json::to_value(&definition.spec.versions).unwrap_or_default();
        let missing = missing(&own[0]["schema"]["openAPIV3Schema"], schema_of(&published, kind));
        metrics.crd_outdated.with([kind]).set(i64::from(!missing.is_empty()));
        if !missing.is_empty() {
            tracing::error!(
                definition = format!("{plural}.{GROUP}"),
                missing = missing.len(),
                fields = missing.iter().take(NAMED).cloned().collect::<Vec<_>>().join(" "),
                "the cluster's CustomResourceDefinition is older than this operator, and the API server drops these fields; bring \
                 it up to date with the crds.yaml of this version: kubectl apply --server-side --force-conflicts -f crds.yaml, or \
                 helm upgrade with crds.enabled=true; then start the operator again"
            );
        }
    }
}

/// The published schema of a kind.
fn schema_of<'a>(published: &'a Value, kind: &str) -> &'a Value {
    let schemas = published["components"]["schemas"].as_object();
    let is_of_kind = |schema: &&Value| {
        let names = schema["x-kubernetes-group-version-kind"].as_array();
        names.into_iter().flatten().any(|name| name["group"] == GROUP && name["kind"] == kind)
    };
    schemas.into_iter().flat_map(|all| all.values()).find(is_of_kind).unwrap_or(&Value::Null)
}

/// The fields that `published` does not have.
fn missing(own: &Value, published: &Value) -> Vec<String> {
    let (own, published) = (fields(own), fields(published));
    own.difference(&published).cloned().collect()
}

/// The paths of all fields.
fn fields(schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut schemas = vec![(String::new(), schema)];
    while let Some((path, schema)) = schemas.pop() {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if !path.is_empty() || !NOT_OURS.contains(&name.as_str()) {
                let path = format!("{path}.{name}");
                found.insert(path.clone());
                schemas.push((path, property));
            }
        }
        for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
            if schema[key].is_object() {
                schemas.push((format!("{path}{mark}"), &schema[key]));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_old_definition_lacks_is_named() {
        let own = json!({"properties": {"metadata": {"properties": {"a": {}}}, "spec": {"properties": {
            "steps": {"items": {"properties": {"name": {}, "new": {}}}}, "labels": {"additionalProperties": {"type": "string"}},
        }}}});
        let named = |kind: &str, schema: Value| {
            let mut named = schema;
            named["x-kubernetes-group-version-kind"] = json!([{"group": GROUP, "kind": kind, "version": "v1alpha1"}]);
            named
        };
        let old = json!({"properties": {"more": {}, "spec": {"properties": {
            "steps": {"items": {"properties": {"name": {}}}}, "labels": {},
        }}}});
        let published = json!({"components": {"schemas": {
            "a": named("TaskList", json!({})), "b": named("Task", old), "c": named("Sandbox", own.clone()),
        }}});
        assert_eq!(missing(&own, schema_of(&published, "Task")), [".spec.steps[].new"]);
        assert_eq!(missing(&own, schema_of(&published, "Sandbox")), Vec::<String>::new());
        assert_eq!(missing(&own, schema_of(&Value::Null, "Task")).len(), 5, "not installed at all");
    }
}
