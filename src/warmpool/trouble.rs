//! What keeps an idle pod from becoming ready, in the words a person needs.

use arl_crds::reason::WarmPoolReason;

use crate::pod::{Pod, Waiting};

/// A pod's trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) reason: WarmPoolReason,
    pub(super) message: String,
}

/// The trouble of a pod that is alive, if it has one.
pub(super) fn of(pod: &Pod) -> Option<Trouble> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let containers = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    let waiting = containers.filter_map(|c| Some((c.name.as_str(), c.state.waiting.as_ref()?)));
    let stuck = waiting.filter_map(|(container, waiting)| {
        let (reason, advice) = cause(waiting)?;
        let said = if waiting.message.is_empty() { &waiting.reason } else { &waiting.message };
        Some(Trouble { reason, message: format!("pod {name}, container {container}: {said}; {advice}") })
    });
    stuck.into_iter().next().or_else(|| {
        let scheduled = pod.condition("PodScheduled").filter(|c| c.status == "False" && c.reason == "Unschedulable")?;
        let advice = "lower the template's requests, or add nodes that fit it";
        Some(Trouble {
            reason: WarmPoolReason::Unschedulable,
            message: format!("pod {name}: {}; {advice}", scheduled.message),
        })
    })
}

fn cause(waiting: &Waiting) -> Option<(WarmPoolReason, &'static str)> {
    Some(match waiting.reason.as_str() {
        "ImagePullBackOff" | "ErrImagePull" | "ErrImageNeverPull" | "InvalidImageName" | "RegistryUnavailable" => (
            WarmPoolReason::ImagePullBackOff,
            "check the image's name and tag, the registry, and spec.template.spec.imagePullSecrets",
        ),
        "CrashLoopBackOff" => (
            WarmPoolReason::CrashLoopBackOff,
            "its command must keep running, such as [\"sleep\", \"infinity\"]; see kubectl logs",
        ),
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "PreCreateHookError"
        | "PreStartHookError" => (WarmPoolReason::CreateContainerError, "correct what the message names"),
        _ => return None,
    })
}
