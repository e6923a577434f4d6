//! Objects without what is nobody else's business: values of variables, contents, commands and outputs.

use serde_json::{Value, json};

/// Fields whose texts are those of users.
const TEXTS: [&str; 6] = ["content", "stdout", "stderr", "command", "args", "data"];
/// Annotations that tell of us; all others lose their values.
const KNOWN: [&str; 2] = ["arl.infra.io/", "kubernetes.io/"];

/// The same object with the lengths of such texts in their places.
pub fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("managedFields");
            for (name, field) in fields.iter_mut() {
                match name.as_str() {
                    "env" | "httpHeaders" => hide_values(field),
                    "annotations" => hide_annotations(field),
                    name if TEXTS.contains(&name) => hide(field),
                    _ => redact(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

/// Keeps the names of variables, and where their values come from.
fn hide_values(env: &mut Value) {
    match env {
        Value::Array(variables) => variables.iter_mut().filter_map(|variable| variable.get_mut("value")).for_each(hide),
        Value::Object(variables) => variables.values_mut().for_each(hide),
        other => hide(other),
    }
}

fn hide_annotations(annotations: &mut Value) {
    for (name, value) in annotations.as_object_mut().into_iter().flatten() {
        if !KNOWN.iter().any(|known| name.contains(known)) || name.ends_with("last-applied-configuration") {
            hide(value);
        }
    }
}

/// How much there was is told; nothing else is.
fn hide(value: &mut Value) {
    match value {
        Value::String(text) => *value = json!(format!("({} bytes)", text.len())),
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(fields) => fields.values_mut().for_each(hide),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_user_wrote_or_printed_is_left() {
        let mut task = json!({
            "metadata": { "name": "t", "managedFields": [{}], "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "SECRET", "other": "SECRET", "arl.infra.io/executor": "main",
            } },
            "spec": { "steps": [
                { "name": "a", "type": "Command", "command": ["SECRET", "SECRET"], "env": [{ "name": "TOKEN", "value": "SECRET" }] },
                { "name": "c", "httpHeaders": [{ "name": "Authorization", "value": "SECRET" }] },
                { "name": "b", "env": { "TOKEN": "SECRET" }, "content": "SECRET", "path": "/x" },
            ] },
            "status": { "state": "Failed", "stdout": "SECRET", "steps": [{ "stderr": "SECRET", "exitCode": 3 }] },
        });
        redact(&mut task);
        let text = task.to_string();
        assert!(!text.contains("SECRET") && !text.contains("managedFields"), "{text}");
        assert_eq!(task["spec"]["steps"][0]["command"], json!(["(6 bytes)", "(6 bytes)"]));
        assert_eq!(task["spec"]["steps"][0]["env"], json!([{ "name": "TOKEN", "value": "(6 bytes)" }]));
        assert_eq!(
            (&task["status"]["steps"][0]["exitCode"], &task["spec"]["steps"][2]["path"]),
            (&json!(3), &json!("/x"))
        );
        assert_eq!(task["metadata"]["annotations"]["arl.infra.io/executor"], "main");
    }
}
