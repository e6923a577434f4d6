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

use super::{Deleted, Effects, Failure, Haste, Since, objects::json_patch};
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

/// What became of a pod to create.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is there.
    Done,
    /// One of that name was there already.
    Exists,
}

/// What became of a claim.
#[must_use]
#[derive(Debug)]
pub enum Claimed {
    /// The pod is the Sandbox's.
    Done(Box<Pod>),
    /// The pod had changed since the decision, or is gone: its watch will tell.
    Lost,
    /// The pod is as it was, and is not given to the Sandbox; no watch will tell more.
    Refused(Failure),
}

impl Effects {
    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates a pod of a pool.
    pub async fn create_pod(&self, pod: &NewPod) -> Result<Created, Failure> {
        let (verb, kind) = ("create", "Pod");
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &pod.key.namespace, &resource);
        let object: DynamicObject = serde_json::from_value(pod.manifest.clone())
            .map_err(|error| Failure::unfit(verb, kind, &pod.key, &error))?;
        match self.call_in(Haste::Unhurried, verb, kind, &pod.key, api.create(&PostParams::default(), &object)).await {
            Ok(_) => Ok(Created::Done),
            Err(failure) if failure.exists() => Ok(Created::Exists),
            Err(failure) => Err(failure),
        }
    }

    /// Deletes a pod, unless it changed since.
    pub async fn delete_pod(&self, version: &Version) -> Result<Deleted, Failure> {
        self.delete_version("Pod", self.pods(&version.key.namespace), version).await
    }

    /// Gives an idle pod to a Sandbox: labels, owner and annotations in one patch, which fails as a whole where the pod
    /// changed since.
    pub async fn claim(&self, claim: &Claim) -> Result<Claimed, Failure> {
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
        let (verb, kind, key) = ("claim", "Pod", &claim.pod.key);
        let patch = json_patch(patch).map_err(|error| Failure::unfit(verb, kind, key, &error))?;
        let api = self.pods(&key.namespace);
        match self.call(verb, kind, key, api.patch(&key.name, &PatchParams::default(), &patch)).await {
            Ok(pod) => Ok(Claimed::Done(Box::new(pod))),
            Err(failure) if failure.is_gone() => Ok(Claimed::Lost),
            Err(failure) if failure.may_be_a_conflict() => match self.since::<Pod>(kind, &claim.pod).await? {
                Since::Changed | Since::Gone => Ok(Claimed::Lost),
                Since::Same => Ok(Claimed::Refused(failure)),
            },
            Err(failure) if failure.is_refusal() => Ok(Claimed::Refused(failure)),
            Err(failure) => Err(failure),
        }
    }

    /// The pod as the API server has it; none only where it is certainly gone.
    pub async fn read_pod(&self, key: &Key) -> Result<Option<Pod>, Failure> {
        match self.call("get", "Pod", key, self.pods(&key.namespace).get(&key.name)).await {
            Err(failure) if failure.is_gone() => Ok(None),
            found => found.map(Some),
        }
    }

    /// The pods labelled with `sandbox`, as the API server has them.
    pub async fn read_pods_of(&self, sandbox: &Key) -> Result<Vec<Pod>, Failure> {
        let params = ListParams::default().labels(&format!("{}={}", labels::SANDBOX, sandbox.name));
        let listed = self.call("list", "Pods of", sandbox, self.pods(&sandbox.namespace).list(&params)).await?;
        Ok(listed.items)
    }
}
