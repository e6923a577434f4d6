//! Ways to a cluster, and places for output, that are not the usual ones.

use std::{os::unix::fs::PermissionsExt, path::Path, process::Output};

use serde_json::{Value, json};

use crate::{fake_api, home, kubectl_arl};

/// The kubeconfig of a home, changed.
fn configure(home: &Path, change: impl FnOnce(&mut Value)) {
    let path = home.join(".kube/config");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
}

fn said(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_kubeconfig_may_lead_through_a_proxy() {
    let (home, address) = home();
    configure(home.path(), |config| {
        config["clusters"][0]["cluster"] =
            json!({ "server": "http://cluster.invalid:80", "proxy-url": format!("http://{address}") });
    });
    let (code, _, err) = said(kubectl_arl(home.path()).args(["get", "pool", "p"]).output().unwrap());
    assert!(code == Some(125) && err.contains("there is no WarmPool p in namespace empty"), "{err}");
}

#[test]
fn a_kubeconfig_may_get_its_credentials_from_a_program() {
    let (home, _) = home();
    let plugin = home.path().join("plugin");
    let credential = json!({ "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": { "token": "secret" } });
    std::fs::write(&plugin, format!("#!/bin/sh\necho '{credential}'\n")).unwrap();
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
    let exec = |command: &Path| {
        json!({ "exec": { "apiVersion": "client.authentication.k8s.io/v1", "command": command,
        "interactiveMode": "Never" } })
    };
    configure(home.path(), |config| config["users"][0]["user"] = exec(&plugin));
    let get = || said(kubectl_arl(home.path()).args(["get", "pools", "-n", "private"]).output().unwrap());
    let (code, _, err) = get();
    assert!(code == Some(0) && err.contains("there are no pools"), "{err}");
    configure(home.path(), |config| config["users"][0]["user"] = exec(&home.path().join("none")));
    let (code, _, err) = get();
    assert!(code == Some(125) && err.contains("/none"), "the program that is missing is named: {err}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said() {
    let (home, _) = home();
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let get = ["get", "pools", "-o", "json", "-n", "large"];
    let (code, _, err) = said(kubectl_arl(home.path()).args(get).stdout(full()).output().unwrap());
    assert!(code == Some(125) && err.contains("the output cannot be written: No space left"), "{err}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_help_that_cannot_be_written_is_a_failure() {
    let (home, _) = home();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (code, _, err) = said(kubectl_arl(home.path()).arg("--help").stdout(full).output().unwrap());
    assert!(code == Some(125) && err.contains("the output cannot be written: No space left"), "{err}");
}

#[test]
fn of_several_kubeconfigs_those_that_are_there_count() {
    let (home, _) = home();
    let there = home.path().join(".kube/config");
    let named = format!("{}/nosuch:{}", home.path().display(), there.display());
    let (code, _, err) =
        said(kubectl_arl(home.path()).env("KUBECONFIG", named).args(["get", "pools"]).output().unwrap());
    assert!(code == Some(0) && err.contains("there are no pools"), "{err}");
    let none = format!("{}/nosuch", home.path().display());
    let (code, _, err) =
        said(kubectl_arl(home.path()).env("KUBECONFIG", none).args(["get", "pools"]).output().unwrap());
    assert!(code == Some(125) && err.contains("there is no kubeconfig"), "{err}");
}

#[test]
fn a_report_takes_the_place_of_files_alone() {
    let (home, _) = home();
    let at = |name: &str| home.path().join(name);
    let report = |file: &Path| said(kubectl_arl(home.path()).arg("report").arg("-f").arg(file).output().unwrap());
    std::fs::write(at("file"), "old").unwrap();
    std::os::unix::fs::symlink("file", at("link")).unwrap();
    assert_eq!(report(&at("link")).0, Some(0));
    assert!(
        std::fs::symlink_metadata(at("link")).unwrap().is_symlink()
            && std::fs::metadata(at("file")).unwrap().len() > 100
    );
    let pipe = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
    assert!(pipe.success());
    let reader =
        std::process::Command::new("cat").arg(at("pipe")).stdout(std::process::Stdio::piped()).spawn().unwrap();
    assert_eq!(report(&at("pipe")).0, Some(0));
    assert!(reader.wait_with_output().unwrap().stdout.len() > 100);
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&std::fs::symlink_metadata(at("pipe")).unwrap().file_type()));
    let (code, _, err) = report(&at("nosuch/file"));
    assert!(
        code == Some(125) && err.contains("nosuch/file cannot be written: No such file") && !err.contains(" at path "),
        "{err}"
    );
}

#[test]
fn ten_thousand_tasks_come_in_pages() {
    let (home, _) = home();
    let get = |arguments: &[&str]| {
        said(kubectl_arl(home.path()).args(["get", "-n", "many"]).args(arguments).output().unwrap())
    };
    let (code, out, err) = get(&["tasks", "-o", "name"]);
    assert_eq!((code, out.lines().count()), (Some(0), fake_api::TASKS), "{err}");
    let (code, out, err) = get(&["tasks", "--no-headers"]);
    assert_eq!((code, out.lines().count()), (Some(0), fake_api::TASKS), "{err}");
}
