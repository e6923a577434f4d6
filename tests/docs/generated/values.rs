//! The chart's values, described and closed, and their table in docs/install.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::read;

fn schema() -> Value {
    serde_json::from_str(&read("deploy/chart/values.schema.json")).unwrap()
}

/// The properties of a schema that lists all there are.
fn closed(schema: &Value) -> Option<&serde_json::Map<String, Value>> {
    schema["properties"].as_object()
}

/// The values that are no groups of others, by path, with their schemas; and the paths of what is not described or not closed.
fn leaves<'a>(schema: &'a Value, path: &str, found: &mut BTreeMap<String, &'a Value>, bad: &mut Vec<String>) {
    let Some(properties) = closed(schema) else {
        found.insert(path.to_owned(), schema);
        return;
    };
    if schema["additionalProperties"] != false {
        bad.push(format!("{path} is open"));
    }
    for (key, property) in properties {
        let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if property["description"].as_str().is_none_or(str::is_empty) {
            bad.push(format!("{at} has no description"));
        }
        leaves(property, &at, found, bad);
    }
}

/// Every path of `values` down to the leaves of the schema, with its default.
fn defaults(schema: &Value, values: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    let (Some(properties), Some(object)) = (closed(schema), values.as_object()) else {
        found.push((path.to_owned(), values.clone()));
        return;
    };
    for (key, value) in object {
        let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        defaults(properties.get(key).unwrap_or(&Value::Null), value, &at, found);
    }
}

fn values() -> Value {
    serde_saphyr::from_str(&read("deploy/chart/values.yaml")).unwrap()
}

#[test]
fn every_value_is_described_and_nothing_else_is_allowed() {
    let schema = schema();
    let (mut described, mut bad) = (BTreeMap::new(), Vec::new());
    leaves(&schema, "", &mut described, &mut bad);
    assert_eq!(bad, Vec::<String>::new());
    let mut found = Vec::new();
    defaults(&schema, &values(), "", &mut found);
    let mut found: Vec<_> = found.into_iter().map(|(path, _)| path).collect();
    // Helm's own; it has no default.
    found.push("global".to_owned());
    found.sort();
    assert_eq!(found, described.into_keys().collect::<Vec<_>>(), "values.yaml (left) and values.schema.json (right)");
}

#[test]
fn the_description_check_can_fail() {
    let open = serde_json::json!({"properties": {"a": {"properties": {"b": {"type": "string"}}}}});
    let (mut found, mut bad) = (BTreeMap::new(), Vec::new());
    leaves(&open, "", &mut found, &mut bad);
    assert_eq!(bad, [" is open", "a has no description", "a is open", "a.b has no description"]);
    assert_eq!(found.into_keys().collect::<Vec<_>>(), ["a.b"]);
}

pub fn table() -> String {
    let schema = schema();
    let (mut described, mut bad) = (BTreeMap::new(), Vec::new());
    leaves(&schema, "", &mut described, &mut bad);
    let mut found = Vec::new();
    defaults(&schema, &values(), "", &mut found);
    let mut table = "| value | default | |\n|---|---|---|\n".to_owned();
    for (path, default) in found {
        let text = default.to_string();
        let default = if text.len() > 40 { "in values.yaml".to_owned() } else { format!("`{text}`") };
        let about = described[&path];
        let mut meaning = about["description"].as_str().unwrap().to_owned();
        if let Some(choices) = about["enum"].as_array() {
            let choices: Vec<_> = choices.iter().map(|choice| choice.as_str().unwrap()).collect();
            let _ = write!(meaning, " One of {}.", choices.join(", "));
        }
        let _ = writeln!(table, "| `{path}` | {default} | {meaning} |");
    }
    table
}
