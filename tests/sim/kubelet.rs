//! What becomes of pods: they are scheduled, start, restart, fail, and end.

use std::{sync::Arc, time::Duration};

use arl_crds::labels;
use serde_json::{Value, json};

use crate::{
    agenda::Action,
    kind::{Actor, Id, Kind},
    outages::NODES,
    store::{Part, is_deleting, seconds},
    world::State,
};

/// What the kubelet, or the scheduler before it, does next with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodEvent {
    Schedule,
    Start,
    /// The containers have ended and the pod goes.
    Finish,
    /// The executor container ends, killed for its memory or by its own doing.
    EndContainer {
        oom: bool,
    },
    StartContainer,
    Evict,
    /// The executor container ends, and the pod with it.
    Fail,
    /// The readiness probe fails for a while.
    Unready,
    /// The same, for so many milliseconds.
    UnreadyFor(u64),
    ReadyAgain,
}

/// How fast it all goes, in milliseconds from and to.
#[derive(Clone, Debug)]
pub struct Kubelet {
    pub schedule: (u64, u64),
    pub start: (u64, u64),
    pub finish: (u64, u64),
    pub restart: (u64, u64),
}

impl Default for Kubelet {
    fn default() -> Self {
        Self { schedule: (1, 20), start: (50, 1_500), finish: (5, 900), restart: (20, 3_000) }
    }
}

/// A template with this image is never ready.
pub const NO_SUCH_IMAGE: &str = "no-such-image";
/// A template with this image is evicted soon after it started.
pub const ENDS: &str = "ends";
/// A template with this image ends by itself, and the pod with it.
pub const FAILS: &str = "fails";
/// A template with this image ends by itself, and its container is started again and again.
pub const CRASHES: &str = "crashes";

/// Whether a pod is of a template that does not stay up.
pub fn breaks_by_itself(pod: &Value) -> bool {
    matches!(image_of(pod), ENDS | FAILS)
}

/// The executor container: it has the first place in the status.
fn executor(pod: &Value) -> &str {
    pod["metadata"]["annotations"][labels::EXECUTOR].as_str().unwrap_or("executor")
}

fn image_of(pod: &Value) -> &str {
    let executor = pod["spec"]["containers"].as_array().and_then(|all| all.iter().find(|c| c["name"] == executor(pod)));
    executor.and_then(|c| c["image"].as_str()).unwrap_or_default()
}

/// Whether a container that does not stay up is not started again for a long time.
fn crashed(pod: &Value) -> bool {
    image_of(pod) == CRASHES && pod["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(2)
}

impl State {
    /// Plans what follows from a change to a pod.
    pub fn kubelet_observes(&mut self, pod: &Value, was: Option<&Value>) {
        let uid = crate::store::uid_of(pod).to_owned();
        let (schedule, finish) = (self.kubelet.schedule, self.kubelet.finish);
        if was.is_none() {
            self.soon(schedule, Action::Kubelet(PodEvent::Schedule, uid));
        } else if is_deleting(pod) && !was.is_some_and(is_deleting) {
            let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(0) * 1_000;
            self.soon((finish.0.min(grace), finish.1.min(grace)), Action::Kubelet(PodEvent::Finish, uid));
        }
    }

    pub fn kubelet_acts(&mut self, event: PodEvent, uid: &str) {
        let Some((id, pod)) = self.store.by_uid(Kind::Pod, uid).map(|(id, pod)| (id.clone(), Arc::clone(pod))) else {
            return;
        };
        let over = matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
        let runs = pod["status"]["containerStatuses"][0]["state"].get("running").is_some();
        let (start, restart) = (self.kubelet.start, self.kubelet.restart);
        match event {
            // What a node that is away does is seen when it answers again.
            _ if self.is_away(&pod) => self.soon((500, 1_500), Action::Kubelet(event, uid.to_owned())),
            PodEvent::Finish => {
                self.end_container(&pod);
                self.store.remove(&id, Actor::Kubelet);
            }
            _ if is_deleting(&pod) || over => {}
            PodEvent::Schedule => {
                let name = NODES[self.rng.usize(..NODES.len())];
                let node =
                    self.store.modify(&id, Part::Main, Actor::Kubelet, |pod| pod["spec"]["nodeName"] = json!(name));
                if node.is_ok() {
                    self.soon(start, Action::Kubelet(PodEvent::Start, uid.to_owned()));
                }
            }
            PodEvent::Start => self.start(&id, &pod, uid),
            PodEvent::EndContainer { oom } if runs => {
                self.end_container(&pod);
                let reason = if oom { "OOMKilled" } else { "Error" };
                let ended = json!({ "terminated": { "reason": reason, "exitCode": 137, "containerID": pod["status"]["containerStatuses"][0]["containerID"] } });
                self.set_status(&id, |status| status["containerStatuses"][0]["state"] = ended, Some(false));
                self.soon(restart, Action::Kubelet(PodEvent::StartContainer, uid.to_owned()));
            }
            PodEvent::StartContainer if !runs => self.start_again(&id, &pod, uid),
            PodEvent::Evict | PodEvent::Fail => self.end_pod(&id, &pod, event == PodEvent::Evict),
            PodEvent::Unready if runs => {
                self.set_status(&id, |_| {}, Some(false));
                self.soon((100, 3_000), Action::Kubelet(PodEvent::ReadyAgain, uid.to_owned()));
            }
            PodEvent::UnreadyFor(millis) if runs => {
                self.set_status(&id, |_| {}, Some(false));
                self.agenda.after(Duration::from_millis(millis), Action::Kubelet(PodEvent::ReadyAgain, uid.to_owned()));
            }
            PodEvent::ReadyAgain if runs => self.set_status(&id, |_| {}, Some(true)),
            PodEvent::EndContainer { .. }
            | PodEvent::StartContainer
            | PodEvent::Unready
            | PodEvent::UnreadyFor(_)
            | PodEvent::ReadyAgain => {}
        }
    }

    fn start(&mut self, id: &Id, pod: &Value, uid: &str) {
        let image = image_of(pod);
        if image == NO_SUCH_IMAGE {
            let waiting = json!([{ "name": executor(pod), "restartCount": 0, "state": {
                "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image" } } }]);
            return self.set_status(id, |status| status["containerStatuses"] = waiting, Some(false));
        }
        let soon = match image {
            ENDS => Some(PodEvent::Evict),
            FAILS => Some(PodEvent::Fail),
            CRASHES => Some(PodEvent::EndContainer { oom: false }),
            _ => None,
        };
        let executor = container(pod, 0, &json!({}));
        let running = |status: &mut Value| {
            (status["phase"], status["podIP"]) = (json!("Running"), json!("10.0.0.1"));
            status["containerStatuses"] = json!([executor]);
        };
        self.set_status(id, running, Some(true));
        if let Some(event) = soon {
            self.agenda.after(Duration::from_millis(300), Action::Kubelet(event, uid.to_owned()));
        }
    }

    fn start_again(&mut self, id: &Id, pod: &Value, uid: &str) {
        let ended = pod["status"]["containerStatuses"][0]["state"].clone();
        if crashed(pod) {
            let state = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off restarting" } });
            let waiting = |status: &mut Value| {
                status["containerStatuses"][0]["lastState"] = ended;
                status["containerStatuses"][0]["state"] = state;
            };
            return self.set_status(id, waiting, Some(false));
        }
        let count = pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(0) + 1;
        let executor = container(pod, count, &ended);
        self.set_status(id, |status| status["containerStatuses"][0] = executor, Some(true));
        if image_of(pod) == CRASHES {
            let event = Action::Kubelet(PodEvent::EndContainer { oom: false }, uid.to_owned());
            self.agenda.after(Duration::from_millis(300), event);
        }
    }

    /// The node evicts it, or its container ends and it with it.
    fn end_pod(&mut self, id: &Id, pod: &Value, is_evicted: bool) {
        self.end_container(pod);
        let code = if is_evicted { 137 } else { 1 };
        let ended = |status: &mut Value| {
            status["phase"] = json!("Failed");
            if is_evicted {
                status["reason"] = json!("Evicted");
            }
            if let Some(executor) = status.pointer_mut("/containerStatuses/0") {
                executor["state"] = json!({ "terminated": { "reason": "Error", "exitCode": code } });
            }
        };
        self.set_status(id, ended, Some(false));
    }

    fn set_status(&mut self, id: &Id, change: impl FnOnce(&mut Value), ready: Option<bool>) {
        let now = json!(seconds(self.store.time()));
        drop(self.store.modify(id, Part::Status, Actor::Kubelet, |pod| {
            change(&mut pod["status"]);
            let Some(ready) = ready else { return };
            let truth = if ready { "True" } else { "False" };
            let same = pod["status"]["conditions"][0]["status"] == truth;
            if !same {
                pod["status"]["conditions"] = json!([{ "type": "Ready", "status": truth, "lastTransitionTime": now }]);
            }
        }));
    }

    /// What ran in the executor container is gone.
    fn end_container(&mut self, pod: &Value) {
        if let Some(container) = pod["status"]["containerStatuses"][0]["containerID"].as_str() {
            self.agents.end_container(container);
            self.live.end_container(container);
        }
    }
}

fn container(pod: &Value, restarts: i64, last: &Value) -> Value {
    json!({
        "name": executor(pod), "restartCount": restarts, "lastState": last,
        "containerID": format!("containerd://{}-{restarts}", crate::store::uid_of(pod)),
        "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
    })
}
