//! kubectl, one process each time, as an administrator.

use std::{
    path::PathBuf,
    process::{Output, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use tokio::{process::Command, time::timeout};

use crate::{flags::Flags, seen::DEADLINE, stats::Sample};

/// kubectl in a namespace.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    ns: String,
}

impl Kubectl {
    /// For the namespace `ns`.
    pub fn new(flags: &Flags, ns: &str) -> Self {
        Self { program: flags.kubectl.clone(), kubeconfig: flags.kubeconfig.clone(), ns: ns.to_owned() }
    }

    /// Runs a command in the executor container of a pod.
    pub async fn exec(&self, pod: &str, argv: &[&str]) -> Result<Sample> {
        let mut command = self.command();
        command.args(["exec", pod, "--container", "executor", "--"]).args(argv);
        self.time(command.stdin(Stdio::null())).await
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(["--namespace", &self.ns]).kill_on_drop(true);
        command
    }

    async fn time(&self, command: &mut Command) -> Result<Sample> {
        let sent = Instant::now();
        let ended = timeout(DEADLINE, command.output()).await.context("kubectl does not end")?;
        let seen = Instant::now();
        let missing = || format!("{} does not start; give another with --kubectl", self.program.display());
        let Output { status, stderr, .. } = ended.with_context(missing)?;
        if !status.success() {
            bail!("kubectl: {status}: {}", String::from_utf8_lossy(&stderr).trim());
        }
        Ok(Sample { sent, seen })
    }
}
