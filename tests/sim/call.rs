//! A request, taken apart.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use http::{Method, header::CONTENT_TYPE, request::Parts};
use serde_json::Value;

use crate::{
    kind::{Id, Kind},
    refusal::Refusal,
    select::Selector,
    store::Deletion,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Replace,
    Patch,
    Delete,
}

impl Verb {
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

#[derive(Clone, Debug)]
pub struct Call {
    pub verb: Verb,
    plural: String,
    pub kind: Option<Kind>,
    pub namespace: Option<String>,
    name: Option<String>,
    pub status: bool,
    query: BTreeMap<String, String>,
    pub content_type: String,
    pub body: Bytes,
}

impl Call {
    pub fn parse(parts: &Parts, body: Bytes) -> Result<Self, Refusal> {
        let query: BTreeMap<String, String> = parts.uri.query().map(pairs).unwrap_or_default();
        let mut path = parts.uri.path().split('/').filter(|p| !p.is_empty()).map(str::to_owned);
        // /api/v1/.. or /apis/GROUP/VERSION/..
        let skip = if path.next().as_deref() == Some("api") { 1 } else { 2 };
        let mut path = path.skip(skip).peekable();
        let mut namespace = None;
        let mut plural = path.next().unwrap_or_default();
        let mut name = path.next();
        if plural == "namespaces" && path.peek().is_some() {
            namespace = name.take();
            plural = path.next().unwrap_or_default();
            name = path.next();
        }
        let status = match path.next().as_deref() {
            None => false,
            Some("status") => true,
            Some(other) => return Err(Refusal::new(404, "NotFound", format!("subresource {other} is not modelled"))),
        };
        let verb = match (&parts.method, &name) {
            (&Method::GET, _) if query.get("watch").is_some_and(|w| w == "true") => Verb::Watch,
            (&Method::GET, Some(_)) => Verb::Get,
            (&Method::GET, None) => Verb::List,
            (&Method::POST, _) => Verb::Create,
            (&Method::PUT, _) => Verb::Replace,
            (&Method::PATCH, _) => Verb::Patch,
            (&Method::DELETE, Some(_)) => Verb::Delete,
            (method, _) => return Err(Refusal::new(405, "MethodNotAllowed", format!("{method} is not modelled"))),
        };
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        Ok(Self { verb, kind: Kind::of_plural(&plural), plural, namespace, name, status, query, content_type, body })
    }

    /// The object it is about, where the path names one.
    pub fn id(&self) -> Option<Id> {
        Some(Id::new(self.kind?, self.namespace.as_deref().unwrap_or_default(), self.name.as_deref()?))
    }

    /// The object it creates.
    pub fn created(&self, kind: Kind, object: &Value) -> Id {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        Id::new(kind, self.namespace.as_deref().unwrap_or_default(), name)
    }

    pub fn is_event(&self) -> bool {
        self.plural == "events"
    }

    /// Watchers page through a list before they watch.
    pub fn is_list_of_a_watch(&self) -> bool {
        let is_of_one = ["labelSelector", "fieldSelector"].iter().any(|selector| self.asked(selector).contains('='));
        self.verb == Verb::List && self.query.contains_key("limit") && !is_of_one
    }

    pub fn selector(&self) -> Selector {
        Selector::parse(self.asked("labelSelector"), self.asked("fieldSelector"))
    }

    pub fn asked(&self, parameter: &str) -> &str {
        self.query.get(parameter).map(String::as_str).unwrap_or_default()
    }

    pub fn number(&self, parameter: &str) -> Option<u64> {
        self.asked(parameter).parse().ok()
    }

    pub fn deletion(&self) -> Result<Deletion, Refusal> {
        let options: Value = match &self.body {
            empty if empty.is_empty() => Value::Null,
            body => serde_json::from_slice(body).map_err(|e| Refusal::new(400, "BadRequest", e.to_string()))?,
        };
        let text = |path: &str| options.pointer(path).and_then(Value::as_str).map(str::to_owned);
        Ok(Deletion {
            grace: options["gracePeriodSeconds"].as_i64(),
            uid: text("/preconditions/uid"),
            resource_version: text("/preconditions/resourceVersion"),
            foreground: text("/propagationPolicy").as_deref() == Some("Foreground"),
        })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = if self.status { "/status" } else { "" };
        write!(f, "{:?} {}{part}", self.verb, self.plural)?;
        if self.verb == Verb::Create {
            let object: Value = serde_json::from_slice(&self.body).unwrap_or_default();
            return write!(
                f,
                " {}",
                if self.is_event() { "" } else { object["metadata"]["name"].as_str().unwrap_or_default() }
            );
        }
        if self.is_event() { Ok(()) } else { write!(f, " {}", self.name.as_deref().unwrap_or_default()) }
    }
}

fn pairs(query: &str) -> BTreeMap<String, String> {
    let pair = |part: &str| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (decoded(key), decoded(value))
    };
    query.split('&').map(pair).collect()
}

/// Percent-decoding; kube encodes as forms do.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        let (byte, skip) = match (first, hex) {
            (_, Some(byte)) => (byte, 3),
            (b'+', None) => (b' ', 1),
            (other, None) => (*other, 1),
        };
        bytes.push(byte);
        rest = &rest[skip..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
