//! What runs in pods: an agent in each, which keeps the runs of its pod by the uid of their Task, and goes on with them whoever
//! listens. A run that was started is followed by whoever asks for it again, and never started once more. Plain exec has no such
//! memory: what is asked for is started.

use std::{collections::BTreeMap, time::Duration};

use arl_crds::{ExecutorMode, Step, StepType, labels};
use arl_operator::{
    pod::Target,
    runs::{Request, RunEnd, StepEnd, StepRun},
};
use jiff::Timestamp;

use crate::{
    agenda::Action,
    contract::{Contract, InFlight, Rule, is_finished, time},
    kind::{Actor, Kind},
    store::{controller, is_deleting},
    world::State,
};

/// A run: the pod it is in and its Task's uid; with plain exec, a number as well.
pub type RunId = (String, String);

/// A run in a pod. What is on record of it outlives its container.
#[derive(Debug)]
pub struct AgentRun {
    container: String,
    mode: ExecutorMode,
    pub started_at: Timestamp,
    pub steps: Vec<Step>,
    pub done: Vec<StepRun>,
    pub end: Option<RunEnd>,
    /// Whether nobody is left who would start its next step, with plain exec.
    is_left: bool,
}

impl AgentRun {
    /// Whether it is by plain exec.
    pub fn is_exec(&self) -> bool {
        self.mode == ExecutorMode::Exec
    }

    /// Whether something of it still runs.
    pub fn goes_on(&self) -> bool {
        self.end.is_none()
    }
}

/// All agents.
#[derive(Debug, Default)]
pub struct Agents {
    runs: BTreeMap<RunId, AgentRun>,
    /// Where each step of each Task was started, a Sandbox each: one that was deleted and made again under its name is another.
    starts: BTreeMap<(String, usize, String), Vec<String>>,
}

impl Agents {
    /// Everything in the container ends; that a run was started, and what it had printed, stays in the pod.
    pub fn end_container(&mut self, container: &str) {
        for run in self.runs.values_mut().filter(|run| run.container == container && run.end.is_none()) {
            run.end = Some(RunEnd::Lost("the container ended".into()));
        }
    }

    /// The operator follows a run by plain exec no more: the command goes on, and no step comes after it.
    pub fn leave(&mut self, pod: &str, task: &str) {
        let is_this = |id: &RunId| id.0 == pod && id.1.split('#').next() == Some(task);
        self.runs.iter_mut().filter(|(id, run)| run.is_exec() && is_this(id)).for_each(|(_, run)| run.is_left = true);
    }

    /// Puts the start of a step on record; says so if it was started before.
    fn started(&mut self, task: &str, step: usize, sandbox: &str, pod: &str) -> Option<String> {
        let places = self.starts.entry((task.to_owned(), step, sandbox.to_owned())).or_default();
        places.push(pod.to_owned());
        (places.len() > 1).then(|| {
            format!("step {step} of Task {task} was started for Sandbox {sandbox} in {}", places.join(" and in "))
        })
    }

    /// Whether something of a run still runs.
    pub fn goes_on(&self, id: &RunId) -> bool {
        self.runs.get(id).is_some_and(AgentRun::goes_on)
    }

    pub fn run(&self, id: &RunId) -> Option<&AgentRun> {
        self.runs.get(id)
    }

    /// The runs of a Task, by where they are.
    pub fn runs_of(&self, task: &str) -> impl Iterator<Item = (&RunId, &AgentRun)> {
        self.runs.iter().filter(move |((_, run), _)| run.split('#').next() == Some(task))
    }

    /// Whether a step was ever started for the Sandbox with this uid.
    pub fn has_run_for(&self, sandbox: &str) -> bool {
        self.starts.keys().any(|(_, _, of)| of == sandbox)
    }

    /// How many steps were started.
    pub fn steps_started(&self) -> usize {
        self.starts.len()
    }
}

/// How long a step takes and how it ends: `["sim", milliseconds, exit code]`.
fn script(step: &Step) -> (Duration, StepEnd) {
    if step.type_ == StepType::FilePatch {
        return (Duration::from_millis(1), StepEnd::Written);
    }
    let word = |n: usize| step.command.as_ref().and_then(|c| c.get(n)).and_then(|w| w.parse::<u32>().ok()).unwrap_or(0);
    (Duration::from_millis(word(1).into()), StepEnd::Exited(word(2).try_into().unwrap_or(1)))
}

impl State {
    pub fn begin(&mut self, request: &Request) -> RunId {
        let mut id = (request.target.pod_uid.0.clone(), request.task_uid.0.clone());
        if request.target.mode == ExecutorMode::Exec {
            id.1 = format!("{}#{}", id.1, self.agents.runs.len());
        } else if self.agents.runs.contains_key(&id) {
            self.trace.say(&format!("agent: run of {} is found again", request.task));
            return id;
        }
        self.as_asked(request);
        let run = AgentRun {
            container: request.target.container_id.clone(),
            mode: request.target.mode,
            started_at: self.store.time(),
            steps: request.steps.clone(),
            done: Vec::new(),
            end: None,
            is_left: false,
        };
        self.agents.runs.insert(id.clone(), run);
        self.agenda.after(request.timeout, Action::EndRun(id.clone(), RunEnd::TimedOut));
        self.next_step(&id);
        id
    }

    /// A stream is opened to a pod that no Sandbox has, as far as the operator knows.
    pub fn connect(&mut self, who: Actor, target: &Target) {
        let Actor::Operator(number) = who else { return };
        if !self.processes[number].alive {
            return;
        }
        self.processes[number].connected.insert(target.pod_uid.0.clone());
        let Some((id, pod)) = self.store.by_uid(Kind::Pod, &target.pod_uid.0) else { return };
        let Some(("WarmPool", pool)) = controller(pod) else { return };
        let Contract { ledger, pods, .. } = &mut self.contract;
        ledger.test(Rule::ConnectedAsAsked, pods.asked_for_streams(pool), || {
            format!("{who} opens a stream to {id}, for which its pool {pool} never asked")
        });
    }

    /// A run begins as its spec says, where it may.
    fn as_asked(&mut self, request: &Request) {
        let Some((_, pod)) = self.store.by_uid(Kind::Pod, &request.target.pod_uid.0) else { return };
        let annotated = pod["metadata"]["annotations"][labels::EXECUTOR].as_str().unwrap_or("executor");
        let is_there = request.target.container == annotated;
        let Contract { ledger, facts, .. } = &mut self.contract;
        if facts.is_plain() {
            let ready = &pod["status"]["conditions"][0];
            let since = time(&ready["lastTransitionTime"]).map(|at| self.store.time().duration_since(at).as_secs_f64());
            let just_now = since.is_some_and(|since| since < facts.stale.as_secs_f64() + 1.0);
            ledger.test(Rule::StepInReadyPod, ready["status"] == "True" || just_now, || {
                format!("{} begins in {}, which is not ready: {}", request.task, request.target.pod, pod["status"])
            });
        }
        let Some((_, task)) = self.store.by_uid(Kind::Task, &request.task_uid.0) else { return };
        let mut spec: arl_crds::TaskSpec = serde_json::from_value(task["spec"].clone()).expect("a Task has a spec");
        let owner = pod["metadata"]["ownerReferences"][0]["uid"].as_str().unwrap_or_default();
        let Some((_, sandbox)) = self.store.by_uid(Kind::Sandbox, owner) else { return };
        for step in spec.steps.iter_mut().filter(|step| step.type_ == StepType::Command) {
            for (name, value) in sandbox["spec"]["env"].as_object().into_iter().flatten() {
                let value = value.as_str().unwrap_or_default();
                step.env.entry(name.clone()).or_insert_with(|| value.to_owned());
            }
        }
        let same = spec.steps == request.steps && spec.timeout().ok() == Some(request.timeout);
        ledger.test(Rule::StepsAsAsked, same && is_there, || {
            format!(
                "{:?} for {:?} in {}, and asked for is {} with {}",
                request.steps, request.timeout, request.target.container, task["spec"], sandbox["spec"]
            )
        });
    }

    fn next_step(&mut self, id: &RunId) {
        let started_at = self.store.time();
        let Some(run) = self.agents.runs.get_mut(id) else { return };
        let number = run.done.len();
        let Some(step) = run.steps.get(number) else {
            run.end = Some(RunEnd::Completed);
            return;
        };
        let (mode, (takes, _)) = (run.mode, script(step));
        run.done.push(StepRun::new(started_at));
        let owner =
            self.store.by_uid(Kind::Pod, &id.0).map(|(_, pod)| pod["metadata"]["ownerReferences"][0]["uid"].clone());
        let sandbox = owner.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let found = self.store.by_uid(Kind::Sandbox, &sandbox);
        let surplus =
            found.filter(|(_, holder)| holder["status"]["podUID"] != *id.0).map(|(holder, _)| holder.to_string());
        let Contract { ledger, facts, runs, setups, .. } = &mut self.contract;
        ledger.test(Rule::StepInRecordedPod, surplus.is_none(), || {
            format!("a step is started in pod {}, which {surplus:?} does not have on record", id.0)
        });
        let task = id.1.split('#').next().unwrap_or_default();
        let twice = self.agents.started(task, number, &sandbox, &id.0);
        self.trace.say(&format!("agent: step {number} of {} starts in {}", id.1, id.0));
        ledger.test(Rule::StepOnce, twice.is_none(), || twice.unwrap_or_default());
        InFlight::starts(task, &id.0, &self.store, facts, ledger);
        if number == 0 {
            InFlight::begins(task, &self.store, facts, ledger);
            setups.begins(task, &sandbox, &self.store, ledger);
        }
        if mode == ExecutorMode::Agent {
            runs.goes_on(task, facts, ledger);
        }
        self.agenda.after(takes, Action::EndStep(id.clone()));
    }

    /// The step that a run is at ends, if the run goes on.
    pub fn end_step(&mut self, id: &RunId) {
        let now = self.store.time();
        let Some(run) = self.agents.runs.get_mut(id).filter(|run| run.end.is_none()) else { return };
        let number = run.done.len() - 1;
        let (_, end) = script(&run.steps[number]);
        let success = end.is_success();
        run.done[number].stdout.push(b"out");
        (run.done[number].end, run.done[number].ended_at) = (Some(end), Some(now));
        if success && !run.is_left {
            self.next_step(id);
        } else {
            run.end = Some(RunEnd::Completed);
        }
    }

    /// Ends what runs in a pod of Tasks that are gone or have ended.
    pub fn end_unwanted(&mut self, pod: &str) {
        let runs = self.agents.runs.iter().filter(|((of, _), run)| of == pod && run.goes_on());
        let wanted = |task: &str| {
            self.store.by_uid(Kind::Task, task).is_some_and(|(_, task)| !is_finished(task) && !is_deleting(task))
        };
        let unwanted: Vec<_> = runs.map(|(id, _)| id).filter(|(_, task)| !wanted(task)).cloned().collect();
        for id in unwanted {
            self.trace.say(&format!("agent: run of {} is not wanted any more", id.1));
            self.end_run(&id, RunEnd::Cancelled);
        }
    }

    /// A run that goes on is ended, with everything that it started.
    pub fn end_run(&mut self, id: &RunId, end: RunEnd) {
        if let Some(run) = self.agents.runs.get_mut(id).filter(|run| run.end.is_none()) {
            run.end = Some(end);
        }
    }
}
