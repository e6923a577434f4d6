//! kubectl, one process each time, as an administrator.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
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
    arl: PathBuf,
    kubeconfig: PathBuf,
    ns: String,
}

impl Kubectl {
    /// For the namespace `ns`.
    pub fn new(flags: &Flags, ns: &str) -> Self {
        Self {
            program: flags.kubectl.clone(),
            arl: flags.kubectl_arl.clone(),
            kubeconfig: flags.kubeconfig.clone(),
            ns: ns.to_owned(),
        }
    }

    /// Runs a command in the executor container of a pod.
    pub async fn exec(&self, pod: &str, argv: &[&str]) -> Result<Sample> {
        let mut command = self.command();
        command.args(["exec", pod, "--container", "executor", "--"]).args(argv);
        self.time(command.stdin(Stdio::null())).await
    }

    /// Runs a command in a Sandbox of its own, by `kubectl arl run`.
    pub async fn arl_run(&self, pool: &str, argv: &[&str]) -> Result<Sample> {
        let mut command = self.command_of(&self.arl);
        command.args(["run", pool, "--"]).args(argv);
        self.time(command.stdin(Stdio::null())).await
    }

    /// Copies a file; one of the two paths begins with a pod.
    pub async fn copy(&self, from: &str, to: &str) -> Result<Sample> {
        let mut command = self.command();
        command.args(["cp", "--container", "executor", from, to]);
        self.time(command.stdin(Stdio::null())).await
    }

    /// Runs a command in a pod, with standard input from one file and standard output to another.
    pub async fn pipe(&self, pod: &str, argv: &[&str], from: Option<&Path>, to: Option<&Path>) -> Result<Sample> {
        let mut command = self.command();
        command.args(["exec", pod, "--container", "executor"]);
        match from {
            Some(from) => command.arg("--stdin").stdin(File::open(from)?),
            None => command.stdin(Stdio::null()),
        };
        match to {
            Some(to) => command.stdout(File::create(to)?),
            None => command.stdout(Stdio::null()),
        };
        command.arg("--").args(argv).stderr(Stdio::piped());
        self.time_of(async { command.spawn()?.wait_with_output().await }).await
    }

    fn missing(&self) -> String {
        let (program, arl) = (self.program.display(), self.arl.display());
        format!("{program} or {arl} does not start; give another with --kubectl or --kubectl-arl")
    }

    fn command(&self) -> Command {
        self.command_of(&self.program)
    }

    fn command_of(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(["--namespace", &self.ns]).kill_on_drop(true);
        command
    }

    async fn time(&self, command: &mut Command) -> Result<Sample> {
        self.time_of(command.output()).await
    }

    async fn time_of(&self, output: impl Future<Output = io::Result<Output>>) -> Result<Sample> {
        let sent = Instant::now();
        let ended = timeout(DEADLINE, output).await.context("kubectl does not end")?;
        let seen = Instant::now();
        let Output { status, stderr, .. } = ended.with_context(|| self.missing())?;
        if !status.success() {
            bail!("kubectl: {status}: {}", String::from_utf8_lossy(&stderr).trim());
        }
        Ok(Sample { sent, seen })
    }
}
