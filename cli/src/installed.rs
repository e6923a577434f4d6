//! What is installed in a cluster: the definitions and the operator.

use std::fmt::{self, Display};

use arl_crds::published;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::{Value, json};

use crate::{connect::Connection, failure::Failure, listing, starting::is_starting, table};

/// Where none of them is seen.
pub const UNSEEN: &str = "no pod of it is in this cluster";
/// The operator's pods, however it was installed.
const PODS: &str = "app.kubernetes.io/name=arl-operator";
/// Enough to recognise what is missing.
const NAMED: usize = 5;

/// The version of Kubernetes.
pub async fn cluster(connection: &Connection) -> Result<String, Failure> {
    let info = connection.kube.apiserver_version().await;
    Ok(info.map_err(|error| Failure::api("ask the cluster for its version", &error))?.git_version)
}

/// The definitions of a cluster, beside those of this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Definitions {
    /// They have all that ours have.
    UpToDate,
    /// These fields are missing.
    Older(Vec<String>),
    /// A kind is not there.
    Absent(String),
}

impl Display for Definitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpToDate => f.write_str("up to date"),
            Self::Older(fields) => {
                let named: Vec<_> = fields.iter().take(NAMED).map(String::as_str).collect();
                let named = named.join(", ");
                match fields.len() {
                    1 => write!(f, "older than this program: the field {named} is missing"),
                    all => write!(f, "older than this program: {all} fields are missing, such as {named}"),
                }
            }
            Self::Absent(kind) => write!(f, "not installed: there is no kind {kind}"),
        }
    }
}

impl Definitions {
    /// Of what an API server publishes.
    pub fn of(published: &Value) -> Self {
        let mut fields = Vec::new();
        for (_, definition) in arl_crds::definitions() {
            let kind = &definition.spec.names.kind;
            if !published::has(published, kind) {
                return Self::Absent(kind.clone());
            }
            let missing = published::missing(&definition, published);
            fields.extend(missing.into_iter().map(|field| format!("{kind}{field}")));
        }
        if fields.is_empty() { Self::UpToDate } else { Self::Older(fields) }
    }
}

/// Compares them, as everybody may.
pub async fn definitions(connection: &Connection) -> Result<Definitions, Failure> {
    let failed = |error: &dyn Display| Failure::ours(format!("the cluster's definitions cannot be read: {error}"));
    let request = http::Request::get(published::PATH).body(Vec::new()).map_err(|error| failed(&error))?;
    match connection.kube.request_text(request).await {
        Ok(text) => read(&text).map(|published| Definitions::of(&published)).map_err(|error| failed(&error)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Definitions::of(&Value::Null)),
        Err(error) => Err(Failure::api("read the cluster's definitions", &error)),
    }
}

/// Of a group whose last kind has just gone an empty document is published.
fn read(text: &str) -> serde_json::Result<Value> {
    if text.trim().is_empty() { Ok(Value::Null) } else { serde_json::from_str(text) }
}

/// A pod of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Where it is.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// As its labels say.
    pub version: String,
    /// The image.
    pub image: String,
    /// Whether it is ready.
    pub is_ready: bool,
    /// Whether it is on its way to that, and nothing is in the way.
    pub is_starting: bool,
    /// Whether it holds the Lease; not known without one, or without the right to see it.
    pub leads: Option<bool>,
}

impl Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, pod, version, image, is_ready, is_starting, leads } = self;
        let ready = match (is_ready, is_starting) {
            (true, _) => "ready",
            (false, true) => "starts",
            (false, false) => "not ready",
        };
        let role = match leads {
            Some(true) => ", leads",
            Some(false) => ", stands by",
            None => "",
        };
        write!(f, "{version}, image {image}, pod {namespace}/{pod}: {ready}{role}")
    }
}

impl Operator {
    /// For programs.
    pub fn value(&self) -> Value {
        let Self { namespace, pod, version, image, is_ready, is_starting: _, leads } = self;
        json!({ "namespace": namespace, "pod": pod, "version": version, "image": image, "ready": is_ready, "leads": leads })
    }

    fn of(pod: &Pod, holders: Option<&[String]>) -> Self {
        let spec = pod.spec.as_ref();
        let image = spec.and_then(|spec| spec.containers.first()?.image.clone()).unwrap_or_default();
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let is_ready = conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
        let version = pod.labels().get("app.kubernetes.io/version").cloned().unwrap_or_else(|| "unknown".to_owned());
        let name = pod.name_any();
        let leads = holders.filter(|holders| !holders.is_empty()).map(|holders| holders.contains(&name));
        let (namespace, is_starting) = (pod.namespace().unwrap_or_default(), is_starting(pod, table::now()));
        Self { namespace, pod: name, version, image, is_ready, is_starting, leads }
    }
}

/// The operator's pods, as far as they may be seen.
pub async fn operators(connection: &Connection) -> Result<Vec<Operator>, Failure> {
    let pods: Vec<Pod> =
        listing::all(&Api::all(connection.kube.clone()), &ListParams::default().labels(PODS), "pods").await?;
    let mut found = Vec::new();
    for pod in &pods {
        let namespace = pod.namespace().unwrap_or_default();
        let leases: Api<Lease> = Api::namespaced(connection.kube.clone(), &namespace);
        let leases = listing::all(&leases, &ListParams::default(), "Leases").await.ok();
        let holder = |lease: &Lease| lease.spec.as_ref()?.holder_identity.clone();
        let holders: Option<Vec<String>> = leases.map(|leases| {
            leases.iter().filter_map(holder).filter(|holder| pods.iter().any(|pod| pod.name_any() == *holder)).collect()
        });
        found.push(Operator::of(pod, holders.as_deref()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cluster_lacks_is_named() {
        assert_eq!(Definitions::of(&read("").unwrap()), Definitions::Absent("WarmPool".into()));
        assert!(read("{").is_err());
        let schemas = arl_crds::definitions().into_iter().map(|(plural, definition)| {
            let own = serde_json::to_value(&definition.spec.versions).unwrap();
            let mut schema = own[0]["schema"]["openAPIV3Schema"].clone();
            schema["x-kubernetes-group-version-kind"] =
                json!([{"group": arl_crds::GROUP, "kind": definition.spec.names.kind, "version": "v1alpha1"}]);
            (plural.to_string(), schema)
        });
        let mut published = json!({"components": {"schemas": schemas.collect::<serde_json::Map<_, _>>()}});
        assert_eq!(Definitions::of(&published), Definitions::UpToDate);
        let spec = &mut published["components"]["schemas"]["tasks"]["properties"]["spec"]["properties"];
        assert!(spec.as_object_mut().unwrap().remove("cancel").is_some());
        assert_eq!(
            Definitions::of(&published).to_string(),
            "older than this program: the field Task.spec.cancel is missing"
        );
    }

    #[test]
    fn an_operator_leads_where_it_holds_the_lease() {
        let pod: Pod = serde_json::from_value(json!({ "metadata": { "name": "o-1", "namespace": "arl-system",
            "labels": { "app.kubernetes.io/version": "1.2.3" } }, "spec": { "containers": [{ "name": "operator", "image": "i:1" }] },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] } }))
        .unwrap();
        let of = |holders: Option<&[String]>| Operator::of(&pod, holders).to_string();
        assert_eq!(of(None), "1.2.3, image i:1, pod arl-system/o-1: ready");
        assert_eq!(of(Some(&["o-1".to_owned()])), "1.2.3, image i:1, pod arl-system/o-1: ready, leads");
        assert!(of(Some(&["o-2".to_owned()])).ends_with("ready, stands by"));
        assert!(of(Some(&[])).ends_with("ready"));
    }
}
