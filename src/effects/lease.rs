//! The Lease that says who leads, written on the version that was read.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api,
    api::{PatchParams, PostParams},
    core::ObjectMeta,
};
use serde_json::json;

use super::{Effects, Failure, Since, objects::json_patch};
use crate::object::{Key, Version};

/// What became of a write to the Lease.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub enum LeaseWrite {
    /// It says what was written.
    Done(Box<Lease>),
    /// Somebody else wrote it, made it or took it away first.
    Lost,
}

impl Effects {
    fn leases(&self, key: &Key) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    /// The Lease as the API server has it; none where there is none.
    pub async fn read_lease(&self, key: &Key) -> Result<Option<Lease>, Failure> {
        match self.call("get", "Lease", key, self.leases(key).get(&key.name)).await {
            Err(failure) if failure.is_gone() => Ok(None),
            found => found.map(Some),
        }
    }

    /// Creates the Lease, held by whom `spec` says.
    pub async fn create_lease(&self, key: &Key, spec: &LeaseSpec) -> Result<LeaseWrite, Failure> {
        let metadata = ObjectMeta { name: Some(key.name.clone()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(spec.clone()) };
        match self.call("create", "Lease", key, self.leases(key).create(&PostParams::default(), &lease)).await {
            Err(failure) if failure.exists() => Ok(LeaseWrite::Lost),
            written => written.map(|lease| LeaseWrite::Done(Box::new(lease))),
        }
    }

    /// Replaces what the Lease says, unless it changed since.
    pub async fn write_lease(&self, version: &Version, spec: &LeaseSpec) -> Result<LeaseWrite, Failure> {
        let (verb, kind, key) = ("patch", "Lease", &version.key);
        let patch = json!([
            { "op": "replace", "path": "/metadata/resourceVersion", "value": version.resource_version },
            { "op": "add", "path": "/spec", "value": spec },
        ]);
        let patch = json_patch(patch).map_err(|error| Failure::unfit(verb, kind, key, &error))?;
        let (api, params) = (self.leases(key), PatchParams::default());
        match self.call(verb, kind, key, api.patch(&key.name, &params, &patch)).await {
            Err(failure) if failure.may_be_a_conflict() => match self.since::<Lease>(kind, version).await? {
                Since::Changed | Since::Gone => Ok(LeaseWrite::Lost),
                Since::Same => Err(failure),
            },
            written => written.map(|lease| LeaseWrite::Done(Box::new(lease))),
        }
    }
}
