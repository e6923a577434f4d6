//! Looking into a pod past the operator, for what no Task can see while another one runs.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use tokio::io::AsyncReadExt;

use super::World;
use super::wait::DEADLINE;

impl World {
    /// Runs a shell script in a pod's executor container and returns what it printed.
    pub async fn look_into(&self, pod: &str, script: &str) -> String {
        let running = async {
            loop {
                if let Some(output) = self.try_to_look_into(pod, script).await {
                    return output;
                }
                self.pass(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(DEADLINE, running).await.unwrap_or_else(|_| panic!("in {pod}, not in time: {script}"))
    }

    /// The output, or nothing where the kubelet could not pass the script on: one that has just started knows no pods.
    async fn try_to_look_into(&self, pod: &str, script: &str) -> Option<String> {
        let params = AttachParams::default().container("executor").stderr(false);
        let mut process = self.api::<Pod>().exec(pod, ["sh", "-c", script], &params).await.unwrap();
        let mut output = String::new();
        process.stdout().unwrap().read_to_string(&mut output).await.unwrap();
        let said = process.take_status().unwrap().await.and_then(|status| status.message).unwrap_or_default();
        let was_passed_on = !["pod does not exist", "error dialing backend"].iter().any(|words| said.contains(words));
        was_passed_on.then_some(output)
    }

    /// The command lines of everything that runs in the pod, sorted, but for this look and the agent.
    pub async fn processes(&self, pod: &str) -> Vec<String> {
        let listed = self.look_into(pod, "ps -o args").await;
        let is_ours = |line: &str| line == "COMMAND" || line.contains("ps -o args");
        let is_agent = |line: &str| line.starts_with("/.arl/agent ") || line.starts_with("/proc/self/exe ");
        let mut lines: Vec<String> = listed.lines().map(|line| line.trim().to_owned()).collect();
        lines.retain(|line| !is_ours(line) && !is_agent(line));
        lines.sort();
        lines
    }

    /// Waits until a file of the pod has content, and returns it.
    pub async fn content_of(&self, pod: &str, path: &str) -> String {
        self.look_into(pod, &format!("until [ -s {path} ]; do sleep 0.1; done; cat {path}")).await
    }
}
