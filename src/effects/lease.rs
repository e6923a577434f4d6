//! The Lease that says who leads, written on the version that was read.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api,
    api::{PatchParams, PostParams},
    core::ObjectMeta,
};
use serde_json::json;

use super::{Effects, Failure, Outcome, objects::json_patch};
use crate::object::{Key, Version};

impl Effects {
    /// The Lease as the API server has it.
    pub async fn read_lease(&self, key: &Key) -> Result<Outcome<Lease>, Failure> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), &key.namespace);
        self.call("get", "Lease", key, api.get(&key.name)).await
    }

    /// Creates the Lease, held by whom `spec` says.
    pub async fn create_lease(&self, key: &Key, spec: &LeaseSpec) -> Result<Outcome<Lease>, Failure> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), &key.namespace);
        let metadata = ObjectMeta { name: Some(key.name.clone()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(spec.clone()) };
        self.call("create", "Lease", key, api.create(&PostParams::default(), &lease)).await
    }

    /// Replaces what the Lease says, unless it changed since.
    pub async fn write_lease(&self, version: &Version, spec: &LeaseSpec) -> Result<Outcome<Lease>, Failure> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), &version.key.namespace);
        let patch = json!([
            { "op": "replace", "path": "/metadata/resourceVersion", "value": version.resource_version },
            { "op": "add", "path": "/spec", "value": spec },
        ]);
        let patch = match json_patch(patch) {
            Ok(patch) => patch,
            Err(refusal) => return Ok(Outcome::Refused(refusal)),
        };
        let params = PatchParams::default();
        self.call("patch", "Lease", &version.key, api.patch(&version.key.name, &params, &patch)).await
    }
}
