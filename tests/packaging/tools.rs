//! The programs that the tests call, and what they print.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The namespace of install.yaml and of the kustomization.
pub const NAMESPACE: &str = "arl-system";

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An empty folder for one test.
pub fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The text of a file.
pub fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The documents of a YAML text, empty ones left out.
pub fn documents(yaml: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap_or_else(|e| panic!("{e} in:\n{yaml}"));
    all.into_iter().filter(|document| !document.is_null()).collect()
}

/// The program that the variable names, as `make test-packaging` sets it, or else the one on PATH.
fn program(variable: &str, default: &str) -> Command {
    Command::new(std::env::var(variable).unwrap_or_else(|_| default.to_owned()))
}

/// Helm; with `HELM3`, its former version.
pub fn helm(variable: &str) -> Command {
    program(variable, if variable == "HELM3" { "helm3" } else { "helm" })
}

/// kubeconform.
pub fn kubeconform() -> Command {
    program("KUBECONFORM", "kubeconform")
}

/// kubectl, as the administrator of the cluster that `make cluster-up` started.
pub fn kubectl() -> Command {
    let mut command = Command::new(root().join(".cluster/kubectl"));
    command.arg("--kubeconfig").arg(root().join(".cluster/kubeconfig"));
    command
}

/// What a program printed: its output, or its complaints where it failed.
pub fn attempt(command: &mut Command) -> Result<String, String> {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; run the tests by `make test-packaging`"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if done.status.success() { Ok(text(done.stdout)) } else { Err(text(done.stdout) + &text(done.stderr)) }
}

/// The output of a program that must succeed.
pub fn run(command: &mut Command) -> String {
    attempt(command).unwrap_or_else(|complaints| panic!("{command:?}:\n{complaints}"))
}

/// The names of the sets of values in deploy/chart/ci.
pub fn sets() -> Vec<String> {
    let entries = std::fs::read_dir(root().join("deploy/chart/ci")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|file| file.strip_suffix("-values.yaml").unwrap_or_else(|| panic!("deploy/chart/ci/{file}")).to_owned())
        .collect();
    names.sort();
    assert!(names.len() > 5, "{names:?}");
    names
}

/// The file of a set of values.
pub fn values_of(set: &str) -> PathBuf {
    root().join(format!("deploy/chart/ci/{set}-values.yaml"))
}

/// `helm template` with a set of values, the image of install.yaml and more arguments.
pub fn template(variable: &str, set: &str, more: &[&str]) -> Command {
    let mut command = helm(variable);
    command.args(["template", "arl-operator"]).arg(root().join("deploy/chart"));
    command.args(["--namespace", NAMESPACE, "--kube-version", "1.31.0", "--values"]).arg(values_of(set)).args(more);
    command
}

/// The objects that the chart renders with a set of values, without the CustomResourceDefinitions, which take long to parse.
pub fn chart(set: &str, more: &[&str]) -> Vec<Value> {
    documents(&run(template("HELM", set, more).args(["--set", "crds.enabled=false"])))
}

/// `Kind namespace/name` of an object.
pub fn name(object: &Value) -> String {
    let part = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
    format!("{} {}/{}", object["kind"].as_str().unwrap_or_default(), part("namespace"), part("name"))
}

/// The objects of one kind.
pub fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}
