//! JSON patch and JSON merge patch, as the API server applies them.

use serde_json::Value;

use crate::refusal::Refusal;

/// The object with the patch applied. A failed `test` or a path that leads nowhere is 422.
pub fn apply(content_type: &str, patch: &[u8], object: &Value) -> Result<Value, Refusal> {
    let bad = |error: &dyn std::fmt::Display| Refusal::new(400, "BadRequest", error.to_string());
    let mut patched = object.clone();
    match content_type {
        "application/json-patch+json" => {
            let operations: json_patch::Patch = serde_json::from_slice(patch).map_err(|e| bad(&e))?;
            json_patch::patch(&mut patched, &operations)
                .map_err(|error| Refusal::new(422, "Invalid", format!("the server rejected our request: {error}")))?;
        }
        "application/merge-patch+json" => {
            let changes: Value = serde_json::from_slice(patch).map_err(|e| bad(&e))?;
            json_patch::merge(&mut patched, &changes);
        }
        other => return Err(Refusal::new(415, "UnsupportedMediaType", format!("{other} is not modelled"))),
    }
    Ok(patched)
}
