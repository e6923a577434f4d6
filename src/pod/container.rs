//! What is kept of a container's spec: its name, how long its probes give it to start, and what else may end it.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// What is kept of a container's spec.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(from = "Spec")]
#[allow(missing_docs)]
pub struct Container {
    pub name: String,
    /// Whether it goes on running, where it is an init container.
    pub goes_on: bool,
    /// Whether it has a probe that ends it where it fails.
    pub has_ending_probe: bool,
    /// Whether it counts as running only once its hook has succeeded, and is ended where that fails.
    pub has_post_start: bool,
    /// When it is started again, where it says so itself.
    pub(super) restarts: Option<Restarts>,
    /// By which of the exit codes its rules may have it started again, whatever else it says: a bit each.
    rules: Option<Box<[u64; 4]>>,
    start_budget_s: u32,
}

/// When a container that has ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) enum Restarts {
    Always,
    OnFailure,
    Never,
}

impl Restarts {
    pub(super) fn of(policy: &str) -> Option<Self> {
        match policy {
            "Always" => Some(Self::Always),
            "OnFailure" => Some(Self::OnFailure),
            "Never" => Some(Self::Never),
            _ => None,
        }
    }
}

impl fmt::Display for Restarts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "restartPolicy Always",
            Self::OnFailure => "restartPolicy OnFailure",
            Self::Never => "restartPolicy Never",
        })
    }
}

impl Container {
    /// How long after its start its own probes let it be without being ready.
    pub fn start_budget(&self) -> Duration {
        Duration::from_secs(self.start_budget_s.into())
    }

    /// Whether rules say when it is started again, before its policy does.
    pub(super) fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// Whether one of its rules may have it started again after it ended with this code.
    pub(super) fn may_restart_by_rule(&self, code: i32) -> bool {
        let place = usize::try_from(code).unwrap_or(usize::MAX);
        let is_among = |codes: &[u64; 4]| codes.get(place / 64).is_none_or(|codes| codes >> (place % 64) & 1 == 1);
        self.rules.as_deref().is_some_and(is_among)
    }
}

impl From<Spec> for Container {
    fn from(spec: Spec) -> Self {
        Self {
            goes_on: spec.restart_policy == "Always",
            has_ending_probe: spec.liveness_probe.is_some() || spec.startup_probe.is_some(),
            has_post_start: spec.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.post_start.is_some()),
            restarts: Restarts::of(&spec.restart_policy),
            rules: restarted_by(&spec.restart_policy_rules),
            start_budget_s: spec.start_budget_s(),
            name: spec.name,
        }
    }
}

/// What is read of a container's spec.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    name: String,
    restart_policy: String,
    restart_policy_rules: Vec<Rule>,
    startup_probe: Option<Probe>,
    readiness_probe: Option<Probe>,
    liveness_probe: Option<Probe>,
    lifecycle: Option<Lifecycle>,
}

/// What to do with a container after some of its ends. Whatever it is, one that it is done for is started again; later Kubernetes may have
/// other conditions and operators.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    exit_codes: Option<ExitCodes>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ExitCodes {
    operator: String,
    values: Vec<i32>,
}

impl Rule {
    fn may_hold(&self, code: i32) -> bool {
        self.exit_codes.as_ref().is_none_or(|codes| match codes.operator.as_str() {
            "In" => codes.values.contains(&code),
            "NotIn" => !codes.values.contains(&code),
            _ => true,
        })
    }
}

/// The exit codes that rules may hold for, a bit each. The rules themselves may be many.
fn restarted_by(rules: &[Rule]) -> Option<Box<[u64; 4]>> {
    let mut codes = Box::new([0; 4]);
    for code in (0..=255u8).filter(|code| rules.iter().any(|rule| rule.may_hold((*code).into()))) {
        codes[usize::from(code / 64)] |= 1 << (code % 64);
    }
    (!rules.is_empty()).then_some(codes)
}

/// A probe. The API server fills in what a template leaves out; these are the same numbers.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Probe {
    initial_delay_seconds: i32,
    period_seconds: i32,
    failure_threshold: i32,
    success_threshold: i32,
    timeout_seconds: i32,
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

/// A container's hooks.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Lifecycle {
    post_start: Option<Hook>,
}

/// That there is a hook. What it does may be long.
#[derive(Deserialize)]
struct Hook {}

fn seconds(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

impl Probe {
    /// How long it may be asked `times` times, the answer to the last included.
    fn asked(self, times: i32) -> u32 {
        seconds(self.period_seconds.saturating_mul(times)).saturating_add(seconds(self.timeout_seconds))
    }
}

impl Spec {
    fn start_budget_s(&self) -> u32 {
        let delay = |probe: &Probe| seconds(probe.initial_delay_seconds);
        let startup =
            self.startup_probe.map(|probe| delay(&probe).saturating_add(probe.asked(probe.failure_threshold)));
        let readiness = self.readiness_probe.map(|probe| (delay(&probe), probe.asked(probe.success_threshold)));
        // The kubelet asks for readiness from when the container has started up, and its initial delay is over.
        let (delay, asked) = readiness.unwrap_or_default();
        startup.unwrap_or_default().max(delay).saturating_add(asked)
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
    fn of_rules_it_is_kept_which_exit_codes_they_may_hold_for() {
        let rule = |operator: &str, values: &[i32]| json!({ "action": "Restart", "exitCodes": { "operator": operator, "values": values } });
        let all: Vec<i32> = (0..=255).collect();
        for (rules, expected) in [
            (json!([]), vec![]),
            (json!([rule("In", &[0, 42, 255])]), vec![0, 42, 255]),
            (json!([rule("NotIn", &all[1..])]), vec![0]),
            (json!([rule("In", &[3]), rule("In", &[64, 70_000, -1])]), vec![3, 64]),
            (json!([rule("In", &[3]), rule("Between", &[5, 6])]), all.clone()),
            (json!([{ "action": "RestartPod", "signals": [9] }]), all.clone()),
        ] {
            let found = container(&json!({ "name": "c", "restartPolicyRules": rules }));
            let codes: Vec<i32> = all.iter().copied().filter(|code| found.may_restart_by_rule(*code)).collect();
            assert_eq!((codes, found.has_rules()), (expected, rules != json!([])), "{rules}");
            assert_eq!([256, -1].map(|code| found.may_restart_by_rule(code)), [found.has_rules(); 2], "nobody knows");
        }
    }

    #[test]
    fn of_a_hook_it_is_kept_that_there_is_one() {
        let hook = json!({ "exec": { "command": ["x".repeat(100_000)] } });
        for (lifecycle, has) in
            [(Value::Null, false), (json!({ "preStop": hook }), false), (json!({ "postStart": hook }), true)]
        {
            let found = container(&json!({ "name": "c", "lifecycle": lifecycle }));
            assert_eq!(found.has_post_start, has);
            assert!(serde_json::to_string(&found).unwrap().len() < 150);
        }
    }
}
