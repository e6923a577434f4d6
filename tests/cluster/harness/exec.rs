//! Looking into a pod past the operator, for what no Task can see while another one runs.

use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use tokio::io::AsyncReadExt;

use super::World;
use super::wait::DEADLINE;

impl World {
    /// Runs a shell script in a pod's executor container and returns what it printed.
    pub async fn look_into(&self, pod: &str, script: &str) -> String {
        let params = AttachParams::default().container("executor").stderr(false);
        let running = async {
            let mut process = self.api::<Pod>().exec(pod, ["sh", "-c", script], &params).await.unwrap();
            let mut output = String::new();
            process.stdout().unwrap().read_to_string(&mut output).await.unwrap();
            output
        };
        tokio::time::timeout(DEADLINE, running).await.unwrap_or_else(|_| panic!("in {pod}, not in time: {script}"))
    }

    /// Waits until a file of the pod has content, and returns it.
    pub async fn content_of(&self, pod: &str, path: &str) -> String {
        self.look_into(pod, &format!("until [ -s {path} ]; do sleep 0.1; done; cat {path}")).await
    }
}
