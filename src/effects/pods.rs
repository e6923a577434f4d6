//! Writes to pods: create, claim, delete.

use arl_crds::labels::{self, PodState};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api,
    api::{ListParams, PatchParams, PostParams},
    core::DynamicObject,
    discovery::ApiResource,
};
use serde_json::{Value, json};

use super::{
    Effects, Failure, Outcome,
    objects::{json_patch, unchanged, without_value},
};
use crate::{
    object::{Key, Version},
    pod::Pod,
};

/// A pod to create.
#[derive(Clone, Debug, PartialEq)]
pub struct NewPod {
    /// Where.
    pub key: Key,
    /// The whole pod, lossless.
    pub manifest: Value,
}

/// A claim: this pod, as it was seen, for that Sandbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The idle pod.
    pub pod: Version,
    /// The Sandbox's name.
    pub sandbox: String,
    /// The ownerReference to the Sandbox.
    pub owner: OwnerReference,
}

impl Effects {
    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates a pod of a pool.
    pub async fn create_pod(&self, pod: &NewPod) -> Result<Outcome<()>, Failure> {
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &pod.key.namespace, &resource);
        let object: DynamicObject = match serde_json::from_value(pod.manifest.clone()) {
            Ok(object) => object,
            Err(error) => return Ok(Outcome::Refused(super::Refusal { code: 422, message: error.to_string() })),
        };
        Ok(without_value(self.call("create", "Pod", &pod.key, api.create(&PostParams::default(), &object)).await?))
    }

    /// Deletes a pod, unless it changed since.
    pub async fn delete_pod(&self, version: &Version) -> Result<Outcome<()>, Failure> {
        let api = self.pods(&version.key.namespace);
        let deleted =
            self.call("delete", "Pod", &version.key, api.delete(&version.key.name, &unchanged(version))).await?;
        Ok(without_value(deleted))
    }

    /// Gives an idle pod to a Sandbox: labels, owner and annotations in one patch, which fails as a whole where the pod
    /// changed since. A failed `test` is answered 422, so a refusal is a lost race too.
    pub async fn claim(&self, claim: &Claim) -> Result<Outcome<Pod>, Failure> {
        let label = |name: &str| format!("/metadata/labels/{}", name.replace('/', "~1"));
        let annotation = |name: &str| format!("/metadata/annotations/{}", name.replace('/', "~1"));
        let patch = json!([
            { "op": "test", "path": "/metadata/uid", "value": claim.pod.uid.0 },
            { "op": "test", "path": "/metadata/resourceVersion", "value": claim.pod.resource_version },
            { "op": "test", "path": label(labels::POD_STATE), "value": PodState::Ready.as_str() },
            { "op": "replace", "path": label(labels::POD_STATE), "value": PodState::Allocated.as_str() },
            { "op": "add", "path": label(labels::SANDBOX), "value": claim.sandbox },
            { "op": "add", "path": annotation(labels::SAFE_TO_EVICT), "value": "false" },
            { "op": "add", "path": annotation(labels::DO_NOT_DISRUPT), "value": "true" },
            { "op": "replace", "path": "/metadata/ownerReferences", "value": [claim.owner] },
        ]);
        let patch = match json_patch(patch) {
            Ok(patch) => patch,
            Err(refusal) => return Ok(Outcome::Refused(refusal)),
        };
        let key = &claim.pod.key;
        let api = self.pods(&key.namespace);
        let claimed = self.call("claim", "Pod", key, api.patch(&key.name, &PatchParams::default(), &patch)).await?;
        match claimed {
            Outcome::Refused(refusal) if refusal.code == 422 => Ok(Outcome::Stale),
            // Nothing will change by itself, so it is tried again like any failure, and logged.
            Outcome::Refused(refusal) => Err(Failure::refused("claim", "Pod", key, refusal)),
            other => Ok(other),
        }
    }

    /// The pod as the API server has it.
    pub async fn read_pod(&self, key: &Key) -> Result<Outcome<Pod>, Failure> {
        self.call("get", "Pod", key, self.pods(&key.namespace).get(&key.name)).await
    }

    /// The pods labelled with `sandbox`, as the API server has them.
    pub async fn read_pods_of(&self, sandbox: &Key) -> Result<Vec<Pod>, Failure> {
        let params = ListParams::default().labels(&format!("{}={}", labels::SANDBOX, sandbox.name));
        let listed = self.call("list", "Pods of", sandbox, self.pods(&sandbox.namespace).list(&params)).await?;
        Ok(match listed {
            Outcome::Done(pods) => pods.items,
            _ => Vec::new(),
        })
    }
}
