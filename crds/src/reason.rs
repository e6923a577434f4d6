//! Every reason a condition can have and every Event there is. One list each: code, docs and tests are made from it.

use crate::Blame;

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl $name {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// As conditions and Events carry it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }

            /// What it means, in the words of this list.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+),)+ }
            }

            /// The reason with this name.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|r| r.as_str() == text)
            }
        }
    };
}

reasons! {
    /// Reasons on the conditions of a WarmPool.
    WarmPoolReason {
        /// As many idle pods are ready as the spec asks for.
        PodsReady,
        /// Fewer idle pods are ready than the spec asks for; they are on their way.
        PodsNotReady,
        /// No idle pod has a problem.
        PodsHealthy,
        /// An image cannot be pulled: its name, tag or credentials are wrong.
        ImagePullBackOff,
        /// A container exits again and again.
        CrashLoopBackOff,
        /// No node can take the pod.
        Unschedulable,
        /// A container cannot be created: a ConfigMap, Secret or volume it names is missing, its settings clash, or nodes refuse its pod for them.
        CreateContainerError,
        /// An idle pod is not ready long after it was made: a volume, a probe, a gate, an init container or its node is in the way.
        PodsLate,
        /// Pods ended by themselves instead of staying idle.
        PodsEnded,
        /// Idle pods are ended from outside, again and again: evicted, preempted, over their deadline, with their node, or relabelled.
        PodsDisrupted,
        /// A ResourceQuota of the namespace forbids more pods.
        QuotaExceeded,
        /// The API server refuses the pod: Pod Security, a policy, a webhook, a missing ServiceAccount, a missing right.
        Refused,
        /// The API server, or a webhook that it asks, fails or does not answer, so that pods cannot be created.
        ApiError,
        /// The API server calls the pod template invalid.
        InvalidTemplate,
        /// The API server takes the pod template and warns of it: of a field that it does not know and leaves out, or of a policy.
        TemplateWarnings,
        /// More idle pods are wanted than `scaling.maxReplicas` allows.
        AtMaxReplicas,
        /// More pods are wanted than `scaling.maxPods` allows, idle and allocated together.
        AtMaxPods,
        /// More idle pods are wanted, and the pool does not grow while its pods fail or cannot be scheduled.
        GrowthHeld,
        /// The pool has, or makes, as many idle pods as are wanted.
        WithinLimits,
    }
}

reasons! {
    /// Reasons on the Ready condition of a Sandbox.
    SandboxReason {
        /// The WarmPool that `poolRef` names does not exist (yet).
        PoolNotFound,
        /// The pool has no ready pod left for this Sandbox; it waits in order of creation.
        PoolEmpty,
        /// The pool has as many pods as its `scaling.maxPods` allows; the Sandbox waits in order of creation until one is given up.
        PoolAtLimit,
        /// A pod was chosen and is being claimed.
        Claiming,
        /// The API server refuses the claim of a pod; another pod is tried, and the same again later.
        ClaimRefused,
        /// The pod is allocated, and the steps of `setup` are to run, or run, before the Sandbox is ready.
        SettingUp,
        /// Released: `setup` failed, or its Task was deleted before its end.
        SetupFailed,
        /// The pod is allocated and can run Tasks.
        Allocated,
        /// The pod is allocated, but its Ready condition is not True.
        PodNotReady,
        /// The executor container ended and has not started again yet; processes and files outside volumes are lost.
        ContainerRestarting,
        /// The executor container ended, and the template's restartPolicy does not start it again.
        ContainerEnded,
        /// Released: its first Task has finished and nothing else names it (keepAlive false, no ttl).
        TasksFinished,
        /// Released: the pod was deleted, evicted, ended, or is gone.
        PodLost,
    }
}

reasons! {
    /// Reasons on the conditions of a Task.
    TaskReason {
        /// The Sandbox that `sandboxRef` names does not exist (yet).
        SandboxNotFound,
        /// The Sandbox has no pod yet, its pod is not ready, or it is not set up.
        SandboxNotReady,
        /// Earlier Tasks of the same Sandbox come first; or large ones of others are on their way into their pods.
        Queued,
        /// Its steps are being run.
        Running,
        /// Every step succeeded.
        Succeeded,
        /// A step failed: a command exited with another code than 0, or a file could not be written.
        StepFailed,
        /// The Task was not done within its timeout.
        TimedOut,
        /// `spec.cancel` was set.
        Cancelled,
        /// A process was killed for lack of memory: the container reached its limit, or its node ran out.
        OOMKilled,
        /// The Sandbox's pod was deleted, evicted, ended, or is gone.
        PodLost,
        /// The executor container ended and was started again, which lost the running step.
        ContainerRestarted,
        /// The Sandbox was deleted.
        SandboxDeleted,
        /// The Sandbox had given up its pod.
        SandboxReleased,
        /// The spec passed the schema and still cannot be run.
        InvalidSpec,
        /// A step may have run, and its end is not known: the operator or a connection was lost meanwhile.
        Interrupted,
        /// A step could not be started.
        StartError,
    }
}

impl TaskReason {
    /// Who can do something about a Task that ended so, as far as the reason alone says; none where it did not end, or succeeded. What
    /// code in the Sandbox can cause is the Task's: where something outside of the pod is known to have caused it, that is said beside
    /// the reason.
    pub fn blame(self) -> Option<Blame> {
        match self {
            Self::SandboxNotFound | Self::SandboxNotReady | Self::Queued | Self::Running | Self::Succeeded => None,
            Self::StepFailed
            | Self::TimedOut
            | Self::OOMKilled
            | Self::PodLost
            | Self::ContainerRestarted
            | Self::Interrupted
            | Self::StartError => Some(Blame::Task),
            Self::Cancelled | Self::SandboxDeleted | Self::SandboxReleased | Self::InvalidSpec => Some(Blame::Usage),
        }
    }
}

reasons! {
    /// Reasons on the condition `Stalled` of all kinds, which is there only while a call to the API keeps failing.
    StalledReason {
        /// The API server, a policy or a webhook refuses what has to be done next.
        Refused,
        /// The API server, or a webhook that it asks, fails or does not answer.
        ApiError,
    }
}

reasons! {
    /// Reasons of Events.
    EventReason {
        /// WarmPool: pods have a problem; the note has the cause and the remedy.
        PodsFailing,
        /// WarmPool: the problem is gone.
        PodsRecovered,
        /// WarmPool: the API server takes the template and warns of it; the note has its words.
        TemplateWarnings,
        /// WarmPool: more pods are wanted than its `scaling` allows; the note says which number to raise.
        ScalingLimited,
        /// WarmPool: idle pods are being replaced because the template changed.
        TemplateChanged,
        /// Sandbox: it claimed a pod.
        Claimed,
        /// Sandbox: it waits; the note says for what.
        Waiting,
        /// Sandbox: it gave up its pod; the note says why.
        Released,
        /// Sandbox: a Task left processes in its pod that cannot be ended, and the pod is deleted for that; the note names the Task.
        PodGivenUp,
        /// Sandbox: it was idle for `ttlSecondsAfterFinished` and is deleted.
        Expired,
        /// Sandbox: its executor container was started again.
        ContainerRestarted,
        /// All kinds: calls to the API keep failing; the note has the API server's words.
        Stalled,
        /// Task: all steps succeeded.
        TaskSucceeded,
        /// Task: it failed; the note has reason and message.
        TaskFailed,
    }
}

impl EventReason {
    /// Whether the Event is of type Warning.
    pub fn is_warning(self) -> bool {
        matches!(
            self,
            Self::PodsFailing
                | Self::TemplateWarnings
                | Self::Stalled
                | Self::PodGivenUp
                | Self::ContainerRestarted
                | Self::TaskFailed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the reason alone says it, it is never the infrastructure: what code in the Sandbox can cause is not.
    #[test]
    fn every_reason_of_a_failure_has_somebody_to_blame() {
        let blamed = |blame| TaskReason::ALL.iter().filter(move |reason| reason.blame() == blame).count();
        assert_eq!(
            [None, Some(Blame::Task), Some(Blame::Usage), Some(Blame::Infrastructure)].map(blamed),
            [5, 7, 4, 0]
        );
    }
}
