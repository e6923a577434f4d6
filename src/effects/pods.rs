//! Writes to pods: create, claim, delete.

use arl_crds::labels::{self, PodState};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api,
    api::{DeleteParams, ListParams, PatchParams, PostParams, Preconditions},
    client::Body,
    core::{Request, Status},
};
use serde_json::{Value, json};

use super::{
    Cause, Deleted, Effects, Failure, Haste, Refusal, Since,
    marks::{self, Made},
    objects::{json_patch, next_page},
};
use crate::{
    object::{Key, Uid, Version},
    pod::Pod,
};

/// Pods of a list that are in memory at once: each has up to the 1.5 MiB that etcd stores, and takes about twice that while it is parsed.
pub(super) const PAGE: u32 = 8;

/// So much of what the API server warns of is passed on.
const WARNINGS_MAX: usize = 8;
const WARNING_MAX: usize = 256;

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

impl Claim {
    fn is_made_of(&self, pod: &Pod) -> bool {
        pod.is_claimed_by(&self.sandbox, &Uid(self.owner.uid.clone()))
    }

    /// Whether all of it was put back, so that the pod is its pool's as before.
    fn is_undone_in(&self, pod: &Pod) -> bool {
        let is_anothers = pod.controller().is_some_and(|owner| owner.0 != self.owner.uid);
        is_anothers && pod.is_idle() && pod.sandbox().is_none()
    }
}

/// A Sandbox's pod, as it was read, that has not all that makes it the Sandbox's.
#[derive(Clone, Debug)]
pub struct Astray {
    /// The pod, whole.
    pub pod: Pod,
    /// The name of its pool.
    pub pool: String,
    /// The Sandbox's name.
    pub sandbox: String,
    /// The ownerReference to the Sandbox.
    pub owner: OwnerReference,
}

/// What became of a pod to create.
#[must_use]
#[derive(Clone, Debug)]
pub enum Created {
    /// It is there.
    Done {
        /// What the API server warns of, such as a field that it does not know and leaves out.
        warnings: Vec<String>,
    },
    /// One of that name is there already, which the pool controls or somebody else does.
    Exists(Box<Pod>),
}

/// What became of a claim.
#[must_use]
#[derive(Debug)]
pub enum Claimed {
    /// The pod is the Sandbox's.
    Done(Box<Pod>),
    /// The pod had changed since the decision, or is gone: its watch event reconciles again.
    Lost,
    /// The pod is as it was, and is not given to the Sandbox; there will be no watch event.
    Refused(Failure),
    /// A part of the claim was put back, so that the pod would be of use to nobody: it is deleted.
    HalfUndone(Failure),
}

/// The text of a `Warning` header, such as `299 - "unknown field \"spec.x\""`.
fn warning(header: &str) -> Option<String> {
    let (_, quoted) = header.split_once('"')?;
    let (text, _) = quoted.rsplit_once('"')?;
    let text = text.replace("\\\"", "\"").replace(char::is_control, " ");
    Some(text[..text.floor_char_boundary(WARNING_MAX)].to_owned())
}

impl Effects {
    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates a pod of a pool, which a Sandbox waits for or nobody does.
    pub async fn create_pod(&self, pod: &NewPod, haste: Haste) -> Result<Created, Failure> {
        match self.call_in(haste, 1, "create", "Pod", &pod.key, self.post_pod(pod)).await {
            Ok((made, warnings)) => match marks::changed(&pod.manifest, &made) {
                Some(words) => Err(self.delete_unmarked("create", &pod.key, made.metadata.uid, words).await),
                None => Ok(Created::Done { warnings }),
            },
            // What admits pods can answer so as well; one that was there and is gone is tried again.
            Err(failure) if failure.exists() => match self.read_pod(&pod.key).await? {
                Some(found) => Ok(Created::Exists(Box::new(found))),
                None => Err(failure),
            },
            Err(failure) => Err(failure),
        }
    }

    /// Deletes a pod whose marks or agent admission changed, since nobody would find it again, or could use it. Returns that as the failure, even where the deletion fails.
    async fn delete_unmarked(&self, verb: &'static str, pod: &Key, uid: Option<String>, words: String) -> Failure {
        let uid = Preconditions { uid, ..Preconditions::default() };
        let (api, params) = (self.pods(&pod.namespace), DeleteParams::default().preconditions(uid));
        let deleted = self.call("delete", "Pod", pod, api.delete(&pod.name, &params)).await;
        let words = match deleted {
            Err(failure) if !failure.is_gone() => format!("{words}; that pod is still there: {}", failure.cause()),
            _ => words,
        };
        Failure::new(verb, "Pod", pod, Cause::Refused(Refusal::new(403, words)))
    }

    /// The library's client passes no headers on, and warnings are in them.
    async fn post_pod(&self, pod: &NewPod) -> kube::Result<(Made, Vec<String>)> {
        let pods = Request::new(format!("/api/v1/namespaces/{}/pods", pod.key.namespace));
        let manifest = serde_json::to_vec(&pod.manifest).map_err(kube::Error::SerdeError)?;
        let request = pods.create(&PostParams::default(), manifest).map_err(kube::Error::BuildRequest)?;
        let response = self.client.send(request.map(Body::from)).await?;
        let (code, headers) = (response.status(), response.headers().clone());
        let body = response.into_body().collect_bytes().await?;
        if !code.is_success() {
            let status = serde_json::from_slice(&body)
                .unwrap_or_else(|_| Status::failure(&String::from_utf8_lossy(&body), "").with_code(code.as_u16()));
            return Err(kube::Error::Api(status.boxed()));
        }
        let made: Made = serde_json::from_slice(&body).map_err(kube::Error::SerdeError)?;
        let warnings = headers.get_all("warning").iter().filter_map(|value| warning(value.to_str().ok()?));
        Ok((made, warnings.take(WARNINGS_MAX).collect()))
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
            Ok(pod) if claim.is_made_of(&pod) => Ok(Claimed::Done(Box::new(pod))),
            Ok(pod) => {
                let words = format!("the pod, once claimed, {}", marks::NOT_AS_ASKED);
                if claim.is_undone_in(&pod) {
                    let refusal = Cause::Refused(Refusal::new(403, words));
                    return Ok(Claimed::Refused(Failure::new(verb, kind, key, refusal)));
                }
                Ok(Claimed::HalfUndone(self.delete_unmarked(verb, key, pod.metadata.uid, words).await))
            }
            Err(failure) if failure.may_be_a_conflict() => match self.since::<Pod>(kind, &claim.pod).await? {
                Since::Changed | Since::Gone => Ok(Claimed::Lost),
                Since::Same => Ok(Claimed::Refused(failure)),
            },
            Err(failure) if failure.is_refusal() => Ok(Claimed::Refused(failure)),
            Err(failure) => Err(failure),
        }
    }

    /// Puts back the owner and the labels of a pod that a Sandbox has on record; none where the pod changed meanwhile, or is gone.
    pub async fn take_back(&self, astray: Astray) -> Result<Option<Pod>, Failure> {
        let Astray { pod, pool, sandbox, owner } = astray;
        let (verb, kind, version) = ("take back", "Pod", Version::of(&pod));
        let mut marks = pod.metadata.labels.unwrap_or_default();
        marks.insert(labels::WARMPOOL.to_owned(), pool);
        marks.insert(labels::POD_STATE.to_owned(), PodState::Allocated.as_str().to_owned());
        marks.insert(labels::SANDBOX.to_owned(), sandbox);
        let mut owners = pod.metadata.owner_references.unwrap_or_default();
        owners.retain(|other| other.uid != owner.uid);
        owners.push(owner);
        let patch = json!([
            { "op": "test", "path": "/metadata/uid", "value": version.uid.0 },
            { "op": "test", "path": "/metadata/resourceVersion", "value": version.resource_version },
            { "op": "add", "path": "/metadata/labels", "value": marks },
            { "op": "add", "path": "/metadata/ownerReferences", "value": owners },
        ]);
        let key = &version.key;
        let patch = json_patch(patch).map_err(|error| Failure::unfit(verb, kind, key, &error))?;
        let api = self.pods(&key.namespace);
        match self.call(verb, kind, key, api.patch(&key.name, &PatchParams::default(), &patch)).await {
            Ok(pod) => Ok(Some(pod)),
            Err(failure) if failure.may_be_a_conflict() => match self.since::<Pod>(kind, &version).await? {
                Since::Changed | Since::Gone => Ok(None),
                Since::Same => Err(failure),
            },
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
        let mut params = ListParams::default().labels(&format!("{}={}", labels::SANDBOX, sandbox.name)).limit(PAGE);
        let api = self.pods(&sandbox.namespace);
        let mut pods = Vec::new();
        loop {
            let page = self.call("list", "Pods of", sandbox, api.list(&params)).await?;
            pods.extend(page.items.into_iter().map(Pod::slim));
            let Some(next) = next_page(params, page.metadata) else { return Ok(pods) };
            params = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_read() {
        let header = "299 - \"unknown field \\\"spec.securityContxt\\\"\"";
        assert_eq!(warning(header).as_deref(), Some("unknown field \"spec.securityContxt\""));
        assert_eq!(warning("299 - nothing quoted"), None);
        assert_eq!(warning(&format!("299 - \"{}\"", "x".repeat(9999))).map(|text| text.len()), Some(WARNING_MAX));
    }
}
