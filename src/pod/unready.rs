//! Why a pod is not ready that has been, or whose containers have all been started.

use super::{ContainerStatus, Pod};

impl Pod {
    /// Whether its node does not report. The controller that finds that out makes the pod's condition False, gives no reason, and leaves those
    /// of the containers as they are.
    pub fn node_is_silent(&self) -> bool {
        let ready = self.condition("Ready").filter(|c| c.status == "False");
        ready.is_some_and(|ready| match ready.reason.as_str() {
            "NodeNotReady" => true,
            "" => self.condition("ContainersReady").is_none_or(|c| c.status == "True"),
            _ => false,
        })
    }

    /// Of the containers that are to go on running, one that is not ready.
    pub fn unready_container(&self) -> Option<&ContainerStatus> {
        let sidecars = self.status.init_container_statuses.iter().filter(|c| self.goes_on(&c.name));
        self.status.container_statuses.iter().chain(sidecars).find(|c| !c.ready)
    }

    /// What keeps it from being ready, in words.
    pub fn why_not_ready(&self) -> String {
        if self.node_is_silent() {
            return format!("its node {} does not report, see kubectl get nodes", self.spec.node_name);
        }
        if let Some(container) = self.unready_container() {
            return container.why_not_ready();
        }
        let ready = self.condition("Ready");
        let said = ready.map(|c| format!("{}: {}", c.reason, c.message));
        said.filter(|said| said != ": ").unwrap_or_else(|| "no cause given".to_owned())
    }
}

impl ContainerStatus {
    fn why_not_ready(&self) -> String {
        let name = &self.name;
        if let Some(ended) = &self.state.terminated {
            return format!("its container {name} {}", ended.description());
        }
        if self.state.running.is_some() {
            return format!("its container {name} runs, and its startup or readiness probe does not succeed");
        }
        let ended = self.last_state.terminated.as_ref();
        let how = ended.map(|end| format!(" {}, and", end.description())).unwrap_or_default();
        let waits = self.state.waiting.as_ref();
        let waits = waits.map(|w| format!(" ({}: {})", w.reason, w.message)).unwrap_or_default();
        format!("its container {name}{how} does not run{waits}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(ready: (&str, &str), others: &Value, executor: &Value, sidecar: &Value) -> Pod {
        let condition = |type_: &str, status: &str, reason: &str, message: &str| json!({ "type": type_, "status": status, "reason": reason, "message": message });
        let mut conditions = vec![condition("Ready", "False", ready.0, ready.1)];
        if let Some(containers) = others.as_str() {
            conditions.push(condition("ContainersReady", containers, "", ""));
        }
        let spec = json!({
            "nodeName": "n1", "containers": [{ "name": "executor" }],
            "initContainers": [{ "name": "prepare" }, { "name": "proxy", "restartPolicy": "Always" }],
        });
        let done = json!({ "name": "prepare", "ready": false, "state": { "terminated": { "exitCode": 0 } } });
        let status = json!({
            "phase": "Running", "conditions": conditions, "containerStatuses": [executor],
            "initContainerStatuses": [done, sidecar],
        });
        serde_json::from_value(json!({ "metadata": { "name": "p" }, "spec": spec, "status": status })).unwrap()
    }

    #[test]
    fn whatever_keeps_a_pod_from_being_ready_is_named() {
        let container =
            |name: &str, ready: bool, state: &Value| json!({ "name": name, "ready": ready, "state": state });
        let runs = json!({ "running": {} });
        let well = |name: &str| container(name, true, &runs);
        let unready = ("ContainersNotReady", "containers with unready status: [x]");
        let ended = json!({ "terminated": { "reason": "Error", "exitCode": 3 } });
        let loops = json!({
            "name": "proxy", "ready": false, "lastState": { "terminated": { "reason": "OOMKilled", "exitCode": 137 } },
            "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off" } },
        });
        let gate = ("ReadinessGatesNotReady", "the gate \"g\" does not exist");
        for (what, pod, words) in [
            ("node", pod(("", ""), &json!("True"), &well("executor"), &well("proxy")), "its node n1 does not report"),
            (
                "node, said",
                pod(("NodeNotReady", ""), &Value::Null, &well("executor"), &well("proxy")),
                "its node n1 does not report",
            ),
            (
                "probe",
                pod(unready, &json!("False"), &container("executor", false, &runs), &well("proxy")),
                "its container executor runs, and its startup or readiness probe",
            ),
            (
                "probe of a sidecar",
                pod(unready, &json!("False"), &well("executor"), &container("proxy", false, &runs)),
                "its container proxy runs, and its startup or readiness probe",
            ),
            (
                "end of a sidecar",
                pod(unready, &json!("False"), &well("executor"), &container("proxy", false, &ended)),
                "its container proxy exited with code 3",
            ),
            (
                "sidecar out of memory",
                pod(unready, &json!("False"), &well("executor"), &loops),
                "proxy was killed for lack of memory, and does not run (CrashLoopBackOff: back-off)",
            ),
            ("gate", pod(gate, &json!("True"), &well("executor"), &well("proxy")), "the gate \"g\" does not exist"),
        ] {
            assert!(pod.why_not_ready().contains(words), "{what}: {}", pod.why_not_ready());
            assert_eq!(pod.node_is_silent(), what.starts_with("node"), "{what}");
        }
    }
}
