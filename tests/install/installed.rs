//! An operator in the cluster, from its installation until it is taken away.

use std::process::Command;
use std::time::Duration;

use arl_crds::{Sandbox, Task, WarmPool};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::harness::wait::{DEADLINE, Kind};
use crate::harness::{World, setup};
use crate::tools::{NAMESPACE, attempt, helm, kubectl, root, run};

/// Everything of a release but the CustomResourceDefinitions.
const RELEASE: &str =
    "deployments,replicasets,pods,services,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings";
const SELECTOR: &str = "app.kubernetes.io/instance=arl-operator";

/// kubectl with these arguments, separated by spaces.
pub fn k(arguments: &str) -> String {
    run(kubectl().args(arguments.split(' ')))
}

/// The same, where failure is an answer.
pub fn try_k(arguments: &str) -> Result<String, String> {
    attempt(kubectl().args(arguments.split(' ')))
}

/// The cluster's operator: none at first. What is there is taken away with this value.
pub struct Installed;

#[allow(clippy::unused_self, reason = "who acts on the operator must have it: it is taken away afterwards")]
impl Installed {
    /// A cluster that has nothing of ours.
    pub async fn nothing() -> Self {
        let kind = crate::tools::read(".cluster/kind");
        assert_ne!(kind.trim(), "current", "a cluster that others may use is not wiped");
        let client = setup::client().await;
        none_of::<WarmPool>(&client).await;
        none_of::<Sandbox>(&client).await;
        none_of::<Task>(&client).await;
        take_away();
        Self
    }

    /// Waits until the Deployment is as wanted.
    pub fn is_rolled_out(&self) {
        k(&format!("-n {NAMESPACE} rollout status deployment/arl-operator --timeout=180s"));
    }

    /// The namespace for a release, with what the documentation says about Pod Security.
    pub fn namespace(&self) {
        k(&format!("create namespace {NAMESPACE}"));
        k(&format!("label namespace {NAMESPACE} pod-security.kubernetes.io/enforce=restricted"));
    }

    /// `helm install` or `upgrade` of the image that `make image` made.
    pub fn release(&self, variable: &str, verb: &str, more: &[&str]) {
        let mut command = helm_in_cluster(variable);
        command.args([verb, "arl-operator"]).arg(root().join("deploy/chart")).args(["--set", "image.tag=dev"]);
        run(command.args(more));
    }

    /// `helm uninstall`.
    pub fn uninstall(&self, variable: &str) {
        run(helm_in_cluster(variable).args(["uninstall", "arl-operator", "--wait"]));
    }

    /// What is left of the operator once its pods have ended, the CustomResourceDefinitions aside.
    pub fn left(&self) -> String {
        k(&format!("wait --for=delete pods --all-namespaces -l {SELECTOR} --timeout=60s"));
        k(&format!("get {RELEASE} --all-namespaces -l {SELECTOR} -o name --ignore-not-found"))
    }

    /// Its cluster-wide roles and bindings.
    pub fn cluster_wide(&self) -> String {
        k(&format!("get clusterroles,clusterrolebindings -l {SELECTOR} -o name --ignore-not-found"))
    }

    /// Probes have passed where the Deployment is rolled out; the metrics are asked for through the Service.
    pub async fn assert_works(&self) {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/services/arl-operator-metrics:metrics/proxy/metrics");
        let lines = [
            "arl_build_info{",
            "leader_election_master_status{name=\"arl-operator\"} 1",
            "arl_crd_schema_outdated{kind=\"Task\"} 0",
        ];
        let mut ticks = interval(Duration::from_secs(1));
        let mut metrics = String::new();
        let complete = async {
            // New definitions are published a moment after the operator is ready.
            while !lines.iter().all(|line| metrics.lines().any(|found| found.starts_with(line))) {
                ticks.tick().await;
                metrics = k(&format!("get --raw {path}"));
            }
        };
        let complete = timeout(DEADLINE, complete).await;
        assert!(complete.is_ok(), "not all of {lines:?} are in\n{metrics}");
        self.assert_rights().await;
    }

    /// Nothing that the operator has asked for was refused for want of rights.
    pub async fn assert_rights(&self) {
        let world = World::served("audit").await;
        let pods: Api<Pod> = Api::namespaced(world.client.clone(), NAMESPACE);
        let pods = pods.list(&ListParams::default().labels(SELECTOR)).await.unwrap();
        // One that ends may have lost its rights already.
        for pod in pods.items.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            // The API server notes in which pod a token lies.
            let pod = pod.name_any();
            let requests = world.requests_of(&format!("pod-name\":[\"{pod}\"]")).await.unwrap_or_default();
            let refused: Vec<_> = requests.iter().filter(|request| request.is_forbidden()).collect();
            assert!(refused.is_empty(), "the operator lacks rights: {refused:#?}");
        }
    }
}

/// Waits until the cluster has no object of our kinds, or does not have the kinds.
async fn none_of<K: Kind>(client: &Client) {
    let mut ticks = interval(Duration::from_millis(200));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let gone = async {
        loop {
            ticks.tick().await;
            match Api::<K>::all(client.clone()).list(&ListParams::default()).await {
                Ok(list) if !list.items.is_empty() => {}
                Err(kube::Error::Api(refusal)) if refusal.code == 404 => return,
                answer => return drop(answer.unwrap()),
            }
        }
    };
    let what = K::kind(&());
    timeout(DEADLINE, gone)
        .await
        .unwrap_or_else(|_| panic!("the cluster is in use: it has objects of the kind {what}"));
}

fn helm_in_cluster(variable: &str) -> Command {
    let mut command = helm(variable);
    command.args(["--namespace", NAMESPACE, "--kubeconfig"]).arg(root().join(".cluster/kubeconfig"));
    command
}

/// Everything of ours, the kinds too.
fn take_away() {
    let mut problems = Vec::new();
    let mut go_on = |done: Result<String, String>| problems.extend(done.err());
    go_on(attempt(helm_in_cluster("HELM").args(["uninstall", "arl-operator", "--ignore-not-found", "--wait"])));
    go_on(try_k(&format!("delete clusterroles,clusterrolebindings -l {SELECTOR} --ignore-not-found")));
    go_on(try_k(&format!("delete namespace {NAMESPACE} --ignore-not-found --timeout=120s")));
    go_on(try_k("delete -k deploy/kustomize/crds --ignore-not-found --timeout=120s"));
    if !problems.is_empty() {
        eprintln!("not all could be taken away: {problems:#?}");
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for what in ["get pods -o wide", "get events.events.k8s.io", "logs deployment/arl-operator --tail=60"] {
                let told = try_k(&format!("-n {NAMESPACE} {what}"));
                eprintln!("--- {what}\n{}", told.unwrap_or_else(|complaints| complaints));
            }
        }
        take_away();
        // As `make run` and others find them.
        if let Err(complaints) = try_k("apply --server-side --force-conflicts -k deploy/kustomize/crds") {
            eprintln!("{complaints}");
        }
    }
}
