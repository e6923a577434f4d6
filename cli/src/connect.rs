//! The way to the cluster: the kubeconfig, its context and the namespace.

use std::path::PathBuf;

use arl_client::{Client, Error, Sandbox};
use clap::Args;
use kube::{
    Api, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::failure::Failure;

/// Which cluster, and where in it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
pub struct Cluster {
    /// Namespace; unset: the one of the kubeconfig's context.
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Context of the kubeconfig; unset: its current one.
    #[arg(long, global = true)]
    context: Option<String>,
    /// Kubeconfig file; unset: KUBECONFIG, the default file, or the pod's own ServiceAccount.
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// A cluster that can be asked.
#[derive(Clone)]
pub struct Connection {
    /// For anything.
    pub kube: kube::Client,
    /// Where objects are, if nothing else is said.
    pub namespace: String,
    client: Client,
}

impl Connection {
    /// As the command line says.
    pub async fn to(cluster: &Cluster) -> Result<Self, Failure> {
        let config = config(cluster).await.map_err(|why| {
            Failure::ours(format!("there is no way to a cluster: {why}; --kubeconfig and --context choose one"))
        })?;
        let namespace = cluster.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let kube = kube::Client::try_from(config).map_err(|error| Failure::api("use the kubeconfig", &error))?;
        let client = Client::new(kube.clone(), namespace.as_str());
        Ok(Self { kube, namespace, client })
    }

    /// A client of Sandboxes, with a run of its own.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// A Sandbox that is there.
    pub async fn sandbox(&self, name: &str) -> Result<Sandbox, Failure> {
        match self.client().open(name).await {
            Err(Error::Api { source, .. }) if is_missing(&source) => Err(Failure::ours(format!(
                "there is no Sandbox {name} in namespace {}; `kubectl arl get` shows those that are there",
                self.namespace
            ))),
            opened => Ok(opened?),
        }
    }

    /// The objects of a kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.kube.clone(), &self.namespace)
    }
}

/// Whether an object is not there; its kind is known.
pub fn is_missing(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.code == 404 && status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

async fn config(cluster: &Cluster) -> Result<Config, String> {
    let options = KubeConfigOptions { context: cluster.context.clone(), ..KubeConfigOptions::default() };
    let config = match &cluster.kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path).map_err(|error| error.to_string())?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| error.to_string())?
        }
        None if options.context.is_some() => {
            Config::from_kubeconfig(&options).await.map_err(|error| error.to_string())?
        }
        None => Config::infer().await.map_err(|error| error.to_string())?,
    };
    Ok(config)
}
