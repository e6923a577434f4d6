//! What happens by time: disturbances, and everything else on the agenda that is not the start of a process.

use std::time::Duration;

use crate::{
    agenda::Action,
    faults::Faults,
    outages::{NODES, Outage},
    world::State,
};

/// Disturbances come in this span, in milliseconds.
const DISTURBED: u64 = 30_000;

impl State {
    pub fn plan_disturbances(&mut self) {
        let faults = self.faults.clone();
        let span = (0, DISTURBED);
        for _ in 0..faults.pauses {
            let length = self.delay(200, 15_000);
            self.soon(span, Action::Pause(length));
        }
        (0..faults.seconds).for_each(|_| self.soon(span, Action::Second));
        (0..faults.compactions).for_each(|_| self.soon(span, Action::Compact));
        for _ in 0..faults.outages {
            let (outage, lasts) = (Outage::drawn(&mut self.rng), self.delay(2_000, 40_000));
            self.soon(span, Action::Outage(outage, lasts));
        }
        for _ in 0..faults.nodes {
            let (node, lasts) = (NODES[self.rng.usize(..NODES.len())].to_owned(), self.delay(1_000, 30_000));
            self.soon(span, Action::NodeAway(node, lasts));
        }
        for _ in 0..faults.jumps {
            let jump = self.rng.i64(-20_000..20_000);
            self.soon(span, Action::ClockJump(jump));
        }
    }

    /// Nothing goes wrong any more.
    pub fn calm_down(&mut self) {
        self.trace.say("nothing disturbs from here on");
        self.faults = Faults::default();
        self.agenda.calm_down();
        while let Some(refused) = self.outages.first() {
            self.end_outage(&refused.outage().clone());
        }
        for node in NODES {
            self.find_node(node);
        }
        self.store.quota = None;
        self.store.admission = None;
        for number in self.alive().into_iter().rev().skip(1) {
            self.kill(number);
        }
        for process in &mut self.processes {
            (process.paused, process.lag) = (false, [0; 5]);
        }
        if self.alive().is_empty() {
            self.agenda.after(Duration::from_millis(100), Action::Start);
        }
    }

    pub fn act(&mut self, action: Action) {
        match action {
            Action::Kubelet(event, uid) => self.kubelet_acts(event, &uid),
            Action::CollectGarbage => self.collect_garbage(),
            Action::EmptyNamespace(namespace) => self.empty_namespace(&namespace),
            Action::EndStep(run) => self.end_step(&run),
            Action::EndRun(run, end) => self.end_run(&run, end),
            Action::EndLive(pod, number) => self.end_live(&pod, number),
            Action::User(deed) => self.perform(&deed),
            Action::Outage(outage, lasts) => self.begin_outage(&outage, lasts),
            Action::EndOutage(outage) => self.end_outage(&outage),
            Action::NodeAway(node, lasts) => self.lose_node(&node, lasts),
            Action::NodeUnready(node) => self.notice_lost_node(&node),
            Action::NodeBack(node) => self.find_node(&node),
            // One that stands still learns it only when it goes on, and a moment later.
            Action::Depose(number) if self.processes[number].paused => self.soon((300, 1_500), Action::Depose(number)),
            Action::Depose(number) => self.kill(number),
            Action::Pause(time) => {
                if let Some(number) = self.any_process() {
                    self.fault(&format!("operator{number} stands still for {time:?}"));
                    self.processes[number].paused = true;
                    self.agenda.after(time, Action::Resume(number));
                }
            }
            Action::Resume(number) => self.processes[number].paused = false,
            Action::ClockJump(millis) => {
                self.fault(&format!("the operators' clock jumps by {millis} ms"));
                self.clock_ahead += millis;
                let facts = &mut self.contract.facts;
                (facts.most_ahead, facts.clock_jumped) = (facts.most_ahead.max(self.clock_ahead), true);
                self.set_back += Duration::from_millis(millis.min(0).unsigned_abs());
            }
            Action::Compact => {
                self.fault("old versions are forgotten");
                self.store.compacted = self.store.version();
            }
            Action::Start | Action::Second => {}
        }
    }

    fn any_process(&mut self) -> Option<usize> {
        let alive = self.alive();
        (!alive.is_empty()).then(|| alive[self.rng.usize(..alive.len())])
    }
}
