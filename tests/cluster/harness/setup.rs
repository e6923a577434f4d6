//! What must be in the cluster before a test starts: the kinds, the operator's rights, a namespace and an identity.

use std::path::{Path, PathBuf};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Config, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The operator's ServiceAccount, and the ClusterRole it is bound to.
pub const ACCOUNT: &str = "arl-operator";

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the operators' logs and kubeconfigs go.
pub fn logs() -> PathBuf {
    let folder = root().join("target/cluster-tests");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The administrator's kubeconfig, as `make cluster-up` left it.
pub fn admin() -> Kubeconfig {
    let path = root().join(".cluster/kubeconfig");
    Kubeconfig::read_from(&path).unwrap_or_else(|e| panic!("{}: {e}; run `make cluster-up` first", path.display()))
}

/// A client with the administrator's rights, for one runtime.
pub async fn client() -> Client {
    let config = Config::from_custom_kubeconfig(admin(), &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// A client with the rights of this kubeconfig.
pub async fn client_of(path: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// The documents of a YAML file.
pub fn documents(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_saphyr::from_multiple(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The memory limit that the chart gives the operator, in bytes.
pub fn memory_limit() -> u64 {
    let values = documents(&root().join("deploy/chart/values.yaml")).remove(0);
    let limit = values["resources"]["limits"]["memory"].as_str().and_then(|limit| limit.strip_suffix("Mi"));
    limit.and_then(|limit| limit.parse::<u64>().ok()).expect("a limit in Mi") << 20
}

/// Applies the kinds and the operator's ClusterRole, once for all tests of the process.
pub async fn cluster(client: &Client) {
    static DONE: OnceCell<()> = OnceCell::const_new();
    let apply = async || {
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        for name in ["warmpools", "sandboxes", "tasks"] {
            let crd: CustomResourceDefinition =
                only(&root().join(format!("crds/{name}.yaml")), "CustomResourceDefinition");
            apply(&crds, &crd).await;
            await_condition(crds.clone(), &crd.name_any(), is_crd_established()).await.unwrap();
        }
        let role: ClusterRole = only(&root().join("deploy/kustomize/base/rbac.yaml"), "ClusterRole");
        apply(&Api::all(client.clone()), &role).await;
    };
    DONE.get_or_init(apply).await;
}

/// The document of a kind in a file.
fn only<K: DeserializeOwned>(path: &Path, kind: &str) -> K {
    let found = documents(path).into_iter().find(|document| document["kind"] == kind);
    from(found.unwrap_or_else(|| panic!("{} has no {kind}", path.display())))
}

/// Creates it, or makes what is there like it.
pub async fn apply<K>(api: &Api<K>, object: &K)
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::Serialize + DeserializeOwned + std::fmt::Debug,
{
    let name = object.name_any();
    api.patch(&name, &PatchParams::apply("arl-tests").force(), &Patch::Apply(object)).await.unwrap();
}

/// A new namespace.
pub async fn namespace(client: &Client, name: &str) -> String {
    let wanted: Namespace = from(json!({"metadata": {"generateName": format!("t-{name}-")}}));
    let created = Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &wanted).await.unwrap();
    let ns = created.name_any();
    // Pods are refused until the namespace has its default account, a moment after it was created.
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &ns);
    await_condition(accounts, "default", |a: Option<&ServiceAccount>| a.is_some()).await.unwrap();
    ns
}

/// Gives the namespace the operator's ServiceAccount, bound to its ClusterRole in this namespace only.
pub async fn admit_operator(client: &Client, ns: &str) {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), ns);
    let account: ServiceAccount = from(json!({"metadata": {"name": ACCOUNT}}));
    accounts.create(&PostParams::default(), &account).await.unwrap();
    admit_operator_of(client, ns, ns).await;
}

/// Binds the operator's ServiceAccount of the namespace `home` to its ClusterRole in the namespace `ns`.
pub async fn admit_operator_of(client: &Client, home: &str, ns: &str) {
    let binding: RoleBinding = from(json!({
        "metadata": {"name": ACCOUNT},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ACCOUNT},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": home}],
    }));
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), ns);
    bindings.create(&PostParams::default(), &binding).await.unwrap();
}

/// Gives the namespace's ServiceAccount the chart's rights on the Lease.
pub async fn allow_election(client: &Client, ns: &str) {
    let path = root().join("deploy/kustomize/base/rbac-leader-election.yaml");
    let mut role: Role = only(&path, "Role");
    role.metadata.namespace = Some(ns.to_owned());
    apply(&Api::namespaced(client.clone(), ns), &role).await;
    let mut binding: RoleBinding = only(&path, "RoleBinding");
    binding.metadata.namespace = Some(ns.to_owned());
    for subject in binding.subjects.iter_mut().flatten() {
        subject.namespace = Some(ns.to_owned());
    }
    apply(&Api::namespaced(client.clone(), ns), &binding).await;
}

fn from<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// Writes a kubeconfig that is the namespace's ServiceAccount, for a day.
pub async fn kubeconfig(client: &Client, ns: &str) -> PathBuf {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), ns);
    let spec = TokenRequestSpec { expiration_seconds: Some(86_400), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let issued = accounts.create_token_request(ACCOUNT, &PostParams::default(), &request).await.unwrap();
    let token = issued.status.unwrap().token;
    let mut config = serde_json::to_value(admin()).unwrap();
    config["users"] = json!([{"name": ACCOUNT, "user": {"token": token}}]);
    for context in config["contexts"].as_array_mut().unwrap() {
        context["context"]["user"] = json!(ACCOUNT);
        context["context"]["namespace"] = json!(ns);
    }
    let path = logs().join(format!("{ns}.kubeconfig"));
    // JSON is YAML too.
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// Asks for the namespace's deletion and does not wait for it; its kubeconfig goes too.
pub async fn delete_namespace(client: &Client, ns: &str) {
    // Not every test wrote one.
    let _absent = std::fs::remove_file(logs().join(format!("{ns}.kubeconfig")));
    let namespaces: Api<Namespace> = Api::all(client.clone());
    if let Err(error) = namespaces.delete(ns, &DeleteParams::default()).await {
        eprintln!("namespace {ns} could not be deleted: {error}");
    }
}
