//! What to do: an advice for each reason, with the names of what was found in it. Where the operator writes several messages with one
//! reason, the message says which advice goes with it: none may be against what stands above it.

use arl_crds::reason::{SandboxReason, TaskReason, WarmPoolReason};

/// The names that stand in an advice in braces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Where all of it is.
    pub namespace: String,
    /// The Sandbox.
    pub sandbox: String,
    /// The pool.
    pub pool: String,
    /// The pod that is shown first.
    pub pod: String,
    /// How many pods would be one more.
    pub more: String,
    /// The pod and the container that end again and again.
    pub crashed: Option<(String, String)>,
    /// The Task that has outputs.
    pub outputs: Option<String>,
    /// The namespace and the pod of the operator.
    pub operator: Option<(String, String)>,
}

impl Names {
    /// The advice with them in it.
    pub fn fill(&self, advice: &str) -> String {
        let Self { namespace, sandbox, pool, pod, more, crashed, outputs, operator } = self;
        let crashed = match crashed {
            Some((pod, container)) => format!("kubectl -n {namespace} logs --previous {pod} -c {container}"),
            None => format!("kubectl -n {namespace} get pods -l arl.infra.io/warmpool={pool}"),
        };
        let outputs =
            outputs.as_ref().map(|task| format!(", and what was printed: `kubectl arl logs -n {namespace} {task}`"));
        let outputs = outputs.unwrap_or_default();
        let operator =
            operator.as_ref().map(|(namespace, pod)| format!(" (`kubectl -n {namespace} describe pod {pod}`)"));
        let operator = operator.unwrap_or_default();
        let named = [
            ("{namespace}", namespace),
            ("{sandbox}", sandbox),
            ("{pool}", pool),
            ("{pod}", pod),
            ("{more}", more),
            ("{crashed}", &crashed),
            ("{outputs}", &outputs),
            ("{operator}", &operator),
        ];
        named.iter().fold(advice.to_owned(), |text, (place, name)| text.replace(place, name))
    }
}

/// Of a reason that this program does not know.
pub const NEWER: &str = "read the message above: the operator is newer than this program, which does not know the reason: `kubectl arl version`";
/// Of what a call to the API server keeps failing for.
pub const STALLED: &str =
    "see to what the line Stalled names, which is tried again: a webhook, a policy, a right or the API server itself";
/// Of a pool that is to have no pod.
pub const NEVER: &str = "give the pool replicas, or scaling: with 0 and none, no pod comes (`kubectl arl pool scale -n {namespace} {pool} 1`)";
/// Of what is as it should be.
pub const WELL: &str = "nothing; it is as it should be";
/// Of a pod that is not ready.
pub const UNWELL: &str = "look at the pod above; `kubectl -n {namespace} describe pod {pod}` has the rest";
/// Of one that just starts.
pub const STARTING: &str = "nothing yet: the pod above starts; ask again if it is not ready after half a minute";
/// Of what no operator need have looked at.
pub const NEW: &str = "nothing yet: it was made just now; ask again in a few seconds";
/// Of what none has looked at, for all that can be seen.
pub const UNSERVED: &str = "see whether the operator runs and looks after this namespace: kubectl get pods -A -l app.kubernetes.io/name=arl-operator";

/// Where no operator is at work.
pub const NO_OPERATOR: &str = "let an operator run that looks after namespace {namespace}, without which nothing goes on: `kubectl get pods -A -l app.kubernetes.io/name=arl-operator` shows its pods, and `kubectl arl doctor` what is in the way";
/// Where one is, and has not looked.
pub const LIMITED: &str = "see whether the operator looks after namespace {namespace}, since it can be limited to others: watchNamespaces in the chart's values, ARL_WATCH_NAMESPACES of its container{operator}";

/// Where one is, and has looked at what this belongs to.
pub const COMES_NEXT: &str = "nothing yet: its pod is being connected to, or a call for it is on its way; the operator writes the reason of a wait \
     after a few seconds: ask again; if it stays so, its Events say more: kubectl describe";

/// Of a Task whose message ends in what to do.
const AS_THE_TASK: &str = "as the message of the Task above says at its end";
/// Of a pool whose message does.
const AS_THE_POOL: &str = "as the message of the WarmPool above says at its end";
/// Of a Task whose pod was given up, or is of no use to other Tasks either.
const OTHER_SANDBOX: &str = "claim another Sandbox, and create the Task there if it is still wanted: no other Task can be run in this one{outputs}";
/// What the operator writes of a pod that no other Task can be run in.
const OF_NO_USE: [&str; 3] = ["use another Sandbox", "cannot be put on record", "no process can be started"];
/// What begins what to do in the message of a command that could not be started.
const OF_START: [&str; 6] = ["; see kubectl", "; let ", "; leave ", "; use ", "; write ", "; split "];
/// What to do about the crash of a pool's container, where more than its log is known.
const OF_CRASH: [&str; 4] = [
    "raise its memory limit",
    "correct the probe",
    "a liveness or startup probe that fails",
    "the operator's own init container",
];
/// What is said of a pool whose pods find no room, which fewer Sandboxes give back.
const OF_ROOM: [&str; 2] = ["lower the template's requests", "have as many pods as they may"];
const CORRECT_SETUP: &str = "correct spec.setup in another Sandbox{outputs}";

fn says(message: &str, words: &[&str]) -> bool {
    words.iter().any(|words| message.contains(words))
}

/// Of a Task, whose condition has this message.
pub fn of_task(reason: TaskReason, message: &str) -> Option<&'static str> {
    let is_of_no_use = says(message, &OF_NO_USE);
    match reason {
        TaskReason::Succeeded if is_of_no_use => {
            Some("claim another Sandbox for what comes after it: the pod of this one is given up")
        }
        TaskReason::Succeeded => Some(WELL),
        TaskReason::Running if message.ends_with("see kubectl get nodes") => Some(AS_THE_TASK),
        TaskReason::Running => None,
        TaskReason::SandboxNotFound => Some("create the Sandbox that spec.sandboxRef names, or cancel the Task"),
        TaskReason::SandboxNotReady
            if says(message, &["the operator cannot read it", "if it stays so, see kubectl get nodes"]) =>
        {
            Some(AS_THE_TASK)
        }
        TaskReason::SandboxNotReady if message.contains("cannot be reached") => Some(
            "see whether the pod's node is well (`kubectl get nodes`), and the operator may use pods/exec; else claim another Sandbox",
        ),
        TaskReason::SandboxNotReady => Some("look at its Sandbox: `kubectl arl why -n {namespace} sandbox/{sandbox}`"),
        TaskReason::Queued if message.contains("when there is room") => {
            Some("wait: other Tasks of the namespace go first, and then there is room")
        }
        TaskReason::Queued => Some("wait, or cancel the Tasks before it (`kubectl arl get tasks -n {namespace}`)"),
        TaskReason::StepFailed => Some("read the message above{outputs}"),
        TaskReason::OOMKilled if is_of_no_use => Some(
            "claim another Sandbox: raise the memory limit, or the request, in the pool's template before, or let the command take less",
        ),
        TaskReason::OOMKilled => {
            Some("raise the memory limit, or the request, in the pool's template, or let the command take less")
        }
        TaskReason::PodLost | TaskReason::SandboxDeleted | TaskReason::SandboxReleased => {
            Some("claim another Sandbox and create the Task there")
        }
        _ if is_of_no_use => Some(OTHER_SANDBOX),
        TaskReason::TimedOut => Some("give it more time, by the field that the message names, or split it{outputs}"),
        TaskReason::Cancelled => Some("create another Task, if it is still wanted"),
        TaskReason::ContainerRestarted | TaskReason::Interrupted => {
            Some("check what the step has done, and create another Task")
        }
        TaskReason::InvalidSpec => Some("correct what the message names, in another Task"),
        TaskReason::StartError if says(message, &OF_START) => Some(AS_THE_TASK),
        TaskReason::StartError => Some("correct the command or its working directory, in another Task"),
    }
}

/// Of a Sandbox; none where what its pool lacks says more.
pub fn of_sandbox(reason: SandboxReason, message: &str) -> Option<&'static str> {
    match reason {
        SandboxReason::PoolNotFound => {
            Some("make the pool (`kubectl arl pool create -n {namespace} --name {pool} IMAGE`), or name another")
        }
        // What the pool lacks says more.
        SandboxReason::PoolEmpty => None,
        SandboxReason::Allocated => Some(WELL),
        SandboxReason::PoolAtLimit => {
            Some("delete Sandboxes that are no longer needed, or raise the pool's scaling.maxPods")
        }
        SandboxReason::Claiming => Some("wait: a pod is being claimed"),
        SandboxReason::ClaimRefused => Some("ask who runs the cluster: a policy or a webhook refuses the claim"),
        SandboxReason::PodNotReady => Some("look at the pod above, and see to what the message names as in its way"),
        SandboxReason::ContainerRestarting
            if says(message, &["could not be started", "attempt to start it again failed"]) =>
        {
            Some(
                "claim another Sandbox: the container of this one was tried to be started again, and could not be; files outside volumes \
                 are lost",
            )
        }
        SandboxReason::ContainerRestarting => Some("wait; files outside volumes are lost"),
        SandboxReason::SettingUp => Some("wait: the Task that the message names sets it up{outputs}"),
        SandboxReason::SetupFailed => Some(of_setup(message)),
        SandboxReason::ContainerEnded | SandboxReason::TasksFinished | SandboxReason::PodLost => {
            Some("claim another Sandbox")
        }
    }
}

/// Of a setup, whose failure has the reason of its Task in the message.
fn of_setup(message: &str) -> &'static str {
    let reason = message.split_once("its setup failed (").and_then(|(_, rest)| rest.split([')', ',']).next());
    match reason.and_then(TaskReason::parse) {
        Some(TaskReason::TimedOut) => {
            "raise spec.setup.timeout, or let the steps take less, in another Sandbox{outputs}"
        }
        Some(TaskReason::OOMKilled) => {
            "raise the memory limit, or the request, in the pool's template, or let the steps take less, and claim another \
             Sandbox{outputs}"
        }
        Some(
            TaskReason::PodLost | TaskReason::ContainerRestarted | TaskReason::Interrupted | TaskReason::Cancelled,
        ) => "claim another Sandbox: what ended the setup is in the message above{outputs}",
        _ if says(message, &OF_NO_USE) => "claim another Sandbox: the pod of this one is of no use{outputs}",
        Some(TaskReason::StartError) if says(message, &OF_START) => {
            "claim another Sandbox, when what the message above names is mended{outputs}"
        }
        _ => CORRECT_SETUP,
    }
}

/// Of a pool; none where nothing is wrong with it.
pub fn of_pool(reason: WarmPoolReason, message: &str) -> Option<&'static str> {
    match reason {
        WarmPoolReason::PodsReady | WarmPoolReason::PodsHealthy | WarmPoolReason::WithinLimits => None,
        WarmPoolReason::AtMaxReplicas => Some("raise the pool's scaling.maxReplicas if Sandboxes wait often"),
        WarmPoolReason::AtMaxPods => {
            Some("delete Sandboxes that are no longer needed, or raise the pool's scaling.maxPods")
        }
        WarmPoolReason::GrowthHeld => Some("see what keeps its pods from starting: the condition PodsFailing"),
        WarmPoolReason::PodsNotReady => Some(
            "wait: its pods start; where Sandboxes often wait for them, raise its replicas: `kubectl arl pool scale -n {namespace} {pool} {more}`",
        ),
        WarmPoolReason::ImagePullBackOff if message.contains("the operator's image of the agent") => Some(AS_THE_POOL),
        WarmPoolReason::ImagePullBackOff => {
            Some("correct the image's name or tag, or add imagePullSecrets to the template")
        }
        WarmPoolReason::CrashLoopBackOff if says(message, &OF_CRASH) => Some(AS_THE_POOL),
        WarmPoolReason::CrashLoopBackOff => Some("see why the container ends: {crashed}"),
        WarmPoolReason::Unschedulable if says(message, &OF_ROOM) => Some(
            "release Sandboxes that nobody needs (kubectl arl get sandboxes), add nodes, or let the template ask for less",
        ),
        // Each of these has causes of many kinds, and the operator ends its message in what to do about this one.
        WarmPoolReason::Unschedulable
        | WarmPoolReason::PodsLate
        | WarmPoolReason::PodsEnded
        | WarmPoolReason::PodsDisrupted => Some(AS_THE_POOL),
        WarmPoolReason::CreateContainerError => {
            Some("make or correct what the message names: a command, a ConfigMap, a Secret, a volume, a hook")
        }
        WarmPoolReason::QuotaExceeded => Some("raise the namespace's ResourceQuota, or lower the pool's replicas"),
        WarmPoolReason::Refused if says(message, &["the namespace is gone", "nothing is created there any more"]) => {
            Some("use another namespace: nothing is created in one that is being deleted")
        }
        WarmPoolReason::Refused if message.ends_with("; it is tried again") => Some("wait: it is tried again"),
        WarmPoolReason::Refused => Some("correct what the message names, or ask who runs the cluster"),
        WarmPoolReason::ApiError => Some("ask who runs the cluster: the API server or a webhook fails"),
        WarmPoolReason::InvalidTemplate if message.contains("too large to be stored") => Some(AS_THE_POOL),
        WarmPoolReason::InvalidTemplate | WarmPoolReason::TemplateWarnings => {
            Some("correct the field of the template that the message names")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_place_of_all_placeholders() {
        let messages = ["", "use another Sandbox", "its setup failed (TimedOut): no", "; see kubectl"];
        let messages = || messages.into_iter();
        let all = messages().flat_map(|said| TaskReason::ALL.iter().map(move |reason| of_task(*reason, said)));
        let tasks = all.flatten();
        let all = messages().flat_map(|said| SandboxReason::ALL.iter().map(move |reason| of_sandbox(*reason, said)));
        let sandboxes = all.flatten();
        let all = messages().flat_map(|said| WarmPoolReason::ALL.iter().map(move |reason| of_pool(*reason, said)));
        let pools = all.flatten();
        let others = [NEWER, NEVER, WELL, UNWELL, STARTING, NEW, UNSERVED, NO_OPERATOR, LIMITED, COMES_NEXT];
        for advice in tasks.chain(sandboxes).chain(pools).chain(others) {
            let filled = Names::default().fill(advice);
            // Nobody but its author knows which image is meant.
            let literal = ["NAME", "POD", "TASK", "POOL", "SANDBOX", "{", "}"];
            let words: Vec<&str> = filled.split(|c: char| !(c.is_alphanumeric() || "_{}".contains(c))).collect();
            assert!(!words.iter().any(|word| literal.contains(word)), "{filled}");
            assert!(!filled.contains(['{', '}']), "{filled}");
        }
    }

    #[test]
    fn the_advice_on_a_task_agrees_with_its_message() {
        let given_up = "not done within 1s; raise spec.timeout if it needs longer; the agent in the pod does not answer, so the pod is \
                        given up: use another Sandbox";
        for (reason, message, words) in [
            (TaskReason::TimedOut, given_up, "claim another Sandbox"),
            (
                TaskReason::Succeeded,
                "all steps succeeded; x, so the pod is given up: use another Sandbox",
                "another Sandbox",
            ),
            (TaskReason::TimedOut, "not done within 1s; raise spec.timeout if it needs longer", "give it more time"),
            (
                TaskReason::StartError,
                "its start cannot be put on record in /.arl: No such file",
                "claim another Sandbox",
            ),
            (TaskReason::StartError, "no process can be started in the container: EAGAIN", "claim another Sandbox"),
            (TaskReason::StartError, "`x` cannot be started: argument list too long", "correct the command"),
            (
                TaskReason::StartError,
                "the pod's node did not take it; see kubectl get nodes, and create",
                "as the message",
            ),
            (
                TaskReason::StartError,
                "this image has no `sh`, which plain exec needs for env; leave it out",
                "as the message",
            ),
            (
                TaskReason::ContainerRestarted,
                "it ended, and is not started again (Never): use another Sandbox",
                "another Sandbox",
            ),
            (
                TaskReason::Running,
                "running in c of p; it cannot be reached; it goes on there; see kubectl get nodes",
                "as the message",
            ),
            (TaskReason::SandboxNotReady, "the agent in pod p cannot be reached: timed out", "pod's node"),
            (
                TaskReason::SandboxNotReady,
                "the agent in pod p has not answered yet; if it stays so, see kubectl get nodes",
                "as the message",
            ),
            (TaskReason::Queued, "too much is on its way; this one goes when there is room", "there is room"),
            (
                TaskReason::OOMKilled,
                "it was killed; raise the memory limit: use another Sandbox",
                "claim another Sandbox",
            ),
        ] {
            let advice = of_task(reason, message).unwrap_or_default();
            assert!(advice.contains(words), "{message}: {advice}");
        }
        assert_eq!(of_task(TaskReason::Running, "running in container c of pod p"), None);
    }

    #[test]
    fn the_advice_on_a_sandbox_agrees_with_its_message() {
        let unstarted = "container c of pod p is not running (could not be started: no sh); its processes are lost";
        let refused = "container c of pod p is not running, and the last attempt to start it again failed (CreateContainerError: no)";
        let setup = |why: &str| format!("its setup failed ({why}): the message; so the pod was deleted");
        for (reason, message, words) in [
            (SandboxReason::ContainerRestarting, unstarted, "claim another Sandbox"),
            (SandboxReason::ContainerRestarting, refused, "claim another Sandbox"),
            (
                SandboxReason::ContainerRestarting,
                "container c of pod p is not running (exited with code 1)",
                "wait; files",
            ),
            (SandboxReason::SetupFailed, &setup("StepFailed, step a, exit code 1"), "correct spec.setup"),
            (SandboxReason::SetupFailed, &setup("TimedOut, step a, exit code 124"), "raise spec.setup.timeout"),
            (SandboxReason::SetupFailed, &setup("OOMKilled, step a"), "raise the memory limit"),
            (SandboxReason::SetupFailed, &setup("PodLost"), "claim another Sandbox: what ended"),
            (
                SandboxReason::SetupFailed,
                "its setup failed (TimedOut, step a): so the pod is given up: use another Sandbox",
                "raise spec.setup.timeout",
            ),
            (
                SandboxReason::SetupFailed,
                "its setup failed (OOMKilled): it is lost: use another Sandbox",
                "raise the memory limit",
            ),
        ] {
            let advice = of_sandbox(reason, message).unwrap_or_default();
            assert!(advice.contains(words), "{message}: {advice}");
        }
    }

    #[test]
    fn the_advice_on_a_pool_agrees_with_its_message() {
        use WarmPoolReason::{
            CrashLoopBackOff, ImagePullBackOff, InvalidTemplate, PodsEnded, PodsLate, Refused, Unschedulable,
        };
        for (reason, message, words) in [
            (
                Unschedulable,
                "1 node(s) were unschedulable; nodes that would do take no new pods: kubectl uncordon one",
                "as the message",
            ),
            (
                Unschedulable,
                "Insufficient cpu; lower the template's requests, or add nodes that fit it",
                "release Sandboxes",
            ),
            (
                ImagePullBackOff,
                "no such image; this is the operator's image of the agent: correct it there",
                "as the message",
            ),
            (ImagePullBackOff, "no such image; check the image's name and tag", "correct the image's name"),
            (
                CrashLoopBackOff,
                "it was killed for lack of memory; raise its memory limit in the template",
                "as the message",
            ),
            (CrashLoopBackOff, "it exited with code 1; its command must keep running", "see why the container ends"),
            (PodsLate, "its node n1 does not report; see kubectl get nodes", "as the message"),
            (PodsEnded, "init container a exited with code 1; it has to end with exit code 0", "as the message"),
            (Refused, "no; the namespace is gone, or going", "another namespace"),
            (Refused, "status unknown for quota; it is tried again", "wait"),
            (
                InvalidTemplate,
                "no; a pod of this template is too large to be stored: take something out",
                "as the message",
            ),
        ] {
            let advice = of_pool(reason, message).unwrap_or_default();
            assert!(advice.contains(words), "{message}: {advice}");
        }
    }
}
