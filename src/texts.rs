//! Texts of others in what is read, made fit to be shown where they come in.

use arl_crds::text;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

/// The most bytes that are kept of a text.
const TEXT_MAX: usize = 1024;

/// A value whose texts are all short and printable, whatever was written.
pub fn printable<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<T, D::Error> {
    let mut value = Value::deserialize(from)?;
    make_printable(&mut value);
    serde_json::from_value(value).map_err(serde::de::Error::custom)
}

fn make_printable(value: &mut Value) {
    match value {
        Value::String(of) => *of = text::printable(of, TEXT_MAX),
        Value::Array(values) => values.iter_mut().for_each(make_printable),
        Value::Object(fields) => fields.values_mut().for_each(make_printable),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pod::Pod;

    #[test]
    fn no_text_in_a_pods_status_is_long_or_unprintable() {
        let hostile = format!("\u{1b}[2J\u{202e}{}", "x\n".repeat(100_000));
        let said = json!({ "reason": hostile, "message": hostile, "exitCode": 1 });
        let state = json!({ "waiting": said, "terminated": said });
        let container = json!({ "name": "c", "state": state, "lastState": state });
        let condition = json!({ "type": "Ready", "status": "False", "reason": hostile, "message": hostile });
        let status = json!({
            "phase": "Failed", "reason": hostile, "message": hostile, "nominatedNodeName": hostile,
            "conditions": [condition], "containerStatuses": [container], "initContainerStatuses": [container],
        });
        let pod: Pod = serde_json::from_value(json!({ "metadata": {}, "status": status })).unwrap();
        let mut texts = vec![serde_json::to_value(&pod.status).unwrap()];
        let mut seen = 0;
        while let Some(value) = texts.pop() {
            match value {
                Value::Array(values) => texts.extend(values),
                Value::Object(fields) => texts.extend(fields.into_iter().map(|(_, value)| value)),
                Value::String(text) => {
                    assert!(text.len() <= TEXT_MAX && !text.contains(char::is_control) && !text.contains('\u{202e}'));
                    seen += usize::from(text.contains('x'));
                }
                _ => {}
            }
        }
        assert!(seen >= 16, "only {seen} texts were read");
    }
}
