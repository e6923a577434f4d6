//! What the API server does with our kinds by their CRDs: unknown fields are dropped, defaults filled in, and what the schema
//! or a rule forbids is refused.

use std::{collections::BTreeMap, sync::LazyLock};

use kube_cel::{CompiledSchema, Validator, compile_schema};
use serde_json::{Map, Value};

use crate::{
    kind::{Id, Kind},
    refusal::Refusal,
};

struct Published {
    schema: Value,
    rules: CompiledSchema,
}

static PUBLISHED: LazyLock<BTreeMap<Kind, Published>> = LazyLock::new(|| {
    let definitions = arl_crds::definitions().into_iter();
    definitions
        .map(|(plural, crd)| {
            let version = crd.spec.versions.into_iter().next().expect("a CRD has a version");
            let schema = version.schema.and_then(|s| s.open_api_v3_schema).expect("a version has a schema");
            let schema = serde_json::to_value(schema).expect("a schema is JSON");
            let rules = compile_schema(&schema);
            (Kind::of_plural(plural).expect("one of ours"), Published { schema, rules })
        })
        .collect()
});

/// Prunes, fills in defaults and validates. `rules` says whether the CEL rules are asked: they look at the spec only.
pub fn admit(id: &Id, object: &mut Value, old: Option<&Value>, rules: bool) -> Result<(), Refusal> {
    let Some(published) = PUBLISHED.get(&id.kind) else { return Ok(()) };
    let properties = published.schema["properties"].as_object().expect("a schema has properties");
    for part in ["spec", "status"] {
        let (Some(value), Some(schema)) = (object.get_mut(part), properties.get(part)) else { continue };
        shape(schema, value);
        check(schema, value, part).map_err(|why| Refusal::invalid(id, &why))?;
    }
    if object.get("spec").is_none() {
        return Err(Refusal::invalid(id, "spec: Required value"));
    }
    if rules && let Err(errors) = Validator::new().validate_compiled(&published.rules, object, old) {
        let said: Vec<_> = errors.iter().map(|e| format!("{}: {}", e.field_path, e.message)).collect();
        return Err(Refusal::invalid(id, &said.join("; ")));
    }
    Ok(())
}

/// Drops what the schema does not know, and adds what it has a default for.
fn shape(schema: &Value, value: &mut Value) {
    if let (Some(properties), Some(object)) = (schema["properties"].as_object(), value.as_object_mut()) {
        if schema["x-kubernetes-preserve-unknown-fields"] != true {
            object.retain(|key, _| properties.contains_key(key));
        }
        fill_in(properties, object);
    }
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                let known = schema["properties"].get(key).or(schema.get("additionalProperties"));
                if let Some(schema) = known {
                    shape(schema, inner);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| shape(&schema["items"], item)),
        _ => {}
    }
}

fn fill_in(properties: &Map<String, Value>, object: &mut Map<String, Value>) {
    for (key, schema) in properties {
        if let Some(default) = schema.get("default") {
            object.entry(key).or_insert_with(|| default.clone());
        }
    }
}

fn check(schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    let is_type = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    };
    let within = |bound: &str, found: Option<f64>, holds: fn(f64, f64) -> bool| {
        schema[bound].as_f64().zip(found).is_none_or(|(bound, found)| holds(found, bound))
    };
    #[allow(clippy::cast_precision_loss)] // lengths of texts in a test
    let (length, items) = (value.as_str().map(|s| s.len() as f64), value.as_array().map(|a| a.len() as f64));
    let in_range = within("minimum", value.as_f64(), |v, b| v >= b)
        && within("maximum", value.as_f64(), |v, b| v <= b)
        && within("minLength", length, |v, b| v >= b)
        && within("maxLength", length, |v, b| v <= b)
        && within("minItems", items, |v, b| v >= b)
        && within("maxItems", items, |v, b| v <= b);
    let listed = schema["enum"].as_array().is_none_or(|allowed| allowed.contains(value));
    if !is_type || !in_range || !listed {
        return Err(format!("{path}: Invalid value: {value}"));
    }
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(required).is_none() {
            return Err(format!("{path}.{required}: Required value"));
        }
    }
    match value {
        Value::Object(object) => object.iter().try_for_each(|(key, inner)| {
            let known = schema["properties"].get(key).or(schema.get("additionalProperties"));
            known.map_or(Ok(()), |schema| check(schema, inner, &format!("{path}.{key}")))
        }),
        Value::Array(items) => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array();
            for (n, item) in items.iter().enumerate() {
                let same =
                    |other: &Value| keys.is_some_and(|keys| keys.iter().all(|k| field(item, k) == field(other, k)));
                if items[..n].iter().any(same) {
                    return Err(format!("{path}[{n}]: Duplicate value"));
                }
                check(&schema["items"], item, &format!("{path}[{n}]"))?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn field<'a>(item: &'a Value, key: &Value) -> Option<&'a Value> {
    item.get(key.as_str()?)
}
