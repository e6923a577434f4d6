//! The sentences of the contract that can be held against a history, and how often each was put to the test.

use std::{collections::BTreeSet, fmt, sync::LazyLock};

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// One sentence of the contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Rule {
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            pub fn sentence(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc,)+).trim_ascii_start(),)+ }
            }
        }
    };
}

rules! {
    /// A pod serves one Sandbox at most, ever.
    PodServesOne,
    /// A Sandbox uses one pod at most in its life.
    SandboxUsesOne,
    /// What a Sandbox has on record of its pod stays.
    RecordStays,
    /// A claim is one write: labels, owner and the word to autoscalers.
    ClaimIsWhole,
    /// Only a pod of its pool whose Ready condition is True is claimed.
    ClaimOfReadyPod,
    /// Pods are claimed first come first served, within one second by arrival.
    ClaimInOrder,
    /// A pod is not changed once it is a Sandbox's.
    BoundPodUntouched,
    /// A pod that a Sandbox holds is never deleted by the operator.
    HeldPodStays,
    /// Deleting a pool leaves allocated pods alone.
    AllocatedOutlivesPool,
    /// A new pod is as the template says, with its pool as owner and its labels.
    PodAsTemplate,
    /// Nothing of the operator's blocks a deletion: it sets no finalizers.
    NoFinalizers,
    /// Idle pods never exceed replicas, plus one while a template rolls.
    NumberOfPods,
    /// Surplus pods go within bounded time.
    SurplusGoes,
    /// Idle and allocated pods together never exceed scaling.maxPods.
    WithinMaxPods,
    /// No more idle pods are wanted than scaling.maxReplicas allows, and no fewer than replicas where scaling.maxPods leaves room.
    WantedInBounds,
    /// A pool wants more pods only where something asks for them.
    GrowsForDemand,
    /// No Sandbox waits beside a ready pod of its pool.
    NobodyPassedOver,
    /// Pods that break are made again ever more slowly.
    BackOff,
    /// A changed template takes a ready pod only once another is ready.
    ReadyBeforeOld,
    /// Scale-down takes pods that are not ready first.
    ScaleDownUnreadyFirst,
    /// A stream is opened to a pod that no Sandbox has only where its pool asks for that.
    ConnectedAsAsked,
    /// A pool that asks for streams to its idle pods has one to each that is ready.
    ConnectedAtRest,
    /// A pool that is being deleted gets no pods.
    NoPodsForGonePool,
    /// Counts are present, possible and agree with the phase.
    CountsPossible,
    /// Counts are true once nothing has changed for a moment.
    CountsTrue,
    /// Counts are true at rest.
    CountsTrueAtRest,
    /// A pool has the pods that it asks for.
    PoolFull,
    /// A pool that cannot have its pods says why.
    PoolSaysWhy,
    /// keepAlive without a ttl: the Sandbox stays.
    KeptAlive,
    /// A Sandbox is given up for its Tasks' end only once one has ended and no other names it.
    ReleasedAfterTasks,
    /// A Sandbox without keepAlive and ttl is given up after its Tasks, and its pod goes.
    ReleasedAtRest,
    /// Nothing is deleted by the operator that has no ttl.
    DeletedOnlyByTtl,
    /// Nothing is deleted before its ttl is over, counted from the end of the last Task.
    NotEarly,
    /// A Sandbox with a live process is not ended for being idle.
    LiveIsNotIdle,
    /// A Sandbox that had live processes is kept for its ttl after the last of them.
    NotEarlyAfterLive,
    /// A ttl of 0 acts once the first Task or live process has run.
    ZeroTtlWaits,
    /// What has been idle for its ttl goes soon.
    NotLate,
    /// What has been idle for its ttl is gone at rest.
    ExpiredAtRest,
    /// A Sandbox that waits says for what.
    SandboxSaysWhy,
    /// A Sandbox has a pod where its pool can give it one.
    SandboxServed,
    /// A Sandbox's record is that of its pod.
    RecordTrueAtRest,
    /// A Sandbox is ready exactly where its pod can run Tasks.
    ReadyFollowsPod,
    /// Only a pod that is deleted, ended or gone is lost; what is merely unreachable is not.
    LostIsLost,
    /// States follow the arrows of the diagram, with its reasons.
    AsDrawn,
    /// A step is started at most once in a Sandbox.
    StepOnce,
    /// What is started is what the spec says: its steps, for its timeout, in the executor container.
    StepsAsAsked,
    /// A Task begins only in a pod that is ready.
    StepInReadyPod,
    /// No step starts of a Task that was cancelled or deleted before.
    NoStepAfterCancel,
    /// A step is started only in the pod that its Sandbox has on record.
    StepInRecordedPod,
    /// A Sandbox with a setup is not ready before that has succeeded.
    SetUpBeforeReady,
    /// A Sandbox is set up at most once.
    SetUpOnce,
    /// No Task begins in a Sandbox before it is set up.
    SetUpFirst,
    /// A Sandbox is given up for its setup's failure only once its Task has failed, or is gone.
    SetUpFailed,
    /// Tasks of a Sandbox run one at a time, in order of creation.
    TasksInOrder,
    /// No step starts once the Task's end is on record.
    NoStepAfterEnd,
    /// Deleting a Task in flight ends what it started.
    DeletedTaskEnds,
    /// The end of a Task is written once nothing of it runs any more.
    EndAfterTree,
    /// A Task that has ended never changes.
    ResultStays,
    /// Steps are reported in order, and all after a failure as Skipped.
    StepsStopAtFailure,
    /// What is reported is what happened in the pod.
    ResultIsTheRuns,
    /// What has been running for a moment is shown: the Task as Running and at which step, its Sandbox as Bound.
    RunningIsShown,
    /// exitCode and outputs at the top are those of the last command that ran.
    TopIsLastCommand,
    /// What takes longer than its timeout, and nothing else, ends as TimedOut, at its timeout.
    TimedOutAtTimeout,
    /// Times are in order, and the duration is what lies between them.
    TimesInOrder,
    /// startedAt and the times of steps are when it happened in the pod.
    TimesAreThePods,
    /// The reason of an end is true.
    ReasonIsTrue,
    /// A Task that failed, and no other, says whose fault it is.
    FailureHasBlame,
    /// Finished and Succeeded say what the state says.
    ConditionsFollowState,
    /// Which Sandbox a Task belongs to is on record and stays.
    SandboxOnRecord,
    /// A Task ends, or says what it waits for.
    TaskEndsOrSaysWhy,
    /// Tasks of a deleted Sandbox end as SandboxDeleted.
    TasksEndWithSandbox,
    /// Nothing is left of what was deleted.
    NothingLeftOver,
    /// A transition time changes only with its status.
    TransitionTime,
    /// Every condition has a reason and a message.
    ConditionsExplain,
    /// observedGeneration is never ahead, and never goes back.
    GenerationNotAhead,
    /// observedGeneration is the present one at rest.
    GenerationAtRest,
    /// Stalled is there only while a call keeps failing.
    StalledOnlyMeanwhile,
    /// What a refusal keeps from where it should be says so within bounded time.
    RefusalIsSaid,
    /// An end has one Event at most, and it is true.
    OneEventPerEnd,
    /// An end has its Event.
    EndHasEvent,
    /// A pool's trouble has one Event each time it begins.
    OneEventPerTrouble,
    /// Nothing is written that makes no difference.
    WriteMakesDifference,
    /// With nothing left to do, nothing is asked of the API.
    SilentAtRest,
    /// The operator always comes to an end of what it does at one time.
    ComesToRest,
}

/// How often each rule was put to the test, and what broke one.
#[derive(Debug, Default)]
pub struct Ledger {
    counts: Vec<u64>,
    pub violations: Vec<String>,
    reported: BTreeSet<String>,
}

/// The one rule that counts, where the environment says so: whether it alone notices that something is broken.
static ONLY: LazyLock<Option<String>> =
    LazyLock::new(|| std::env::var("SIM_RULE").ok().filter(|rule| !rule.is_empty()));

impl Ledger {
    /// Puts a rule to the test.
    pub fn test(&mut self, rule: Rule, holds: bool, what: impl FnOnce() -> String) {
        self.counts.resize(Rule::ALL.len(), 0);
        self.counts[rule as usize] += 1;
        if !holds && ONLY.as_ref().is_none_or(|only| *only == format!("{rule:?}")) {
            let what = format!("{rule:?}: {}", what());
            if self.reported.insert(what.clone()) {
                self.violations.push(what);
            }
        }
    }

    /// A rule is broken.
    pub fn broken(&mut self, rule: Rule, what: String) {
        self.test(rule, false, || what);
    }

    pub fn counts(&self) -> Counts {
        Counts(self.counts.clone())
    }
}

/// How often each rule was put to the test.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts(Vec<u64>);

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.0.resize(Rule::ALL.len(), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(sum, count)| *sum += count);
    }

    /// The rules that nothing put to the test.
    pub fn untested(&self) -> Vec<Rule> {
        let count = |rule: Rule| self.0.get(rule as usize).copied().unwrap_or(0);
        Rule::ALL.iter().copied().filter(|rule| count(*rule) == 0).collect()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (rule, count) in Rule::ALL.iter().zip(&self.0) {
            writeln!(f, "rule: {count:>9} {:<22} {}", format!("{rule:?}"), rule.sentence())?;
        }
        Ok(())
    }
}
