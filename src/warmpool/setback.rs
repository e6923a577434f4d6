//! What stands in a pool's way, and how long to wait before trying again.

use std::time::Duration;

use arl_crds::{ExecutorMode, condition::is_alike, reason::WarmPoolReason};
use jiff::Timestamp;

use crate::{
    clock::backoff,
    effects::{Failure, NOT_AS_ASKED},
};

/// The pauses between attempts grow from about this long to [`MAX`].
const MIN: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(60);
/// What took so long to fail, such as a webhook that hangs, is not over in a moment.
const LASTING: Duration = Duration::from_secs(1);
const ADMISSION: &str = "change spec.template so that the namespace's admission accepts it, or create what it names";
/// A policy may be against what is in no template.
const ADMISSION_OF_AGENT: &str = "change spec.template so that the namespace's admission accepts it, or create what it names; the pod also has \
     the operator's own init container arl-agent, with the image of --agent-image (executor.mode: Exec does without)";
/// A template may have what is added to it, or be of a kind that it cannot be added to.
const INVALID_WITH_AGENT: &str = "correct spec.template; the operator adds the init container and the volume arl-agent to it, mounted at /.arl, for \
     Linux (executor.mode: Exec does without)";
/// What the API server says of that has one of these: the operator's init container is the first.
const OF_AGENT: [&str; 3] = ["\"arl-agent\"", "\"/.arl", "spec.initContainers[0]"];
/// What is refused for these has nothing to do with it.
const NOT_OF_AGENT: [&str; 4] =
    ["violates PodSecurity", "looking up service account", "no PriorityClass with name", "pod rejected: RuntimeClass"];
/// A quota that is as new as the pool has not been looked at by then.
const QUOTA_IS_NEW: &str = "status unknown for quota";
/// So often in a row pods that were made a moment before may be ended from outside, before that is waited for.
const DISRUPTIONS: u32 = 3;

/// A problem and its consequences.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setback {
    pub(super) reason: WarmPoolReason,
    pub(super) message: String,
    /// Whether it may be over in a moment, so that it is shown only once it has come again.
    pub(super) passing: bool,
    /// Whether it is what any pod may meet after a while, so that however often it comes, nothing is waited for.
    pub(super) occasional: bool,
    pub(super) attempts: u32,
    pub(super) until: Timestamp,
}

impl Setback {
    fn new(reason: WarmPoolReason, message: String) -> Self {
        Self { reason, message, passing: false, occasional: false, attempts: 0, until: Timestamp::UNIX_EPOCH }
    }

    /// A pod could not be created, which steps get into in this mode.
    pub(super) fn of(failure: &Failure, mode: ExecutorMode) -> Self {
        let refusal = failure.refusal().filter(|_| failure.is_refusal());
        let said = refusal.map_or_else(|| failure.cause().to_string(), ToString::to_string);
        let admission = match mode {
            ExecutorMode::Agent if !NOT_OF_AGENT.iter().any(|words| said.contains(words)) => ADMISSION_OF_AGENT,
            ExecutorMode::Agent | ExecutorMode::Exec => ADMISSION,
        };
        let (reason, advice) = match refusal.map(|refusal| refusal.code) {
            _ if failure.is_too_large() && !said.contains("webhook") => (
                WarmPoolReason::InvalidTemplate,
                "a pod of this template is too large to be stored: take something out of spec.template",
            ),
            Some(403) if said.contains(QUOTA_IS_NEW) => (WarmPoolReason::Refused, "it is tried again"),
            Some(403) if said.contains("insufficient quota to match") => {
                (WarmPoolReason::Refused, "create a ResourceQuota that covers this, or leave it out of spec.template")
            }
            Some(403) if said.contains("failed quota: ") => (
                WarmPoolReason::Refused,
                "name that in the resources of the template's containers, of which arl-agent gets the executor's, or in a LimitRange's defaults",
            ),
            Some(403) if said.contains("exceeded quota") => {
                (WarmPoolReason::QuotaExceeded, "raise the ResourceQuota of the namespace or lower spec.replicas")
            }
            Some(403) if said.contains(NOT_AS_ASKED) => (
                WarmPoolReason::Refused,
                "let it leave what begins with arl.infra.io/, the owners of pods, and what is named arl-agent, as they are",
            ),
            Some(_) if said.contains("denied the request") || said.contains("denied request") => {
                (WarmPoolReason::Refused, admission)
            }
            Some(409) if said.contains("already exists") => {
                (WarmPoolReason::Refused, "no pod of that name is there: an admission webhook of the cluster says so")
            }
            Some(403) if said.contains("cannot create resource") => {
                (WarmPoolReason::Refused, "give the operator's ServiceAccount this right: see docs/install.md")
            }
            // Pods go with their namespace, and no other answer names what is missing.
            Some(404) => (WarmPoolReason::Refused, "the namespace is gone, or going"),
            Some(403) if said.contains("being terminated") => {
                (WarmPoolReason::Refused, "nothing is created there any more")
            }
            Some(400 | 422) if !["denied", "forbidden"].iter().any(|word| said.contains(word)) => {
                let is_of_agent = mode == ExecutorMode::Agent && OF_AGENT.iter().any(|words| said.contains(words));
                (
                    WarmPoolReason::InvalidTemplate,
                    if is_of_agent { INVALID_WITH_AGENT } else { "correct spec.template" },
                )
            }
            Some(400 | 403 | 422) => (WarmPoolReason::Refused, admission),
            _ if said.contains("webhook") => {
                (WarmPoolReason::ApiError, "repair or remove that admission webhook of the cluster; it is tried again")
            }
            _ => (WarmPoolReason::ApiError, "it is tried again"),
        };
        let passing = (reason == WarmPoolReason::ApiError || said.contains(QUOTA_IS_NEW)) && failure.took() < LASTING;
        Self { passing, ..Self::new(reason, format!("{said}; {advice}")) }
    }

    /// Pods ended instead of staying idle.
    pub(super) fn ended(message: String) -> Self {
        Self::new(WarmPoolReason::PodsEnded, message)
    }

    /// Pods were ended from outside: the template is not at fault, and they are replaced at once, unless new ones are ended as well.
    pub(super) fn disrupted(message: String, was_new: bool) -> Self {
        Self { passing: true, occasional: !was_new, ..Self::new(WarmPoolReason::PodsDisrupted, message) }
    }

    /// Nodes refuse pods of this template, which are made and end at once.
    pub(super) fn unstartable(message: String) -> Self {
        Self::new(WarmPoolReason::CreateContainerError, message)
    }

    /// Whether a pod that was created, ready or not, proves that it is over.
    pub(super) fn is_refusal(&self) -> bool {
        use WarmPoolReason::{CreateContainerError, PodsDisrupted, PodsEnded};
        !matches!(self.reason, PodsEnded | PodsDisrupted | CreateContainerError)
    }

    /// Whether the namespace has no room for another pod.
    pub(super) fn is_quota(&self) -> bool {
        self.reason == WarmPoolReason::QuotaExceeded
    }

    /// Whether pods are made one at a time because of it.
    pub(super) fn slows(&self) -> bool {
        self.reason != WarmPoolReason::PodsDisrupted || self.attempts > DISRUPTIONS
    }

    /// Whether people are to be told.
    pub(super) fn is_shown(&self) -> bool {
        !self.passing || self.attempts > 1
    }

    /// The same, as the one that follows `earlier`. Words that differ in numbers alone stay as they were: each change is a write.
    pub(super) fn after(mut self, earlier: Option<&Self>, now: Timestamp) -> Self {
        let attempts = earlier.map_or(0, |earlier| earlier.attempts).saturating_add(1);
        self.attempts = if self.occasional { attempts.min(DISRUPTIONS) } else { attempts };
        self.until = if self.slows() { now + backoff(self.attempts, MIN, MAX) } else { now };
        if let Some(same) = earlier.filter(|e| e.reason == self.reason && is_alike(&e.message, &self.message)) {
            self.message.clone_from(&same.message);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;
    use crate::{
        effects::{Cause, Refusal},
        object::Key,
    };

    fn of(cause: Cause) -> Setback {
        of_mode(cause, ExecutorMode::Agent)
    }

    fn of_mode(cause: Cause, mode: ExecutorMode) -> Setback {
        Setback::of(&Failure::new("create", "Pod", &Key::new("ns", "p-1"), cause), mode)
    }

    #[test]
    fn what_a_policy_may_have_against_the_operators_own_container_is_said_where_there_is_one() {
        use ExecutorMode::{Agent, Exec};
        let policy = "pods \"p-1\" is forbidden: ValidatingAdmissionPolicy 'x' denied request: images must come from the registry";
        for (code, said, mode, names) in [
            (422, policy, Agent, true),
            (422, policy, Exec, false),
            (403, "admission webhook \"w\" denied the request: image not allowed", Agent, true),
            (403, "pods \"p-1\" is forbidden: maximum cpu usage per Container is 1", Agent, true),
            (403, "violates PodSecurity \"restricted\"", Agent, false),
            (403, "error looking up service account ns/x: serviceaccount \"x\" not found", Agent, false),
            (403, "exceeded quota: q", Agent, false),
            (403, "failed quota: q: must specify limits.cpu for: executor", Agent, false),
            (403, "status unknown for quota: q", Agent, false),
            (403, "pods \"p-1\" is forbidden: no PriorityClass with name high was found", Agent, false),
            (403, "pods \"p-1\" is forbidden: pod rejected: RuntimeClass \"gvisor\" not found", Agent, false),
            (422, "Pod \"p-1\" is invalid: spec.containers: Required value", Agent, false),
        ] {
            let message = of_mode(Cause::Refused(Refusal::new(code, said)), mode).message;
            let words = "init container arl-agent, with the image of --agent-image (executor.mode: Exec";
            assert_eq!(message.contains(words), names, "{message}");
        }
    }

    #[test]
    fn a_template_that_the_agent_cannot_be_added_to_is_told_what_is_added() {
        use ExecutorMode::{Agent, Exec};
        for (said, mode, names) in [
            ("spec.volumes[1].name: Duplicate value: \"arl-agent\"", Agent, true),
            ("spec.initContainers[1].name: Duplicate value: \"arl-agent\"", Agent, true),
            ("spec.initContainers[1].name: Duplicate value: \"arl-agent\"", Exec, false),
            ("spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/.arl\": must be unique", Agent, true),
            (
                "spec.containers[0].volumeMounts[2].mountPath: Invalid value: \"/.arl/state\": must be unique",
                Agent,
                true,
            ),
            (
                "spec.initContainers[0].securityContext.capabilities: Forbidden: cannot be set for a windows pod",
                Agent,
                true,
            ),
            ("spec.initContainers[0].image: Required value", Exec, false),
            ("spec.containers: Required value", Agent, false),
        ] {
            let said = format!("Pod \"p-1\" is invalid: {said}");
            let setback = of_mode(Cause::Refused(Refusal::new(422, said)), mode);
            assert_eq!(setback.reason, WarmPoolReason::InvalidTemplate);
            assert!(setback.message.contains("; correct spec.template"), "{}", setback.message);
            assert_eq!(setback.message.contains("the operator adds the init container"), names, "{}", setback.message);
        }
    }

    fn assert_refused(code: u16, said: &str, reason: WarmPoolReason, remedy: &str) {
        let setback = of(Cause::Refused(Refusal::new(code, said)));
        assert_eq!(setback.reason, reason, "{code} {said}");
        assert!(setback.message.starts_with(said) && setback.message.contains(remedy), "{}", setback.message);
    }

    #[test]
    fn each_way_to_refuse_a_pod_has_its_reason_and_its_remedy() {
        use WarmPoolReason::{ApiError, InvalidTemplate, QuotaExceeded, Refused};
        let policy = "pods \"p-1\" is forbidden: ValidatingAdmissionPolicy 'x' with binding 'y' denied request: no";
        let conflict = "Operation cannot be fulfilled on resourcequotas \"q\": the object has been modified";
        let right = "pods is forbidden: User \"system:serviceaccount:a:b\" cannot create resource \"pods\"";
        for (code, said, reason, remedy) in [
            (403, "exceeded quota: q, requested: pods=1", QuotaExceeded, "raise the ResourceQuota"),
            (409, conflict, ApiError, "has been modified; it is tried again"),
            (
                403,
                "the label arl.infra.io/warmpool of the pod is not as it was asked for: an admission webhook or policy changes it",
                Refused,
                "leave what begins with arl.infra.io/",
            ),
            (403, right, Refused, "give the operator's ServiceAccount this right"),
            (
                403,
                "error looking up service account ns/x: serviceaccount \"x\" not found",
                Refused,
                "create what it names",
            ),
            (403, "violates PodSecurity \"restricted\"", Refused, "change spec.template"),
            (422, policy, Refused, "change spec.template"),
            (422, "pods \"p-1\" is forbidden: no image from there", Refused, "change spec.template"),
            (400, "admission webhook \"w\" denied the request: no", Refused, "change spec.template"),
            (422, "Pod \"p-1\" is invalid: spec.containers: Required value", InvalidTemplate, "correct spec.template"),
            (400, "Pod in version \"v1\" cannot be handled as a Pod", InvalidTemplate, "correct spec.template"),
            (403, "namespace ns because it is being terminated", Refused, "nothing is created there"),
            (404, "namespaces \"ns\" not found", Refused, "the namespace is gone"),
            (404, "admission webhook \"w\" denied the request: no", Refused, "change spec.template"),
            (
                401,
                "pods \"p-1\" is forbidden: ValidatingAdmissionPolicy 'x' denied request: no",
                Refused,
                "change spec.template",
            ),
            (413, "admission webhook \"w\" denied the request: no", Refused, "change spec.template"),
            (409, "pods \"p-1\" already exists", Refused, "no pod of that name is there"),
        ] {
            assert_refused(code, said, reason, remedy);
        }
        let webhook = of(Cause::Broken(Refusal::new(500, "Internal error occurred: failed calling webhook \"w\"")));
        assert_eq!(webhook.reason, ApiError);
        assert!(webhook.message.contains("repair or remove that admission webhook"), "{}", webhook.message);
    }

    #[test]
    fn what_quotas_and_the_size_of_a_pod_are_in_the_way_of_is_told_apart() {
        use WarmPoolReason::{ApiError, InvalidTemplate, Refused};
        for (code, said, reason, remedy) in [
            (403, "insufficient quota to match these scopes: [{PriorityClass}]", Refused, "create a ResourceQuota"),
            (403, "status unknown for quota: q, resources: pods", Refused, "it is tried again"),
            (403, "failed quota: q: must specify limits.cpu for: executor", Refused, "name that in the resources"),
        ] {
            assert_refused(code, said, reason, remedy);
        }
        assert!(
            of(Cause::Refused(Refusal::new(403, "status unknown for quota: q"))).passing,
            "it is as new as the pool"
        );
        for (code, said, reason, words) in [
            (500, "etcdserver: request is too large", InvalidTemplate, "too large to be stored"),
            (413, "", InvalidTemplate, "too large to be stored"),
            (
                500,
                "failed calling webhook \"w\": message larger than max",
                ApiError,
                "repair or remove that admission webhook",
            ),
        ] {
            let status = Status { code, message: said.into(), ..Status::default() };
            let error = kube::Error::Api(Box::new(status));
            let failure = Failure::of("create", "Pod", &Key::new("ns", "p-1"), error);
            let setback = Setback::of(&failure, ExecutorMode::Agent);
            assert_eq!((setback.reason, setback.passing), (reason, reason == ApiError), "{}", setback.message);
            assert!(setback.message.contains(words), "{}", setback.message);
        }
    }

    #[test]
    fn pods_that_were_ended_from_outside_are_replaced_at_once_unless_that_goes_on() {
        let evicted = |was_new| Setback::disrupted("evicted".into(), was_new);
        let mut setback = evicted(true).after(None, Timestamp::UNIX_EPOCH);
        assert!(!setback.slows() && !setback.is_shown() && setback.until == Timestamp::UNIX_EPOCH);
        for _ in 0..DISRUPTIONS {
            setback = evicted(true).after(Some(&setback), Timestamp::UNIX_EPOCH);
        }
        assert!(setback.slows() && setback.is_shown() && setback.until > Timestamp::UNIX_EPOCH);
        for _ in 0..9 {
            setback = evicted(false).after(Some(&setback), Timestamp::UNIX_EPOCH);
        }
        assert!(
            !setback.slows() && setback.is_shown() && setback.until == Timestamp::UNIX_EPOCH,
            "these had been there a while"
        );
        assert!(evicted(true).after(Some(&setback), Timestamp::UNIX_EPOCH).slows(), "and these not");
    }

    #[test]
    fn what_may_pass_is_shown_when_it_comes_again_and_said_in_the_same_words() {
        let timeout = || of(Cause::Timeout);
        let first = timeout().after(None, Timestamp::UNIX_EPOCH);
        let second = timeout().after(Some(&first), Timestamp::UNIX_EPOCH);
        assert_eq!((first.is_shown(), second.is_shown()), (false, true));
        let slow = Failure::new("create", "Pod", &Key::new("ns", "p-1"), Cause::Timeout).after(LASTING);
        assert!(Setback::of(&slow, ExecutorMode::Agent).after(None, Timestamp::UNIX_EPOCH).is_shown(), "it has lasted");
        let quota = |used| of(Cause::Refused(Refusal::new(403, format!("exceeded quota: q, used: pods={used}"))));
        let first = quota(3).after(None, Timestamp::UNIX_EPOCH);
        let second = quota(4).after(Some(&first), Timestamp::UNIX_EPOCH);
        assert_eq!((first.is_shown(), &second.message), (true, &first.message));
        let other = of(Cause::Refused(Refusal::new(403, "exceeded quota: another")))
            .after(Some(&second), Timestamp::UNIX_EPOCH);
        assert!(other.message.contains("another"), "{}", other.message);
    }
}
