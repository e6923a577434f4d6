//! What a release has: the manifest for krew names what the workflow builds, and an archive has all that belongs to the program.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use arl_cli::command_line::Arguments;
use clap::CommandFactory;
use serde_json::Value;

const PLATFORMS: [&str; 4] = ["linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64"];

#[test]
fn the_manifest_for_krew_names_each_archive_of_a_release() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let workflow = std::fs::read_to_string(root.join(".github/workflows/release.yml")).unwrap();
    let workflow: Value = serde_saphyr::from_str(&workflow).unwrap();
    let built = workflow["jobs"]["cli"]["strategy"]["matrix"]["include"].as_array().unwrap();
    let built: BTreeSet<_> = built.iter().map(|entry| entry["platform"].as_str().unwrap()).collect();
    assert_eq!(built, BTreeSet::from(PLATFORMS));

    let archives = tempfile::tempdir().unwrap();
    for platform in PLATFORMS {
        std::fs::write(archives.path().join(format!("kubectl-arl-1.2.3-{platform}.tar.gz")), platform).unwrap();
    }
    let made =
        Command::new(root.join("dev/krew-manifest")).args(["1.2.3", "o/n"]).arg(archives.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let manifest: Value = serde_saphyr::from_str(std::str::from_utf8(&made.stdout).unwrap()).unwrap();
    assert_eq!(manifest["spec"]["version"], "v1.2.3");
    let mut named = BTreeSet::new();
    for entry in manifest["spec"]["platforms"].as_array().unwrap() {
        let label = |name: &str| entry["selector"]["matchLabels"][name].as_str().unwrap();
        let platform = format!("{}-{}", label("os"), label("arch"));
        let uri = format!("https://github.com/o/n/releases/download/v1.2.3/kubectl-arl-1.2.3-{platform}.tar.gz");
        assert_eq!(entry["uri"], uri);
        let sum =
            Command::new("sha256sum").arg(archives.path().join(uri.rsplit('/').next().unwrap())).output().unwrap();
        assert!(sum.stdout.starts_with(entry["sha256"].as_str().unwrap().as_bytes()), "{platform}");
        assert_eq!((entry["sha256"].as_str().unwrap().len(), &entry["bin"]), (64, &"kubectl-arl".into()));
        named.insert(platform);
    }
    assert_eq!(named, PLATFORMS.map(str::to_owned).into());
}

/// The names of the pages of a command and of all its verbs.
fn pages(command: &clap::Command, name: &str) -> Vec<String> {
    let verbs = command.get_subcommands().filter(|verb| verb.get_name() != "help");
    let below = verbs.flat_map(|verb| pages(verb, &format!("{name}-{}", verb.get_name())));
    [format!("./man/man1/{name}.1")].into_iter().chain(below).collect()
}

#[test]
fn an_archive_has_a_page_for_each_verb_and_completions() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let workflow = std::fs::read_to_string(root.join(".github/workflows/release.yml")).unwrap();
    assert!(workflow.contains("dev/cli-archive \"$BUILT\" \"dist/$NAME.tar.gz\""), "a release is packed by it");
    let here = tempfile::tempdir().unwrap();
    let (archive, unpacked) = (here.path().join("a.tar.gz"), here.path().join("unpacked"));
    let binary = Path::new(env!("CARGO_BIN_EXE_kubectl-arl"));
    let packed = Command::new(root.join("dev/cli-archive")).args([binary, &archive]).output().unwrap();
    assert!(packed.status.success(), "{packed:?}");
    std::fs::create_dir(&unpacked).unwrap();
    let listed = Command::new("tar").arg("-xvzf").args([&archive, &PathBuf::from("-C"), &unpacked]).output().unwrap();
    let listed = String::from_utf8(if listed.stdout.is_empty() { listed.stderr } else { listed.stdout }).unwrap();
    let files: BTreeSet<_> = listed.lines().filter(|line| !line.ends_with('/')).map(str::to_owned).collect();
    let others = ["kubectl-arl", "LICENSE", "completions/bash", "completions/fish", "completions/zsh"];
    let mut expected: BTreeSet<_> = pages(&Arguments::command(), "kubectl-arl").into_iter().collect();
    expected.extend(others.map(|name| format!("./{name}")));
    assert_eq!(files, expected);
    let read = |name: &str| std::fs::read_to_string(unpacked.join(name)).unwrap();
    let run = read("man/man1/kubectl-arl-run.1");
    assert!(run.contains(".TH kubectl-arl-run 1") && run.contains("cp\\-out"), "{run}");
    let pool = read("man/man1/kubectl-arl-pool-scale.1");
    assert!(pool.contains("Change how many idle pods a pool keeps"), "{pool}");
    for shell in ["bash", "fish", "zsh"] {
        assert!(read(&format!("completions/{shell}")).contains("snapshot"), "{shell}");
    }
}
