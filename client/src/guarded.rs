//! Objects as watches bring them: one that this version cannot read spoils no list and no watch, and none takes more memory on its way
//! than its text and what is read of it.
//!
//! Of a watch event the API server writes the type first, as its struct has it, so that the object can be taken as text.

use std::{borrow::Cow, fmt::Display};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error};
use serde_json::value::RawValue;

/// An object, or why it cannot be read.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<K, Unreadable>);

/// An object that cannot be read.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// Why.
    pub error: String,
    /// Which one it is.
    pub metadata: ObjectMeta,
}

/// All that is read of an object that cannot be read.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    metadata: Identity,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
}

impl Unreadable {
    fn new<E: Error>(error: impl Display, text: &str) -> Result<Self, E> {
        let Identity { name, namespace, uid, resource_version } =
            serde_json::from_str::<Named>(text).map_err(E::custom)?.metadata;
        let metadata = ObjectMeta { name, namespace, uid, resource_version, ..ObjectMeta::default() };
        Ok(Self { error: error.to_string(), metadata })
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let read = serde_json::from_str::<K>(text.get());
        read.map(Ok).or_else(|error| Unreadable::new(error, text.get()).map(Err)).map(Self)
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &K::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &K::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &K::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &K::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|unreadable| &unreadable.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|unreadable| &mut unreadable.metadata, K::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use arl_crds::WarmPool;
    use kube::core::{ObjectList, WatchEvent};
    use serde_json::{Value, json};

    use super::*;

    fn pool(replicas: &Value) -> Value {
        json!({
            "apiVersion": "arl.infra.io/v1alpha1", "kind": "WarmPool",
            "metadata": { "name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7", "labels": 5 },
            "spec": { "replicas": replicas, "template": {} },
        })
    }

    #[test]
    fn what_cannot_be_read_has_a_name_and_spoils_nothing() {
        let mut good = pool(&json!(1));
        good["metadata"]["labels"] = json!({});
        let list = json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": [pool(&json!(1)), good] });
        let list: ObjectList<Guarded<WarmPool>> = serde_json::from_str(&list.to_string()).unwrap();
        assert_eq!(list.items.iter().map(|found| found.0.is_ok()).collect::<Vec<_>>(), [false, true]);
        let event = format!(r#"{{"type":"ADDED","object":{}}}"#, pool(&json!("many")));
        let WatchEvent::Added(added) = serde_json::from_str::<WatchEvent<Guarded<WarmPool>>>(&event).unwrap() else {
            panic!("it was added");
        };
        let (meta, unreadable) = (added.meta().clone(), added.0.unwrap_err());
        assert_eq!((meta.name.as_deref(), meta.resource_version.as_deref()), (Some("p"), Some("7")));
        assert!(!unreadable.error.is_empty());
    }
}
