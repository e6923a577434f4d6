//! Label and field selectors, as far as the operator and its users use them.

use serde_json::Value;

use crate::store::label;

/// A selector of a list or a watch.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    labels: Vec<(String, Option<String>)>,
    fields: Vec<(String, String)>,
}

impl Selector {
    /// `labels` as `a,b=c`, `fields` as `x.y=z`.
    pub fn parse(labels: &str, fields: &str) -> Self {
        let parts = |text: &str| text.split(',').filter(|p| !p.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let pair =
            |part: String| part.split_once('=').map(|(k, v)| (k.to_owned(), v.trim_start_matches('=').to_owned()));
        let labels = parts(labels).into_iter().map(|part| match pair(part.clone()) {
            Some((key, value)) => (key, Some(value)),
            None => (part, None),
        });
        Self { labels: labels.collect(), fields: parts(fields).into_iter().filter_map(pair).collect() }
    }

    pub fn matches(&self, object: &Value) -> bool {
        let labelled = |(key, wanted): &(String, Option<String>)| {
            label(object, key).is_some_and(|found| wanted.as_deref().is_none_or(|w| w == found))
        };
        let has = |(path, wanted): &(String, String)| {
            object.pointer(&format!("/{}", path.replace('.', "/"))).and_then(Value::as_str) == Some(wanted)
        };
        self.labels.iter().all(labelled) && self.fields.iter().all(has)
    }
}
