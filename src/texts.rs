//! Texts of others in what is read, made fit to be shown where they come in.

use arl_crds::text;
use kube::runtime::watcher;
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

/// What a call failed with, in the API server's words where it answered: the library's own text has the answer's fields as well.
pub fn call_failed(error: &kube::Error) -> String {
    let said = match error {
        kube::Error::Api(status) if status.message.is_empty() => format!("HTTP status {}", status.code),
        kube::Error::Api(status) => status.message.clone(),
        error => text::with_causes(error),
    };
    text::printable(&said, TEXT_MAX)
}

/// The same, of a watch.
pub fn watch_failed(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error) => format!("list: {}", call_failed(error)),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
            format!("watch: {}", call_failed(error))
        }
        watcher::Error::WatchError(status) => format!("watch: {}", call_failed(&kube::Error::Api(status.clone()))),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::{Value, json};

    use super::*;
    use crate::pod::Pod;

    #[test]
    fn what_failed_is_said_in_the_words_of_the_api_server_alone() {
        let status = |message: &str| Box::new(Status::failure(message, "Forbidden").with_code(403));
        let said = "pods is forbidden: User \"u\" cannot watch resource \"pods\"";
        let failed = watcher::Error::InitialListFailed(kube::Error::Api(status(said)));
        assert_eq!(watch_failed(&failed), format!("list: {said}"));
        assert_eq!(watch_failed(&watcher::Error::WatchError(status(""))), "watch: HTTP status 403");
        assert_eq!(call_failed(&kube::Error::Service("refused".into())), "ServiceError: refused");
    }

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
