//! Operators as processes.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use arl_operator::metrics::CONTENT_TYPE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::setup;
use super::wait::DEADLINE;

/// The flags that give an operator its addresses.
pub const METRICS: &str = "--metrics-bind-address";
/// The one of the probes.
pub const PROBES: &str = "--health-probe-bind-address";

/// A running operator; it is killed when this is dropped.
pub struct Operator {
    process: Child,
    log: PathBuf,
}

/// What an operator answers over HTTP.
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    /// The Content-Type.
    pub content_type: String,
    /// The body.
    pub body: String,
}

impl Operator {
    /// Starts one that looks after these namespaces, separated by commas, or after all. It may not have more memory than the chart gives it: what it
    /// asks for beyond that it does not get, and ends. This counts all that is asked for, while a container counts what is used. Of open files
    /// it is given few, of many that it may have, as container runtimes do.
    pub fn start(kubeconfig: &Path, namespaces: &str, log: &Path, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let path = log.to_owned();
        let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        let limit = (setup::memory_limit() / 1024).to_string();
        let process = Command::new("sh")
            .args([
                "-c",
                "ulimit -d \"$0\" && ulimit -Sn 64 && exec \"$@\"",
                &limit,
                env!("CARGO_BIN_EXE_arl-operator"),
            ])
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--watch-namespaces", namespaces].iter().filter(|_| !namespaces.is_empty()))
            .args(["--log-format", "text", "--log-level", "info"])
            .args(["--metrics-bind-address", "127.0.0.1:0", "--health-probe-bind-address", "127.0.0.1:0"])
            .args(flags)
            .env("NO_COLOR", "1")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("the operator starts");
        Self { process, log: path }
    }

    /// Asks for a path at the address that a flag gave it.
    pub async fn get(&self, flag: &str, path: &str) -> Answer {
        get(self.address(flag).await, path).await
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The most memory that it has had so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB")).unwrap();
        peak.trim().parse::<u64>().unwrap() * 1024
    }

    /// Its metrics.
    pub async fn metrics(&self) -> String {
        let answer = self.get(METRICS, "/metrics").await;
        assert_eq!((answer.code, answer.content_type.as_str()), (200, CONTENT_TYPE));
        answer.body
    }

    /// Its metrics, once these lines are among them.
    pub async fn metrics_with(&self, lines: &[&str]) -> String {
        let mut ticks = interval(Duration::from_millis(100));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut missing = Vec::new();
        let complete = async {
            loop {
                ticks.tick().await;
                let text = self.metrics().await;
                missing = lines.iter().filter(|line| !text.lines().any(|found| found == **line)).collect();
                if missing.is_empty() {
                    return text;
                }
            }
        };
        let found = timeout(DEADLINE, complete).await;
        found.unwrap_or_else(|_| panic!("these lines are not in the metrics: {missing:#?}"))
    }

    /// What it answers of its readiness once these words are in it.
    pub async fn ready_with(&self, words: &str) -> Answer {
        let mut ticks = interval(Duration::from_secs(1));
        let said = async {
            loop {
                ticks.tick().await;
                let answer = self.get(PROBES, "/readyz").await;
                if answer.body.contains(words) {
                    return answer;
                }
            }
        };
        timeout(DEADLINE, said).await.unwrap_or_else(|_| panic!("/readyz never says: {words}"))
    }

    /// Where it listens, which its log tells.
    pub async fn address(&self, flag: &str) -> SocketAddr {
        let told = || {
            let log = self.log();
            let line = log.lines().rfind(|line| line.contains("listening") && line.contains(flag))?;
            line.split_once("address=\"")?.1.split_once('"')?.0.parse().ok()
        };
        timeout(DEADLINE, repeat(told)).await.expect("the operator listens")
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Kills it with SIGKILL: it gets no chance to tidy up.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks it to stop, as the kubelet does.
    pub fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill: {sent}");
    }

    /// How it ended, once it has.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = repeat(|| self.process.try_wait().unwrap());
        timeout(DEADLINE, ended).await.expect("the operator ends")
    }

    /// Whether it has not exited.
    pub fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

/// Asks for a path over HTTP/1.0, which has no chunks.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let header = |name: &str| {
        head.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)))
    };
    Answer {
        code: head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status"),
        content_type: header("content-type").map_or_else(String::new, |(_, value)| value.to_owned()),
        body: body.to_owned(),
    }
}

/// Asks again and again until there is an answer.
pub async fn repeat<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let mut ticks = interval(Duration::from_millis(20));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(answer) = ask() {
            return answer;
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        if let Err(error) = self.process.wait() {
            eprintln!("an operator could not be ended: {error}");
        }
    }
}
