//! What to do: an advice for each reason, with the names of what was found in it.

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

/// Of a Task.
pub fn of_task(reason: TaskReason) -> Option<&'static str> {
    match reason {
        TaskReason::Succeeded => Some(WELL),
        TaskReason::Running => None,
        TaskReason::SandboxNotFound => Some("create the Sandbox that spec.sandboxRef names, or cancel the Task"),
        TaskReason::SandboxNotReady => Some("look at its Sandbox: `kubectl arl why -n {namespace} sandbox/{sandbox}`"),
        TaskReason::Queued => Some("wait, or cancel the Tasks before it (`kubectl arl get tasks -n {namespace}`)"),
        TaskReason::StepFailed => Some("read the message above{outputs}"),
        TaskReason::TimedOut => Some("give it more time, by the field that the message names, or split it{outputs}"),
        TaskReason::Cancelled => Some("create another Task, if it is still wanted"),
        TaskReason::OOMKilled => Some("raise the memory limit in the pool's template, or let the command take less"),
        TaskReason::PodLost | TaskReason::SandboxDeleted | TaskReason::SandboxReleased => {
            Some("claim another Sandbox and create the Task there")
        }
        TaskReason::ContainerRestarted | TaskReason::Interrupted => {
            Some("check what the step has done, and create another Task")
        }
        TaskReason::InvalidSpec => Some("correct what the message names, in another Task"),
        TaskReason::StartError => Some("correct the command or its working directory, in another Task"),
    }
}

/// Of a Sandbox; none where what its pool lacks says more.
pub fn of_sandbox(reason: SandboxReason) -> Option<&'static str> {
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
        SandboxReason::PodNotReady => Some("look at the pod above: a probe or its node is in the way"),
        SandboxReason::ContainerRestarting => Some("wait; files outside volumes are lost"),
        SandboxReason::SettingUp => Some("wait: the Task that the message names sets it up{outputs}"),
        SandboxReason::SetupFailed => Some("correct spec.setup in another Sandbox{outputs}"),
        SandboxReason::ContainerEnded | SandboxReason::TasksFinished | SandboxReason::PodLost => {
            Some("claim another Sandbox")
        }
    }
}

/// Of a pool; none where nothing is wrong with it.
pub fn of_pool(reason: WarmPoolReason) -> Option<&'static str> {
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
        WarmPoolReason::ImagePullBackOff => {
            Some("correct the image's name or tag, or add imagePullSecrets to the template")
        }
        WarmPoolReason::CrashLoopBackOff => Some("see why the container ends: {crashed}"),
        WarmPoolReason::Unschedulable => Some(
            "release Sandboxes that nobody needs (kubectl arl get sandboxes), add nodes, or let the template ask for less",
        ),
        WarmPoolReason::CreateContainerError => {
            Some("make or correct what the message names: a command, a ConfigMap, a Secret, a volume, a hook")
        }
        WarmPoolReason::PodsLate => Some("look at the pod above: a volume, a probe or an init container takes long"),
        WarmPoolReason::PodsEnded => Some("let the container's command not end, such as sleep infinity"),
        WarmPoolReason::PodsDisrupted => Some("see who ends the pods: evictions, preemption, the node"),
        WarmPoolReason::QuotaExceeded => Some("raise the namespace's ResourceQuota, or lower the pool's replicas"),
        WarmPoolReason::Refused => Some("correct what the message names, or ask who runs the cluster"),
        WarmPoolReason::ApiError => Some("ask who runs the cluster: the API server or a webhook fails"),
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
        let tasks = TaskReason::ALL.iter().filter_map(|reason| of_task(*reason));
        let sandboxes = SandboxReason::ALL.iter().filter_map(|reason| of_sandbox(*reason));
        let pools = WarmPoolReason::ALL.iter().filter_map(|reason| of_pool(*reason));
        let others = [NEWER, NEVER, WELL, UNWELL, STARTING, NEW, UNSERVED, NO_OPERATOR, LIMITED];
        for advice in tasks.chain(sandboxes).chain(pools).chain(others) {
            let filled = Names::default().fill(advice);
            // Nobody but its author knows which image is meant.
            let literal = ["NAME", "POD", "TASK", "POOL", "SANDBOX", "{", "}"];
            let words: Vec<&str> = filled.split(|c: char| !(c.is_alphanumeric() || "_{}".contains(c))).collect();
            assert!(!words.iter().any(|word| literal.contains(word)), "{filled}");
            assert!(!filled.contains(['{', '}']), "{filled}");
        }
    }
}
