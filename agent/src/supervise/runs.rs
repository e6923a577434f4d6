//! The runs of this container: waiting, in progress, ended and not yet forgotten.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use arl_agent::{
    frame,
    message::{FromAgent, RunEnd, RunId, Start, StepEnd, Unfinished},
};
use nix::{sys::wait::WaitStatus, unistd::Pid};

use super::{
    active::{Active, Next},
    peer::Peer,
    worker::Worker,
};
use crate::{
    records::{Begun, Partial, Records},
    step::{Done, Job, Outcome},
    tree,
};

/// What is kept of a run until it is forgotten: what was said of it, and to whom it is said.
#[derive(Default)]
struct Told {
    frames: Vec<u8>,
    followers: BTreeSet<u64>,
}

/// All runs. Relays are numbers here.
pub struct Runs {
    records: Records,
    told: BTreeMap<RunId, Told>,
    waiting: VecDeque<Start>,
    active: Option<Active>,
    /// Runs the step in progress; between steps it waits for the next.
    worker: Option<Worker>,
    /// Processes of steps, this one's and those that stay with what their steps left in the background.
    processes: BTreeSet<i32>,
    news: Vec<(u64, Vec<u8>)>,
}

impl Runs {
    /// None yet but those on record.
    pub fn new(records: Records) -> Self {
        let (told, waiting, processes, news) = Default::default();
        Self { records, told, waiting, active: None, worker: None, processes, news }
    }

    /// The way to the worker.
    pub fn worker(&self) -> Option<&Peer> {
        self.worker.as_ref().map(|worker| &worker.peer)
    }

    /// When to call [`Runs::look_at_time`] at the latest.
    pub fn due(&self) -> Option<Instant> {
        self.active.as_ref().map(Active::due)
    }

    /// Those that have not ended.
    pub fn unfinished(&self) -> Vec<Unfinished> {
        let starts = self.active.iter().map(|active| &active.start).chain(&self.waiting);
        starts.map(|start| Unfinished { run: start.run.clone(), task: start.task.clone() }).collect()
    }

    /// What there is to say since the last call, and to whom.
    pub fn take_news(&mut self) -> Vec<(u64, Vec<u8>)> {
        std::mem::take(&mut self.news)
    }

    /// Forgets the relays that are no more.
    pub fn keep_followers(&mut self, is_there: impl Fn(u64) -> bool) {
        self.told.values_mut().for_each(|told| told.followers.retain(|number| is_there(*number)));
    }

    /// Runs what has never been started, when it is its turn; `relay` follows it.
    pub fn start(&mut self, start: Start, relay: u64) {
        if self.is_known(&start.run) {
            return self.follow(&start.run, relay);
        }
        if !start.run.is_valid() {
            return;
        }
        let told = Told { followers: BTreeSet::from([relay]), ..Told::default() };
        self.told.insert(start.run.clone(), told);
        self.waiting.push_back(start);
        self.start_waiting();
    }

    fn is_known(&self, run: &RunId) -> bool {
        self.told.contains_key(run) || (run.is_valid() && self.records.has_begun(run))
    }

    /// Says what there is of a run, and goes on saying it.
    pub fn follow(&mut self, run: &RunId, relay: u64) {
        if let Some(told) = self.told.get_mut(run) {
            told.followers.insert(relay);
            let started = self.active.as_ref().filter(|active| active.start.run == *run).map(Active::started);
            let mut frames = started.as_ref().map(frame::encode).unwrap_or_default();
            frames.extend_from_slice(&told.frames);
            self.news.push((relay, frames));
        } else if self.is_known(run) {
            let frames = self.recorded(run);
            self.news.push((relay, frames));
        } else {
            self.news.push((relay, frame::encode(&FromAgent::Unknown { run: run.clone() })));
        }
    }

    /// What is on record of a run that this process knows nothing of. One without an end was interrupted.
    fn recorded(&self, run: &RunId) -> Vec<u8> {
        let log = self.records.log(run);
        let mut frames: Vec<u8> = log.iter().flat_map(frame::encode).collect();
        if !matches!(log.last(), Some(FromAgent::Ended { .. })) {
            let Partial { stdout, stderr } = self.records.read_partial(run);
            let step = FromAgent::Step {
                run: run.clone(),
                index: u32::try_from(log.len()).unwrap_or(u32::MAX),
                started_us: 0,
                ended_us: 0,
                end: StepEnd::Stopped,
                stdout,
                stderr,
            };
            let words = "the agent was ended while the step ran: it was killed, or the container was";
            let ended =
                FromAgent::Ended { run: run.clone(), end: RunEnd::Abandoned(words.into()), survivors: Vec::new() };
            let added = [step, ended].iter().flat_map(frame::encode).collect::<Vec<_>>();
            let _ = self.records.append(run, &added);
            frames.extend(added);
        }
        frames
    }

    /// Ends a run. One that waits is put on record as started, so that it never is.
    pub fn cancel(&mut self, run: &RunId) {
        if let Some(active) = self.active.as_mut().filter(|active| active.start.run == *run) {
            active.cancel();
            self.worker.iter_mut().for_each(Worker::cancel);
        } else if self.waiting.iter().any(|start| start.run == *run) {
            self.waiting.retain(|start| start.run != *run);
            let _ = self.records.begin(run);
            self.tell(run, &[ended(run, RunEnd::Cancelled, Vec::new())]);
        }
    }

    /// Drops what an ended run printed.
    pub fn forget(&mut self, run: &RunId) {
        let unfinished = self.unfinished().iter().any(|other| other.run == *run);
        if !unfinished && self.is_known(run) {
            self.told.remove(run);
            self.records.forget(run, &ended(run, RunEnd::Forgotten, Vec::new()));
        }
    }

    /// Takes what the worker says, or its silence.
    pub fn hear_worker(&mut self) {
        let Some(worker) = &mut self.worker else { return };
        worker.peer.flush();
        worker.peer.read();
        let (done, is_there) = (worker.peer.take::<Done>(), worker.peer.is_open());
        match done {
            _ if self.active.is_none() => drop(self.worker.take_if(|_| !is_there)),
            Some(done) => {
                self.worker.take_if(|worker| !done.is_free || worker.is_cancelled());
                self.step_ended(done);
            }
            None if !is_there => self.step_lost(),
            None => {}
        }
    }

    /// Announces a run that is not short, and gives up a step that its worker has not ended in time.
    pub fn look_at_time(&mut self) {
        let Some(active) = &mut self.active else { return };
        if let Some(started) = active.announcement() {
            let run = active.start.run.clone();
            self.tell_frames(&run, &frame::encode(&started));
        } else if active.is_overdue() {
            self.step_lost();
        }
    }

    /// Waits for children that have ended; orphans of a worker that was killed are among them.
    pub fn reap(&mut self) {
        while let Some(status) = tree::reap() {
            forget_process(&mut self.processes, status);
        }
    }

    fn start_waiting(&mut self) {
        while self.active.is_none()
            && let Some(start) = self.waiting.pop_front()
        {
            let run = start.run.clone();
            let active = Active::new(start);
            match self.records.begin(&run) {
                Ok(Begun::First) => {
                    self.active = Some(active);
                    self.start_step();
                }
                Ok(Begun::Before) => {
                    let frames = self.recorded(&run);
                    self.tell_frames(&run, &frames);
                }
                Err(error) => {
                    let words = format!("its start cannot be put on record in {}: {error}", arl_agent::DIRECTORY);
                    self.active = Some(active);
                    self.step_ended(Done::without_output(StepEnd::StartError(words)));
                }
            }
        }
    }

    fn start_step(&mut self) {
        let Some(active) = &mut self.active else { return };
        let partial = self.records.partial(&active.start.run);
        let given = active.next_job(&partial).and_then(|job| self.give(&job));
        if let Err(end) = given {
            self.step_ended(Done::without_output(end));
        }
    }

    /// Gives a job to the worker, of which there is one from then on.
    fn give(&mut self, job: &Job) -> Result<(), StepEnd> {
        let waiting = self.worker.take_if(Worker::is_there);
        let worker = match waiting {
            Some(worker) => worker,
            None => Worker::start()
                .map_err(|error| StepEnd::StartError(format!("no process can be started in the container: {error}")))?,
        };
        self.processes.insert(worker.pid);
        self.worker.insert(worker).give(job);
        Ok(())
    }

    fn step_ended(&mut self, done: Done) {
        let Some(active) = &mut self.active else { return };
        let run = active.start.run.clone();
        let (step, next, survivors) = active.ended(done);
        match next {
            Next::Step => {
                self.tell(&run, &[step]);
                self.start_step();
            }
            Next::End(end) => {
                self.active = None;
                self.tell(&run, &[step, ended(&run, end, survivors)]);
                self.start_waiting();
            }
        }
    }

    /// What its process leaves behind is ended here, where it comes to: this process is the next reaper above.
    fn step_lost(&mut self) {
        let Some(active) = &mut self.active else { return };
        if let Some(worker) = self.worker.take() {
            self.processes.remove(&worker.pid);
        }
        let (run, end) = (active.start.run.clone(), active.lost());
        let mut processes = std::mem::take(&mut self.processes);
        let survivors = tree::end(&processes.clone(), &mut |status| forget_process(&mut processes, status));
        self.processes = processes;
        let Partial { stdout, stderr } = self.records.read_partial(&run);
        let done = Done { outcome: Outcome::Cancelled, stdout, stderr, survivors: Vec::new(), is_free: false };
        let (step, ..) = active.ended(done);
        self.active = None;
        self.tell(&run, &[step, ended(&run, end, survivors)]);
        self.start_waiting();
    }

    fn tell(&mut self, run: &RunId, messages: &[FromAgent]) {
        let frames: Vec<u8> = messages.iter().flat_map(frame::encode).collect();
        // On record before it is said: who asks again must hear the same.
        let _ = self.records.append(run, &frames);
        self.told.entry(run.clone()).or_default().frames.extend(&frames);
        self.tell_frames(run, &frames);
    }

    fn tell_frames(&mut self, run: &RunId, frames: &[u8]) {
        let followers = self.told.get(run).map(|told| told.followers.clone()).unwrap_or_default();
        self.news.extend(followers.into_iter().map(|relay| (relay, frames.to_vec())));
    }
}

fn ended(run: &RunId, end: RunEnd, survivors: Vec<String>) -> FromAgent {
    FromAgent::Ended { run: run.clone(), end, survivors }
}

fn forget_process(processes: &mut BTreeSet<i32>, status: WaitStatus) {
    if let (WaitStatus::Exited(..) | WaitStatus::Signaled(..), Some(pid)) = (status, status.pid().map(Pid::as_raw)) {
        processes.remove(&pid);
    }
}
