//! The operator that is measured: a process of its own, confined to one namespace.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    net::{SocketAddr, TcpListener},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    time::{interval, timeout},
};

use crate::{flags::Flags, seen::DEADLINE};

/// The kernel counts processor time for user space in these, whatever its own tick is.
const TICKS_PER_S: u64 = 100;

/// A running operator, killed at the end of its life here.
pub struct Operator {
    child: Child,
    pid: u32,
    kubeconfig: PathBuf,
    /// What it logged.
    pub log: PathBuf,
    /// Where to read what it uses.
    pub usage: Usage,
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It is a credential; where it is gone already, all is well.
        let _gone = fs::remove_file(&self.kubeconfig);
    }
}

impl Operator {
    /// Starts it with the rights of `identity`, for one namespace.
    pub fn start(flags: &Flags, identity: &Value, ns: &str) -> Result<Self> {
        let folder = Path::new("target/bench");
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let kubeconfig = folder.join(format!("{ns}.kubeconfig"));
        // JSON is YAML too.
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&kubeconfig)
            .and_then(|mut file| file.write_all(identity.to_string().as_bytes()))
            .with_context(|| format!("{} cannot be written", kubeconfig.display()))?;
        let log = folder.join("operator.log");
        let output = File::create(&log).with_context(|| format!("{} cannot be written", log.display()))?;
        // Free now; nobody else on this machine is known to want it.
        let metrics = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(&flags.operator)
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .args(["--watch-namespaces", ns, "--log-format", "text"])
            .args(["--metrics-bind-address", &metrics.to_string(), "--health-probe-bind-address", "0"])
            .args(&flags.operator_arg)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!("{} does not start; build it: cargo build --release -p arl-operator", flags.operator.display())
            })?;
        let pid = child.id().context("the operator ended at once")?;
        let usage = Usage { proc: PathBuf::from(format!("/proc/{pid}")), metrics };
        Ok(Self { child, pid, kubeconfig, log, usage })
    }

    /// Waits for an end that nobody asked for.
    pub async fn ended(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => anyhow!("the operator ended ({status}); see {}", self.log.display()),
            Err(error) => anyhow!("the operator cannot be waited for: {error}"),
        }
    }

    /// Ends it.
    pub async fn stop(mut self) {
        if let Err(error) = self.child.kill().await {
            eprintln!("the operator, process {}, could not be ended: {error}", self.pid);
        }
    }
}

/// What can be read of it: its entry in /proc, and its metrics.
#[derive(Clone, Debug)]
pub struct Usage {
    proc: PathBuf,
    metrics: SocketAddr,
}

impl Usage {
    /// Processor time used so far.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = self.read("stat")?;
        let ticks = ticks(&stat).with_context(|| format!("{}/stat is not understood: {stat}", self.proc.display()))?;
        Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_S))
    }

    /// Resident memory now and at most, in MB.
    pub fn memory_mb(&self) -> Result<(f64, f64)> {
        let status = self.read("status")?;
        let field =
            |name| megabytes(&status, name).with_context(|| format!("{}/status has no {name}", self.proc.display()));
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }

    /// Waits until it has so many streams to agents open.
    pub async fn has_streams(&self, streams: usize) -> Result<()> {
        let line = format!("arl_run_streams_open {streams}");
        let mut ticks = interval(Duration::from_millis(200));
        let open = async {
            loop {
                ticks.tick().await;
                if self.metrics().await?.lines().any(|found| found == line) {
                    return anyhow::Ok(());
                }
            }
        };
        timeout(DEADLINE, open).await.with_context(|| format!("never in the operator's metrics: {line}"))?
    }

    async fn metrics(&self) -> Result<String> {
        let mut stream = TcpStream::connect(self.metrics).await.context("the operator's metrics cannot be read")?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = self.proc.join(file);
        fs::read_to_string(&path)
            .with_context(|| format!("{}: the operator ended, or this is not Linux", path.display()))
    }
}

/// utime and stime; the name of the program before them may contain anything.
fn ticks(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

fn megabytes(status: &str, field: &str) -> Option<f64> {
    let kilobytes = status.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?;
    Some(f64::from(kilobytes.parse::<u32>().ok()?) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_understood() {
        let stat = "42 (a) b) S 1 1 1 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 1 1 1";
        assert_eq!(ticks(stat), Some(200));
        assert_eq!(ticks("42 (a"), None);
        let status = "Name:\ta\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!((megabytes(status, "VmRSS:"), megabytes(status, "VmHWM:")), (Some(1.0), Some(2.0)));
        assert_eq!(megabytes(status, "VmPeak:"), None);
    }
}
