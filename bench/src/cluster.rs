//! The cluster: what must be there, and the namespaces and identities that a run makes in it.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::{
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::{Namespace, Node, Pod, ServiceAccount},
        rbac::v1::{ClusterRole, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{conditions::is_deleted, wait::await_condition},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::seen::DEADLINE;

/// The operator's ServiceAccount, and the ClusterRole it is bound to.
pub const ACCOUNT: &str = "arl-operator";
/// Pods that the cluster is not filled with, so that others can start one.
const RESERVE: usize = 10;

/// The container of every pod that is made for a measurement.
pub fn container() -> Value {
    json!({"name": "executor", "image": "busybox:1", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "2147483647"]})
}

/// A cluster, as its administrator.
pub struct Cluster {
    /// With all rights.
    pub client: Client,
    kubeconfig: Kubeconfig,
}

impl Cluster {
    /// The cluster of a kubeconfig.
    pub async fn connect(path: &Path) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(path).with_context(|| {
            format!("{} cannot be used; run `make cluster-up` or give --kubeconfig", path.display())
        })?;
        Ok(Self { client: client_of(&kubeconfig).await?, kubeconfig })
    }

    /// Its version, such as v1.34.4.
    pub async fn version(&self) -> Result<String> {
        Ok(self
            .client
            .apiserver_version()
            .await
            .context("the API server does not answer; run `make cluster-up`")?
            .git_version)
    }

    /// Fails where the kinds or the operator's rights are missing.
    pub async fn is_prepared(&self) -> Result<()> {
        for plural in ["sandboxes", "tasks", "warmpools"] {
            let found = self.definition(plural).await?;
            found.ok_or_else(|| {
                anyhow!("the cluster has no {plural}.{}; run `kubectl apply -f crds/`", arl_crds::GROUP)
            })?;
        }
        if Api::<ClusterRole>::all(self.client.clone()).get_opt(ACCOUNT).await?.is_none() {
            bail!("the cluster has no ClusterRole {ACCOUNT}; run `kubectl apply -f deploy/kustomize/base/rbac.yaml`");
        }
        Ok(())
    }

    /// Whether a WarmPool can ask for an executor mode.
    pub async fn has_modes(&self) -> Result<bool> {
        let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/executor/properties/mode";
        let definition = serde_json::to_value(self.definition("warmpools").await?)?;
        Ok(definition.pointer(path).is_some())
    }

    async fn definition(&self, plural: &str) -> Result<Option<CustomResourceDefinition>> {
        let name = format!("{plural}.{}", arl_crds::GROUP);
        Ok(Api::all(self.client.clone()).get_opt(&name).await?)
    }

    /// How many more pods the nodes have room for, by their number alone, with a few left over.
    pub async fn free_pods(&self) -> Result<usize> {
        let all = ListParams::default();
        let nodes = Api::<Node>::all(self.client.clone()).list(&all).await?;
        let usable = nodes.iter().filter(|n| n.spec.as_ref().is_none_or(|s| s.unschedulable != Some(true)));
        let room: usize =
            usable.filter_map(|n| n.status.as_ref()?.allocatable.as_ref()?.get("pods")?.0.parse::<usize>().ok()).sum();
        let pods = Api::<Pod>::all(self.client.clone()).list(&all).await?;
        let ended = |p: &&Pod| {
            p.status
                .as_ref()
                .and_then(|s| s.phase.as_deref())
                .is_some_and(|phase| matches!(phase, "Succeeded" | "Failed"))
        };
        let used = pods.items.len() - pods.iter().filter(ended).count();
        let free = room.saturating_sub(used + RESERVE);
        if free < 8 {
            bail!("the nodes hold {room} pods and {used} are there: too few are left; delete some, or add a node");
        }
        Ok(free)
    }

    /// A new namespace with the operator's ServiceAccount, which has the operator's rights in it.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let wanted = from(json!({"metadata": {"generateName": prefix}}))?;
        let ns = namespaces.create(&PostParams::default(), &wanted).await.context("a namespace is refused")?.name_any();
        let made = self.fill_namespace(&ns).await;
        if made.is_err() {
            self.delete_namespace(&ns).await;
        }
        made.map(|()| ns)
    }

    async fn fill_namespace(&self, ns: &str) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), ns);
        accounts.create(&PostParams::default(), &from(json!({"metadata": {"name": ACCOUNT}}))?).await?;
        let binding: RoleBinding = from(json!({
            "metadata": {"name": ACCOUNT},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ACCOUNT},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": ns}],
        }))?;
        Api::namespaced(self.client.clone(), ns).create(&PostParams::default(), &binding).await?;
        // Pods are refused until the namespace has its default account, a moment after it was created.
        let is_there = await_condition(accounts, "default", |a: Option<&ServiceAccount>| a.is_some());
        timeout(DEADLINE, is_there)
            .await
            .with_context(|| format!("namespace {ns} got no default ServiceAccount"))??;
        Ok(())
    }

    /// A kubeconfig that is a namespace's operator, for an hour.
    pub async fn identity(&self, ns: &str) -> Result<Value> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), ns);
        let spec = TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let issued = accounts.create_token_request(ACCOUNT, &PostParams::default(), &request).await?;
        let token = issued.status.context("a token request was answered without a token")?.token;
        let mut config = serde_json::to_value(&self.kubeconfig)?;
        config["users"] = json!([{"name": ACCOUNT, "user": {"token": token}}]);
        for context in config["contexts"].as_array_mut().into_iter().flatten() {
            context["context"]["user"] = json!(ACCOUNT);
        }
        Ok(config)
    }

    /// Deletes a namespace with all that is in it and waits for its end; says so where that fails.
    pub async fn delete_namespace(&self, ns: &str) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let deleted = async {
            let answer = namespaces.delete(ns, &DeleteParams::default()).await?;
            if let Some(uid) = answer.left().and_then(|namespace| namespace.uid()) {
                timeout(DEADLINE, await_condition(namespaces, ns, is_deleted(&uid))).await??;
            }
            anyhow::Ok(())
        };
        if let Err(error) = deleted.await {
            eprintln!("namespace {ns} is not gone: {error}; delete it with `kubectl delete namespace {ns}`");
        }
    }
}

/// A client with the rights of a kubeconfig's current context.
pub async fn client_of(kubeconfig: &Kubeconfig) -> Result<Client> {
    let config = Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await?;
    Ok(arl_client::connect(config)?)
}

/// A typed object from a literal one.
pub fn from<K: DeserializeOwned>(value: Value) -> Result<K> {
    serde_json::from_value(value).context("an object of the benchmark does not fit its type")
}
