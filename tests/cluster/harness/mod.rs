//! What every cluster test stands on: a [`World`], that is, a namespace with an operator process confined to it.

pub mod audit;
mod dump;
mod exec;
pub mod make;
pub mod record;
pub mod setup;
pub mod wait;

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};

/// A namespace of its own for one test, and the operator that serves only that.
pub struct World {
    /// With the rights of an administrator, as the user of the operator.
    pub client: Client,
    /// The test's namespace.
    pub ns: String,
    log: PathBuf,
    operator: Option<Child>,
}

impl World {
    /// A fresh namespace `t-<name>-<random>` with a running operator.
    pub async fn new(name: &str) -> Self {
        let mut world = Self::without_operator(name).await;
        world.start_operator().await;
        world
    }

    /// A fresh namespace that nobody serves (yet).
    pub async fn without_operator(name: &str) -> Self {
        let client = setup::client().await;
        setup::cluster(&client).await;
        let ns = setup::namespace(&client, name).await;
        let log = setup::logs().join(format!("{ns}.log"));
        Self { client, ns, log, operator: None }
    }

    /// Starts the operator as the namespace's ServiceAccount; a second start appends to the same log.
    pub async fn start_operator(&mut self) {
        assert!(self.operator.is_none(), "the operator runs already");
        let kubeconfig = setup::kubeconfig(&self.client, &self.ns).await;
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_arl-operator"))
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .args(["--watch-namespaces", &self.ns, "--log-format", "text", "--log-level", "info"])
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("the operator starts");
        self.operator = Some(child);
    }

    /// Kills the operator with SIGKILL: it gets no chance to tidy up.
    pub fn kill(&mut self) {
        let mut child = self.operator.take().expect("no operator runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Whether the operator has not exited by itself.
    pub fn operator_is_alive(&mut self) -> bool {
        self.operator.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// The most memory that the operator has had so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let pid = self.operator.as_ref().expect("the operator runs").id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB")).unwrap();
        peak.trim().parse::<u64>().unwrap() * 1024
    }

    /// The objects of a kind in the test's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.ns)
    }

    /// Who the operator is in the audit log.
    pub fn operator_user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.ns, setup::ACCOUNT)
    }
}

impl Drop for World {
    /// Runs its own runtime in its own thread: the test's may be the one that is being torn down.
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        let (ns, log) = (self.ns.clone(), self.log.clone());
        let tidied = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = setup::client().await;
                if failed {
                    dump::everything(&client, &ns, &log).await;
                }
                setup::delete_namespace(&client, &ns).await;
            });
        });
        if tidied.join().is_err() {
            eprintln!("namespace {} could not be tidied up", self.ns);
        }
        if let Some(mut child) = self.operator.take() {
            let ended = child.kill().and_then(|()| child.wait());
            if let Err(error) = ended {
                eprintln!("the operator of {} could not be ended: {error}", self.ns);
            }
        }
    }
}
