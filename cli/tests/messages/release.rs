//! The manifest for krew has what the release workflow builds.

use std::{collections::BTreeSet, path::Path, process::Command};

use serde_json::Value;

const PLATFORMS: [&str; 3] = ["linux-amd64", "linux-arm64", "darwin-arm64"];

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
