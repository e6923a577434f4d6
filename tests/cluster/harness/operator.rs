//! Operators as processes.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::wait::DEADLINE;

/// A running operator; it is killed when this is dropped.
pub struct Operator(Child);

impl Operator {
    /// Starts one that looks after a namespace.
    pub fn start(kubeconfig: &Path, ns: &str, log: &Path, flags: &[&str]) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_arl-operator"))
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--watch-namespaces", ns, "--log-format", "text", "--log-level", "info"])
            .args(flags)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("the operator starts");
        Self(child)
    }

    /// Kills it with SIGKILL: it gets no chance to tidy up.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Asks it to stop, as the kubelet does.
    pub fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill: {sent}");
    }

    /// How it ended, once it has.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut ticks = interval(Duration::from_millis(20));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = async {
            loop {
                ticks.tick().await;
                if let Some(status) = self.0.try_wait().unwrap() {
                    return status;
                }
            }
        };
        timeout(DEADLINE, ended).await.expect("the operator ends")
    }

    /// Whether it has not exited.
    pub fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        if let Err(error) = self.0.wait() {
            eprintln!("an operator could not be ended: {error}");
        }
    }
}
