//! The way to a namespace.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arl_client::{Archive, Error, Snapshot};
use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use pyo3::prelude::*;
use tokio::sync::OnceCell;

use crate::{
    call::Call,
    sandbox::{Claimed, RELEASES, Sandbox},
};

/// Whether a run can be called this.
#[pyfunction]
pub(crate) fn is_run_id(text: &str) -> bool {
    arl_client::check_run_id(text).is_ok()
}

/// Names and values.
type Pairs = Vec<(String, String)>;

/// Which namespace of which cluster.
struct Target {
    kubeconfig: Option<String>,
    context: Option<String>,
    namespace: Option<String>,
    run_id: String,
    connected: OnceCell<(arl_client::Client, String)>,
}

impl Target {
    /// Connects when it is first needed, and again where that has failed.
    async fn client(&self) -> Result<&arl_client::Client, Error> {
        let connected = self.connected.get_or_try_init(|| async {
            let config = self.config().await?;
            let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
            arl_client::check_name("namespace", &namespace)?;
            let client = arl_client::connect(config).map_err(|error| Error::Config(error.to_string()))?;
            Ok((arl_client::Client::in_run(client, namespace.clone(), self.run_id.clone())?, namespace))
        });
        connected.await.map(|(client, _)| client)
    }

    async fn config(&self) -> Result<Config, Error> {
        let unusable = |error: &dyn std::fmt::Display| Error::Config(error.to_string());
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        match &self.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(|error| unusable(&error))?;
                Config::from_custom_kubeconfig(file, &options).await.map_err(|error| unusable(&error))
            }
            None if options.context.is_some() => {
                Config::from_kubeconfig(&options).await.map_err(|error| unusable(&error))
            }
            None => Config::infer().await.map_err(|error| unusable(&error)),
        }
    }
}

/// Where the archive of a snapshot is kept: bytes, or the path of a file.
#[derive(FromPyObject)]
enum Kept {
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl From<Kept> for Archive {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Bytes(bytes) => bytes.into(),
            Kept::File(path) => path.into(),
        }
    }
}

/// A client for one namespace, for all threads and event loops.
#[pyclass(frozen)]
pub(crate) struct Client {
    target: Arc<Target>,
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (kubeconfig, context, namespace, run_id))]
    fn new(kubeconfig: Option<String>, context: Option<String>, namespace: Option<String>, run_id: String) -> Self {
        let target = Target { kubeconfig, context, namespace, run_id, connected: OnceCell::new() };
        Self { target: Arc::new(target) }
    }

    #[getter]
    fn run_id(&self) -> &str {
        &self.target.run_id
    }

    /// Where it is not given, it is known once the client is connected.
    fn namespace(&self) -> Call {
        let target = Arc::clone(&self.target);
        let work = async move {
            target.client().await?;
            Ok(target.connected.get().map(|(_, namespace)| namespace.clone()))
        };
        Call::new(work, |py, namespace| Ok(namespace.into_pyobject(py)?.into_any().unbind()))
    }

    /// Claims a Sandbox. One that nobody has waited for to the end is given up. It starts from a snapshot, and with a setup, which is JSON.
    #[pyo3(signature = (pool, name, labels_and_envs, idle_ttl, wait, files_and_setup))]
    fn claim(
        &self,
        pool: String,
        name: Option<String>,
        labels_and_envs: (Pairs, Pairs),
        idle_ttl: Duration,
        wait: Duration,
        files_and_setup: (Option<(u64, String, Kept)>, Option<String>),
    ) -> Call {
        let target = Arc::clone(&self.target);
        let work = async move {
            let mut claim = target.client().await?.claim(pool).idle_ttl(idle_ttl).wait(wait);
            if let Some(name) = name {
                claim = claim.name(name);
            }
            let (labels, envs) = labels_and_envs;
            for (name, value) in labels {
                claim = claim.label(name, value);
            }
            for (name, value) in envs {
                claim = claim.env(name, value);
            }
            let (files, setup) = files_and_setup;
            if let Some(setup) = setup {
                claim = claim.setup(serde_json::from_str(&setup).map_err(|error| Error::Usage(error.to_string()))?);
            }
            if let Some((bytes, sha256, kept)) = files {
                claim = claim.snapshot(Snapshot { bytes, sha256 }, kept);
            }
            Ok(Claimed::new(claim.await?))
        };
        Call::new(work, |py, claimed| claimed.into_python(py))
    }

    /// A Sandbox that was claimed before. One that nobody waits for is left alone.
    fn open(&self, name: String) -> Call {
        let target = Arc::clone(&self.target);
        let work = async move { target.client().await?.open(&name).await };
        Call::new(work, |py, sandbox| Ok(Py::new(py, Sandbox::from(sandbox))?.into_any()))
    }

    /// Makes a pool; its spec is JSON.
    fn create_pool(&self, name: String, spec: String) -> Call {
        let target = Arc::clone(&self.target);
        Call::unit(async move {
            let spec = serde_json::from_str(&spec).map_err(|error| Error::Usage(error.to_string()))?;
            target.client().await?.create_pool(&name, spec).await
        })
    }

    fn delete_pool(&self, name: String) -> Call {
        let target = Arc::clone(&self.target);
        Call::unit(async move { target.client().await?.delete_pool(&name).await })
    }

    /// The same as a Sandbox's own, for who holds it no more.
    fn release(&self, name: String, uid: Option<String>) -> Call {
        let target = Arc::clone(&self.target);
        Call::unit(async move {
            let _permit = RELEASES.acquire().await;
            target.client().await?.release(&name, uid.as_deref()).await
        })
    }

    fn reap(&self, run_id: String) -> Call {
        let target = Arc::clone(&self.target);
        Call::count(async move { target.client().await?.reap(&run_id).await.map(|count| count as u64) })
    }
}
