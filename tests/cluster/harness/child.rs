//! Work in a process of its own: this test binary again, with one ignored test. What it needs of memory is its own, and it can be stopped.

use std::{
    env,
    process::{Output, Stdio},
};

use arl_client::{Client, Sandbox};
use tokio::process::{Child, Command};

use super::{World, setup, wait::DEADLINE};

const WORK: &str = "ARL_TEST_CHILD_WORK";
const NAMESPACE: &str = "ARL_TEST_CHILD_NAMESPACE";

impl World {
    /// Starts `test`, an ignored test of this binary, as a process that is told what to do.
    pub fn child(&self, test: &str, work: &str) -> Child {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", test, "--ignored", "--nocapture"]).env(WORK, work).env(NAMESPACE, &self.ns);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().unwrap()
    }

    /// Runs it to its end, which has to be a good one.
    pub async fn in_child(&self, test: &str, work: &str) {
        succeeded(self.child(test, work)).await;
    }
}

/// Waits for the end of such a process, which has to be a good one.
pub async fn succeeded(child: Child) {
    let ended = tokio::time::timeout(2 * DEADLINE, child.wait_with_output()).await;
    let Output { status, stdout, stderr } = ended.expect("the other process ends").unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(status.success() && stdout.contains("1 passed"), "{status}\n{stdout}\n{stderr}");
}

/// In the other process: what it is told to do, and a client for the namespace. None where it was started by hand.
pub async fn told() -> Option<(String, Client)> {
    let (work, namespace) = (env::var(WORK).ok()?, env::var(NAMESPACE).ok()?);
    let client = setup::client().await;
    Some((work, Client::new(client, namespace)))
}

/// The most memory that this process has had, and what it has now, in bytes.
pub fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_suffix("kB")).unwrap();
        value.trim().parse::<u64>().unwrap() * 1024
    };
    (of("VmHWM:"), of("VmRSS:"))
}

/// A Sandbox whose session is open, and the memory of this process with it.
pub async fn opened(client: &Client, sandbox: &str) -> (Sandbox, u64) {
    let sandbox = client.open(sandbox).await.unwrap();
    assert!(sandbox.run(arl_client::Command::new(["true"])).await.unwrap().exit.success());
    let (_, now) = memory();
    (sandbox, now)
}
