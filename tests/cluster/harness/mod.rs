//! What every cluster test stands on: a [`World`], that is, a namespace with an operator process confined to it.

pub mod audit;
pub mod bystander;
pub mod child;
mod dump;
mod exec;
pub mod make;
pub mod operator;
pub mod proxy;
pub mod record;
pub mod setup;
pub mod wait;

use std::path::PathBuf;

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use operator::Operator;

/// A namespace of its own for one test, and the operator that serves only that.
pub struct World {
    /// With the rights of an administrator, as the user of the operator.
    pub client: Client,
    /// The test's namespace.
    pub ns: String,
    log: PathBuf,
    operator: Option<Operator>,
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
        let world = Self::served(name).await;
        setup::admit_operator(&client, &world.ns).await;
        world
    }

    /// A fresh namespace in a cluster where the operator is installed.
    pub async fn served(name: &str) -> Self {
        let client = setup::client().await;
        let ns = setup::namespace(&client, name).await;
        let log = setup::logs().join(format!("{ns}.log"));
        Self { client, ns, log, operator: None }
    }

    /// Starts the operator as the namespace's ServiceAccount; a second start appends to the same log.
    pub async fn start_operator(&mut self) {
        assert!(self.operator.is_none(), "the operator runs already");
        let kubeconfig = setup::kubeconfig(&self.client, &self.ns).await;
        self.operator = Some(Operator::start(&kubeconfig, &self.ns, &self.log, &[], &[]));
    }

    /// Starts one more operator, called `name`, that looks after these namespaces, with more flags. It ends with the returned
    /// value.
    pub async fn another_operator(&self, name: &str, namespaces: &str, flags: &[&str]) -> Operator {
        self.operator_told(name, namespaces, flags, &[]).await
    }

    /// The same, with these variables in its environment.
    pub async fn operator_told(
        &self,
        name: &str,
        namespaces: &str,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Operator {
        let kubeconfig = setup::kubeconfig(&self.client, &self.ns).await;
        let log = setup::logs().join(format!("{}.{name}.log", self.ns));
        let named = ["--pod-name", name, "--pod-namespace", &self.ns];
        Operator::start(&kubeconfig, namespaces, &log, &[&named, flags].concat(), variables)
    }

    /// The operator.
    pub fn operator(&self) -> &Operator {
        self.operator.as_ref().expect("no operator runs")
    }

    /// Kills the operator with SIGKILL: it gets no chance to tidy up.
    pub fn kill(&mut self) {
        self.operator.take().expect("no operator runs").kill();
    }

    /// Whether the operator has not exited by itself.
    pub fn operator_is_alive(&mut self) -> bool {
        self.operator.as_mut().is_some_and(Operator::is_alive)
    }

    /// The most memory that the operator has had so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.operator().peak_memory()
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
    }
}
