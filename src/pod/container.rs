//! What is kept of a container's spec: its name, the probes, which give it time to start and end it where they fail, and the hook after its start.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is kept of a container's spec.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Container {
    pub name: String,
    /// Always is that of an init container that is to go on running.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub restart_policy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup_probe: Option<Probe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Probe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Probe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
}

/// What is kept of a probe. The API server fills in what a template leaves out; these are the same numbers.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)] // the API's own fields
pub struct Probe {
    pub initial_delay_seconds: i32,
    pub period_seconds: i32,
    pub failure_threshold: i32,
    pub success_threshold: i32,
    pub timeout_seconds: i32,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            initial_delay_seconds: 0,
            period_seconds: 10,
            failure_threshold: 3,
            success_threshold: 1,
            timeout_seconds: 1,
        }
    }
}

/// What is kept of a container's hooks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Lifecycle {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_start: Option<Hook>,
}

/// That there is a hook. What it does may be long, and is not kept.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Hook {}

fn seconds(number: i32) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0))
}

impl Probe {
    fn initial_delay(self) -> Duration {
        seconds(self.initial_delay_seconds)
    }

    /// How long it may be asked `times` times, the answer to the last included.
    fn asked(self, times: i32) -> Duration {
        seconds(self.period_seconds.saturating_mul(times)) + seconds(self.timeout_seconds)
    }
}

impl Container {
    /// How long after its start its own probes let it be without being ready.
    pub fn start_budget(&self) -> Duration {
        let startup = self.startup_probe.map(|probe| probe.initial_delay() + probe.asked(probe.failure_threshold));
        let readiness = self.readiness_probe.map(|probe| (probe.initial_delay(), probe.asked(probe.success_threshold)));
        // The kubelet asks for readiness from when the container has started up, and its initial delay is over.
        let (delay, asked) = readiness.unwrap_or_default();
        startup.unwrap_or_default().max(delay) + asked
    }

    /// Whether it has a probe that ends it where it fails.
    pub fn has_ending_probe(&self) -> bool {
        self.liveness_probe.is_some() || self.startup_probe.is_some()
    }

    /// Whether it counts as running only once its hook has succeeded, and is ended where that fails.
    pub fn has_post_start(&self) -> bool {
        self.lifecycle.is_some_and(|lifecycle| lifecycle.post_start.is_some())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn container(value: &Value) -> Container {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn a_container_has_as_long_as_its_probes_give_it() {
        for (startup, readiness, expected) in [
            (Value::Null, Value::Null, 0),
            (json!({}), Value::Null, 31),
            (
                json!({ "initialDelaySeconds": 5, "periodSeconds": 3, "failureThreshold": 20, "timeoutSeconds": 2 }),
                Value::Null,
                67,
            ),
            (Value::Null, json!({}), 11),
            (Value::Null, json!({ "initialDelaySeconds": 70, "periodSeconds": 5, "successThreshold": 2 }), 81),
            (json!({}), json!({ "initialDelaySeconds": 5 }), 42),
            (json!({}), json!({ "initialDelaySeconds": 60 }), 71),
            (
                json!({ "periodSeconds": i32::MAX, "failureThreshold": i32::MAX, "timeoutSeconds": -1 }),
                Value::Null,
                2_147_483_647,
            ),
        ] {
            let found = container(&json!({ "name": "c", "startupProbe": startup, "readinessProbe": readiness }));
            assert_eq!(found.start_budget().as_secs(), expected, "{startup} {readiness}");
        }
    }

    #[test]
    fn of_a_hook_it_is_kept_that_there_is_one() {
        let hook = json!({ "exec": { "command": ["x".repeat(100_000)] } });
        for (lifecycle, has) in
            [(Value::Null, false), (json!({ "preStop": hook }), false), (json!({ "postStart": hook }), true)]
        {
            let found = container(&json!({ "name": "c", "lifecycle": lifecycle }));
            assert_eq!(found.has_post_start(), has);
            assert!(serde_json::to_string(&found).unwrap().len() < 100);
        }
    }
}
