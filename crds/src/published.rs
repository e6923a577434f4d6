//! Whether the definitions of a cluster are those of this crate. Of what a definition does not know, the API server keeps nothing
//! and says nothing, so that an old definition looks like a bug.
//!
//! They are read as everybody may read them, from the published OpenAPI at [`PATH`]: reading definitions needs a cluster-wide right.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

use crate::GROUP;

/// Where an API server publishes the schemas of the three kinds.
pub const PATH: &str = "/openapi/v3/apis/arl.infra.io/v1alpha1";
/// Fields of Kubernetes' own, which the published schema only refers to.
const NOT_OURS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// The fields of a definition that a cluster which publishes this does not have; all of them, where the kind is not there.
pub fn missing(definition: &CustomResourceDefinition, published: &Value) -> Vec<String> {
    let own = serde_json::to_value(&definition.spec.versions).unwrap_or_default();
    lacks(&own[0]["schema"]["openAPIV3Schema"], schema_of(published, &definition.spec.names.kind))
}

/// Whether a cluster that publishes this has the kind at all.
pub fn has(published: &Value, kind: &str) -> bool {
    !schema_of(published, kind).is_null()
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

/// The fields of `own` that `published` does not have.
fn lacks(own: &Value, published: &Value) -> Vec<String> {
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
        assert_eq!(lacks(&own, schema_of(&published, "Task")), [".spec.steps[].new"]);
        assert_eq!(lacks(&own, schema_of(&published, "Sandbox")), Vec::<String>::new());
        assert_eq!(lacks(&own, schema_of(&Value::Null, "Task")).len(), 5, "not installed at all");
        assert_eq!(["Task", "Sandbox", "WarmPool"].map(|kind| has(&published, kind)), [true, true, false]);

        let definition = |schema: &Value| -> CustomResourceDefinition {
            let version =
                json!({"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
            serde_json::from_value(json!({"metadata": {}, "spec": {
                "group": GROUP, "names": {"kind": "Task", "plural": "tasks"}, "scope": "Namespaced", "versions": [version],
            }}))
            .unwrap()
        };
        assert_eq!(missing(&definition(&own), &published), [".spec.steps[].new"]);
    }
}
