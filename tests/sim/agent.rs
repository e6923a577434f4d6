//! What runs in pods: an agent in each, which keeps the runs of its container by the uid of their Task, and goes on with them
//! whoever listens. A run that was started is followed by whoever asks for it again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arl_crds::{Step, StepType};
use arl_operator::{
    output::Output,
    runs::{Progress, Request, RunEnd, Runner, StepEnd, StepRun, locked},
};
use futures::future::BoxFuture;

use crate::{
    agenda::Action,
    faults::Faults,
    kind::{Actor, Kind},
    world::{State, World},
};

/// A run: the container it is in and its Task's uid.
pub type RunId = (String, String);

/// A run in a container.
#[derive(Debug)]
struct AgentRun {
    steps: Vec<Step>,
    done: Vec<StepRun>,
    over: bool,
}

/// All agents.
#[derive(Debug, Default)]
pub struct Agents {
    runs: BTreeMap<RunId, AgentRun>,
    /// Where each step of each Task was started.
    starts: BTreeMap<(String, usize), Vec<String>>,
}

impl Agents {
    /// Everything in the container is gone.
    pub fn end_container(&mut self, container: &str) {
        self.runs.retain(|(c, _), _| c != container);
    }

    /// Steps that were started twice.
    pub fn started_twice(&self) -> impl Iterator<Item = String> {
        let twice = self.starts.iter().filter(|(_, places)| places.len() > 1);
        twice.map(|((task, step), places)| {
            format!("step {step} of Task {task} was started in {}", places.join(" and in "))
        })
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
    fn begin(&mut self, request: &Request) -> RunId {
        let id = (request.target.container_id.clone(), request.task_uid.0.clone());
        if self.agents.runs.contains_key(&id) {
            self.trace.say(&format!("agent: run of {} is found again", request.task));
            return id;
        }
        self.agents.runs.insert(id.clone(), AgentRun { steps: request.steps.clone(), done: Vec::new(), over: false });
        self.next_step(&id);
        id
    }

    fn next_step(&mut self, id: &RunId) {
        let started_at = self.store.time();
        let Some(run) = self.agents.runs.get_mut(id) else { return };
        let number = run.done.len();
        let Some(step) = run.steps.get(number) else {
            run.over = true;
            return;
        };
        let (takes, _) = script(step);
        run.done.push(StepRun { started_at, end: None, stdout: Output::default(), stderr: Output::default() });
        self.agents.starts.entry((id.1.clone(), number)).or_default().push(id.0.clone());
        self.trace.say(&format!("agent: step {number} of {} starts in {}", id.1, id.0));
        for twice in self.agents.started_twice() {
            self.invariants.violated(twice);
        }
        self.agenda.after(takes, Action::EndStep(id.clone()));
    }

    /// The step that a run is at ends, if the container is still there.
    pub fn end_step(&mut self, id: &RunId) {
        let now = self.store.time();
        let Some(run) = self.agents.runs.get_mut(id) else { return };
        let number = run.done.len() - 1;
        let (_, end) = script(&run.steps[number]);
        let success = end.is_success();
        run.done[number].stdout.push(b"out");
        run.done[number].end = Some((end, now));
        run.over = !success;
        if success {
            self.next_step(id);
        }
    }
}

/// The operator's way to the agents.
pub struct Streams {
    pub world: Arc<World>,
    pub who: Actor,
}

impl Streams {
    /// Starts or finds the run, where the pod is still the one that was meant.
    async fn open(&self, request: &Request) -> Result<RunId, RunEnd> {
        self.world.runs(self.who).await;
        let delay = self.world.with(|s| s.delay(1, 30));
        tokio::time::sleep(delay).await;
        self.world.runs(self.who).await;
        self.world.with(|s| {
            let wanted = &request.target;
            let there = s.store.by_uid(Kind::Pod, &wanted.pod_uid.0).is_some_and(|(_, pod)| {
                let container = &pod["status"]["containerStatuses"][0];
                container["containerID"] == wanted.container_id.as_str() && container["state"].get("running").is_some()
            });
            if !there {
                return Err(RunEnd::Broken("no such container".into()));
            }
            if !self.breaks(s) {
                return Ok(s.begin(request));
            }
            if s.rng.bool() {
                s.begin(request);
            }
            Err(RunEnd::Broken("the stream broke".into()))
        })
    }

    fn breaks(&self, s: &mut State) -> bool {
        let rate = s.faults.stream;
        let breaks = Faults::happens(&mut s.rng, rate);
        if breaks {
            s.fault(&format!("{}'s stream to an agent breaks", self.who));
        }
        breaks
    }

    /// Reports what happens in the run until it is over.
    async fn follow(&self, id: &RunId, progress: &Progress) -> RunEnd {
        let mut seen = (0, false);
        loop {
            self.world.runs(self.who).await;
            let pulse = self.world.pulse();
            let end = self.world.with(|s| {
                let Some(run) = s.agents.runs.get(id) else {
                    return Some(RunEnd::Broken("the container ended".into()));
                };
                let now = (run.done.len(), run.done.last().is_some_and(|s| s.end.is_some()));
                let (done, over) = (run.done.clone(), run.over);
                if seen != now && self.breaks(s) {
                    return Some(RunEnd::Broken("the stream broke".into()));
                }
                seen = now;
                *locked(progress) = done;
                over.then_some(RunEnd::Completed)
            });
            if let Some(end) = end {
                return end;
            }
            pulse.await;
        }
    }
}

impl Runner for Streams {
    fn run<'a>(&'a self, request: &'a Request, progress: &'a Progress) -> BoxFuture<'a, RunEnd> {
        Box::pin(async move {
            match self.open(request).await {
                Ok(id) => self.follow(&id, progress).await,
                Err(end) => end,
            }
        })
    }
}
