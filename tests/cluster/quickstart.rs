//! The commands of docs/quickstart.md, from the first pool to the output of a Task, do what it says.

use tokio::process::Command;

use crate::{
    cli::binary,
    harness::{World, setup::root},
};

/// The commands under a heading, as a script.
fn commands(heading: &str) -> String {
    let page = std::fs::read_to_string(root().join("docs/quickstart.md")).unwrap();
    let section = page.split(&format!("\n## {heading}\n")).nth(1).expect(heading).split("\n## ").next().unwrap();
    let (mut script, mut in_block) = (String::from("set -euo pipefail\n"), false);
    for line in section.lines() {
        match line.strip_prefix("    ") {
            _ if line.starts_with("```") => in_block = !in_block,
            Some(command) if !in_block => script.extend([command, "\n"]),
            _ if in_block => script.extend([line, "\n"]),
            _ => {}
        }
    }
    script
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quick_start_prints_what_it_says() {
    let world = World::new("quickstart").await;
    let cluster = root().join(".cluster");
    let kubectl = format!(
        "kubectl() {{ case $1 in arl) shift; '{2}' --kubeconfig '{0}/kubeconfig' --namespace '{1}' \"$@\" ;;
        *) '{0}/kubectl' --kubeconfig '{0}/kubeconfig' --namespace '{1}' \"$@\" ;; esac; }}\n",
        cluster.display(),
        world.ns,
        binary().await.display()
    );
    let script = kubectl + &commands("The first result") + &commands("A pool, a Sandbox, a Task");
    assert!(script.matches("\nkubectl ").count() >= 11, "{script}");
    let done = Command::new("bash").args(["-c", &script]).current_dir(root()).output().await.unwrap();
    let (said, complaints) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{script}\n{said}\n{complaints}");
    for expected in ["\n42\n", "POOL ", "Hello, World!\n", "hello kind\n"] {
        assert!(said.contains(expected), "{expected:?} is not in {said}");
    }
}
