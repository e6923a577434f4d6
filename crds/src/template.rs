//! The pod template of a pool, kept lossless.
//!
//! A typed round trip would drop every field this build does not know, so the template stays the JSON the user wrote.
//! Its schema comes from the Kubernetes types, with unknown fields let through and descriptions only on the upper two
//! levels: whole, it would not fit the annotation that client-side `kubectl apply` writes.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::{bounded, labels::DEFAULT_CONTAINER};

/// The most values that a template may have, each field and item counted: far more than a pod needs. Fields that Kubernetes does not know
/// are kept, and `[{"a":1},{"a":1}]` takes a hundred times its text in memory.
pub const MAX_VALUES: usize = 20_000;

/// A PodTemplateSpec as it was written, of at most [`MAX_VALUES`] values.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct PodTemplate(pub Map<String, Value>);

impl<'de> Deserialize<'de> for PodTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bounded::object(deserializer, MAX_VALUES).map(Self)
    }
}

/// The container the steps run in cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoExecutor {
    /// The template has no containers.
    #[error("the template has no containers; give it at least one")]
    NoContainers,
    /// The pool names a container that does not exist.
    #[error(
        "spec.executor.container names the container {0:?}, which is none of the template's containers; correct it or remove it"
    )]
    Named(String),
    /// The annotation names a container that does not exist.
    #[error(
        "the template's annotation {DEFAULT_CONTAINER} names the container {0:?}, which it does not have; correct the \
         annotation or remove it"
    )]
    Unknown(String),
}

impl PodTemplate {
    /// The part of the template under `key`, where it is an object.
    pub fn section(&self, key: &str) -> Option<&Map<String, Value>> {
        self.0.get(key)?.as_object()
    }

    fn container_names(&self) -> impl Iterator<Item = &str> {
        let containers = self.section("spec").and_then(|s| s.get("containers")).and_then(Value::as_array);
        containers.into_iter().flatten().filter_map(|c| c.get("name")?.as_str())
    }

    /// The container of this name, if there is one.
    pub fn container(&self, name: &str) -> Option<&str> {
        self.container_names().find(|n| *n == name)
    }

    /// The container the steps run in: the one the `kubectl.kubernetes.io/default-container` annotation names, else the
    /// one named `executor`, else the first.
    pub fn executor(&self) -> Result<&str, NoExecutor> {
        let annotations = self.section("metadata").and_then(|m| m.get("annotations")).and_then(Value::as_object);
        if let Some(wanted) = annotations.and_then(|a| a.get(DEFAULT_CONTAINER)).and_then(Value::as_str) {
            return self.container_names().find(|n| *n == wanted).ok_or_else(|| NoExecutor::Unknown(wanted.to_owned()));
        }
        let by_name = self.container_names().find(|n| *n == "executor");
        by_name.or_else(|| self.container_names().next()).ok_or(NoExecutor::NoContainers)
    }

    /// A fingerprint of the template, equal for equal templates whatever the order of their keys.
    pub fn fingerprint(&self) -> String {
        // serde_json's Map is sorted, so equal templates have one text.
        let text = serde_json::to_string(&self.0).unwrap_or_default();
        format!("{:016x}", fnv1a(text.as_bytes()))
    }
}

/// FNV-1a, 64 bit: stable across builds, which std's hasher does not promise.
/// <http://www.isthe.com/chongo/tech/comp/fnv/>
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl JsonSchema for PodTemplate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PodTemplate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let settings = SchemaSettings::openapi3().with(|s| {
            s.inline_subschemas = true;
            s.meta_schema = None;
        });
        let full = settings.into_generator().into_root_schema_for::<PodTemplateSpec>();
        let mut schema = full.to_value();
        relax(&mut schema, 0);
        if let Some(containers) = schema.pointer_mut("/properties/spec/properties/containers") {
            containers["minItems"] = json!(1);
        }
        if let Some(object) = schema.as_object_mut() {
            object.remove("title");
            object.remove("$schema");
            object.insert("required".into(), json!(["spec"]));
        }
        Schema::try_from(schema).unwrap_or_default()
    }
}

/// Lets unknown fields through, lets quantities be numbers as Kubernetes does, and drops deep descriptions.
fn relax(schema: &mut Value, depth: usize) {
    let Some(object) = schema.as_object_mut() else { return };
    let is_quantity =
        object.get("description").and_then(Value::as_str).is_some_and(|d| d.contains("fixed-point representation"));
    if is_quantity {
        *schema = json!({ "x-kubernetes-preserve-unknown-fields": true });
        return;
    }
    if depth > 2 {
        object.remove("description");
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|p| relax(p, depth + 1));
        object.insert("x-kubernetes-preserve-unknown-fields".into(), json!(true));
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            relax(inner, depth + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(value: Value) -> PodTemplate {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_executor_is_the_annotated_then_the_named_then_the_first() {
        let containers = json!([{"name": "proxy"}, {"name": "executor"}, {"name": "tools"}]);
        let annotated = |name: &str| {
            template(
                json!({"metadata": {"annotations": {DEFAULT_CONTAINER: name}}, "spec": {"containers": containers}}),
            )
        };
        assert_eq!(annotated("tools").executor(), Ok("tools"));
        assert_eq!(annotated("nosuch").executor(), Err(NoExecutor::Unknown("nosuch".into())));
        assert_eq!(template(json!({"spec": {"containers": containers}})).executor(), Ok("executor"));
        assert_eq!(template(json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}})).executor(), Ok("a"));
        assert_eq!(template(json!({"spec": {"containers": []}})).executor(), Err(NoExecutor::NoContainers));
    }

    #[test]
    fn fingerprints_are_those_of_fnv_1a() {
        for (text, hash) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(fnv1a(text.as_bytes()), hash, "{text}");
        }
    }

    #[test]
    fn a_fingerprint_follows_the_content_not_the_order() {
        let a: PodTemplate = serde_json::from_str(r#"{"spec":{"x":1,"y":[1,2]}}"#).unwrap();
        let b: PodTemplate = serde_json::from_str(r#"{"spec":{"y":[1,2],"x":1}}"#).unwrap();
        let c: PodTemplate = serde_json::from_str(r#"{"spec":{"y":[2,1],"x":1}}"#).unwrap();
        assert_eq!(a.fingerprint(), b.fingerprint());
        assert_ne!(a.fingerprint(), c.fingerprint());
    }
}
