//! The way to the cluster: the kubeconfig, its context and the namespace.

use std::{env, io, path::PathBuf, time::Duration};

use arl_client::{Client, Error, Sandbox, is_missing, is_unknown_kind};
use arl_crds::Sandbox as SandboxObject;
use clap::Args;
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Config, Resource,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep_until, timeout};

use crate::{failure::Failure, kind};

/// How long after its definition was applied a kind may still be unknown.
const DEFINED_MAX: Duration = Duration::from_secs(10);
/// Until it is asked for again.
const DEFINED_STEP: Duration = Duration::from_millis(200);
/// How long a cluster may take to say whether a namespace is there.
const ASKED_MAX: Duration = Duration::from_secs(5);

/// Which cluster, and where in it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
pub struct Cluster {
    /// Namespace; unset: the one of the kubeconfig's context.
    #[arg(short, long, global = true, value_name = "NAMESPACE", value_parser = kind::any)]
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
        let program = config.auth_info.exec.as_ref().and_then(|exec| exec.command.clone());
        let kube = arl_client::connect(config).map_err(|error| match &program {
            Some(program) => Failure::ours(format!(
                "{program}, which the kubeconfig names, gives no credentials: {error}; install it, or log in with it"
            )),
            None => Failure::api("use the kubeconfig", &error),
        })?;
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
            Err(Error::NoSandbox { .. }) => Err(self.missing::<SandboxObject>(name)),
            opened => Ok(opened?),
        }
    }

    /// Creates an object.
    pub async fn create<K>(&self, object: &K) -> kube::Result<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Serialize,
    {
        self.once_defined::<K, _, _>(
            async || self.api().create(&PostParams::default(), object).await,
            |error| Some(error),
        )
        .await
    }

    /// A call for objects of a kind, which is made again while the API server does not know the kind that has just been defined. `refusal` is
    /// what it says, if that is why the call failed.
    pub async fn once_defined<K: Resource<DynamicType = ()>, T, E>(
        &self,
        call: impl AsyncFn() -> Result<T, E>,
        refusal: fn(&E) -> Option<&kube::Error>,
    ) -> Result<T, E> {
        let until = Instant::now() + DEFINED_MAX;
        loop {
            let called = call().await;
            let Some(refused) = called.as_ref().err().and_then(refusal) else { return called };
            if !self.is_being_defined::<K>(refused, until).await {
                return called;
            }
        }
    }

    /// Whether a call that failed may be made again, since the kind has just been defined: the API server does not know it at once. It
    /// answers when it is time to.
    async fn is_being_defined<K: Resource<DynamicType = ()>>(&self, error: &kube::Error, until: Instant) -> bool {
        let again = Instant::now() + DEFINED_STEP;
        if !is_unknown_kind(error) || again > until {
            return false;
        }
        let definitions = Api::<CustomResourceDefinition>::all(self.kube.clone());
        let is_there = definitions.get_metadata(&format!("{}.{}", K::plural(&()), arl_crds::GROUP)).await.is_ok();
        if is_there {
            sleep_until(again).await;
        }
        is_there
    }

    /// Fails where the namespace is not there. Where that cannot be known, since not everybody may ask, it is taken to be.
    pub async fn check_namespace(&self) -> Result<(), Failure> {
        let (namespace, all) = (&self.namespace, Api::<Namespace>::all(self.kube.clone()));
        match timeout(ASKED_MAX, all.get_metadata(namespace)).await {
            Ok(Err(error)) if is_missing(&error) => Err(Failure::ours(format!(
                "there is no namespace {namespace} in this cluster; choose another one with -n, or make it: \
                 kubectl create namespace {namespace}"
            ))),
            _ => Ok(()),
        }
    }

    /// The same failure, or where it comes of a namespace that is not there, that.
    pub async fn explained(&self, failure: Failure) -> Failure {
        if !failure.is_absence {
            return failure;
        }
        self.check_namespace().await.err().unwrap_or(failure)
    }

    /// An object that is not there.
    pub fn missing<K: Resource<DynamicType = ()>>(&self, name: &str) -> Failure {
        Failure::absence(format!(
            "there is no {} {name} in namespace {}; `kubectl arl get` shows those that are there",
            K::kind(&()),
            self.namespace
        ))
    }

    /// A call for an object that should be there, such as to `delete` it, which failed.
    pub fn failed<K: Resource<DynamicType = ()>>(&self, verb: &str, name: &str, error: &kube::Error) -> Failure {
        if is_missing(error) {
            return self.missing::<K>(name);
        }
        Failure::api(&format!("{verb} {} {name}", K::kind(&())), error)
    }

    /// The objects of a kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.kube.clone(), &self.namespace)
    }
}

async fn config(cluster: &Cluster) -> Result<Config, String> {
    let options = KubeConfigOptions { context: cluster.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &cluster.kubeconfig {
        let kubeconfig = Kubeconfig::read_from(path).map_err(|error| unusable(&error))?;
        return Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| unusable(&error));
    }
    let found = match kubeconfig() {
        Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(config) => Ok(config),
        // A pod's own account has no contexts.
        Err(error) if options.context.is_some() => Err(unusable(&error)),
        Err(error) => Config::incluster().map_err(|_| unusable(&error)),
    }
}

/// That of the environment. Of several that KUBECONFIG names those that are not there are left out, as kubectl does.
fn kubeconfig() -> Result<Kubeconfig, KubeconfigError> {
    let named = env::var_os("KUBECONFIG").unwrap_or_default();
    let there: Vec<PathBuf> = env::split_paths(&named).filter(|path| path.exists()).collect();
    if there.is_empty() {
        return Kubeconfig::read();
    }
    let mut merged = Kubeconfig::default();
    for path in there {
        merged = merged.merge(Kubeconfig::read_from(path)?)?;
    }
    Ok(merged)
}

/// Why a kubeconfig is of no use, in one line.
fn unusable(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(error, path) if error.kind() == io::ErrorKind::NotFound => {
            format!("there is no kubeconfig {}", path.display())
        }
        KubeconfigError::ReadConfig(error, path) => {
            format!("the kubeconfig {} cannot be read: {error}", path.display())
        }
        KubeconfigError::LoadContext(name) => format!("the kubeconfig has no context {name}"),
        KubeconfigError::CurrentContextNotSet => {
            "the kubeconfig says of no context that it is the current one".to_owned()
        }
        other => other.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}
