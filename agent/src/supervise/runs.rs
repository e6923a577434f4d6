//! The runs of this container: waiting, in progress, ended and not yet forgotten.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    active::{Active, Next},
    history::History,
    run_log::RunLog,
    worker::Worker,
};
use crate::{
    children::Children,
    job::{Done, Job, Outcome},
    peer::Peer,
    records::{Begun, Partial, Records},
};
use arl_agent::{
    frame,
    message::{RunEnd, RunId, RunMessage, Start, StepEnd, Unfinished},
};

/// All runs. Clients are numbers here.
pub struct Runs {
    directory: PathBuf,
    /// Where steps run that name no other place.
    home: String,
    history: History,
    /// The logs of runs that wait or are in progress, and of the last one that ended.
    logs: BTreeMap<RunId, RunLog>,
    waiting: VecDeque<Start>,
    active: Option<Active>,
    /// Runs the step in progress; between steps it waits for the next.
    worker: Option<Worker>,
    /// Processes of steps, this one's and those that stay with what their steps left in the background, are among them.
    children: Children,
    pending: Vec<(u64, Vec<u8>)>,
}

impl Runs {
    /// None yet but those on record in the volume at `directory`.
    pub fn new(directory: &Path, home: String, records: Records, children: Children) -> Self {
        let (logs, waiting, pending) = Default::default();
        let (directory, history) = (directory.to_owned(), History::new(records));
        Self { directory, home, history, logs, waiting, active: None, worker: None, children, pending }
    }

    /// The way to the worker.
    pub fn worker(&self) -> Option<&Peer> {
        self.worker.as_ref().map(|worker| &worker.peer)
    }

    /// When to call [`Runs::check_time`] at the latest.
    pub fn due(&self) -> Option<Instant> {
        self.active.as_ref().map(Active::due)
    }

    /// Those that have not ended.
    pub fn unfinished(&self) -> Vec<Unfinished> {
        let starts = self.active.iter().map(|active| &active.start).chain(&self.waiting);
        starts.map(|start| Unfinished { run: start.run.clone(), task: start.task.clone() }).collect()
    }

    /// The messages since the last call, each with the client it is for.
    pub fn take_pending(&mut self) -> Vec<(u64, Vec<u8>)> {
        std::mem::take(&mut self.pending)
    }

    /// Forgets the clients that are disconnected.
    pub fn keep_followers(&mut self, is_there: impl Fn(u64) -> bool) {
        self.logs.values_mut().for_each(|log| log.followers.retain(|number| is_there(*number)));
    }

    /// Runs what has never been started, when it is its turn; `client` follows it.
    pub fn start(&mut self, start: Start, client: u64) {
        if self.is_known(&start.run) {
            return self.follow(&start.run, client);
        }
        if !start.run.is_valid() {
            return;
        }
        if self.history.has_forgotten(&start.run, start.created) {
            return self.send_forgotten(&start.run, client);
        }
        self.logs.insert(start.run.clone(), RunLog::followed_by(client));
        self.waiting.push_back(start);
        self.start_waiting();
    }

    fn is_known(&self, run: &RunId) -> bool {
        self.logs.contains_key(run) || self.history.has_begun(run)
    }

    /// Sends the log of a run to a client, and then what is added to it.
    pub fn follow(&mut self, run: &RunId, client: u64) {
        if let Some(log) = self.logs.get_mut(run) {
            log.followers.insert(client);
            let started = self.active.as_ref().filter(|active| active.start.run == *run).map(Active::started);
            let mut frames = started.as_ref().map(frame::encode).unwrap_or_default();
            frames.extend(log.frames());
            self.pending.push((client, frames));
        } else if self.history.has_forgotten(run, None) {
            self.send_forgotten(run, client);
        } else if self.is_known(run) {
            let frames = self.history.frames(run);
            self.pending.push((client, frames));
        } else {
            self.pending.push((client, frame::encode(&RunMessage::Unknown { run: run.clone() })));
        }
    }

    fn send_forgotten(&mut self, run: &RunId, client: u64) {
        self.pending.push((client, frame::encode(&ended(run, RunEnd::Forgotten, Vec::new()))));
    }

    /// Ends a run. One that waits is put on record as started, so that it never is.
    pub fn cancel(&mut self, run: &RunId) {
        if let Some(active) = self.active.as_mut().filter(|active| active.start.run == *run) {
            active.cancel();
            self.worker.iter_mut().for_each(Worker::cancel);
        } else if let Some(at) = self.waiting.iter().position(|start| start.run == *run) {
            let created = self.waiting.remove(at).and_then(|start| start.created);
            let _ = self.history.begin(run);
            self.run_ended(run, created, vec![ended(run, RunEnd::Cancelled, Vec::new())]);
        }
    }

    /// Drops all that there is of an ended run but that it was started.
    pub fn forget(&mut self, run: &RunId) {
        let is_unfinished = self.unfinished().iter().any(|other| other.run == *run);
        if !is_unfinished && self.is_known(run) {
            self.logs.remove(run);
            self.history.forget(run);
        }
    }

    /// Takes the worker's answer, or its end.
    pub fn read_worker(&mut self) {
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
    pub fn check_time(&mut self) {
        let Some(active) = &mut self.active else { return };
        if let Some(started) = active.announcement() {
            let run = active.start.run.clone();
            self.publish_frames(&run, &frame::encode(&started));
        } else if active.is_overdue() {
            self.step_lost();
        }
    }

    fn start_waiting(&mut self) {
        while self.active.is_none()
            && let Some(start) = self.waiting.pop_front()
        {
            let run = start.run.clone();
            let active = Active::new(start);
            // What ended before is on record, and need not fill the memory that the container may use.
            self.logs.retain(|other, _| *other == run || self.waiting.iter().any(|start| start.run == *other));
            match self.history.begin(&run) {
                Ok(Begun::First) => {
                    self.active = Some(active);
                    self.start_step();
                }
                Ok(Begun::Before) => {
                    let frames = self.history.frames(&run);
                    self.publish_frames(&run, &frames);
                }
                Err(error) => {
                    let message = format!("its start cannot be put on record in {}: {error}", arl_agent::DIRECTORY);
                    self.active = Some(active);
                    self.step_ended(Done::without_output(StepEnd::StartError(message)));
                }
            }
        }
    }

    fn start_step(&mut self) {
        let Some(active) = &mut self.active else { return };
        let given = active.next_job(&self.home).and_then(|job| self.give(&job));
        if let Err(end) = given {
            self.step_ended(Done::without_output(end));
        }
    }

    /// Gives a job to the worker, of which there is one from then on.
    fn give(&mut self, job: &Job) -> Result<(), StepEnd> {
        let waiting = self.worker.take_if(Worker::is_there);
        let worker = match waiting {
            Some(worker) => worker,
            None => Worker::start(&self.directory)
                .map_err(|error| StepEnd::StartError(format!("no process can be started in the container: {error}")))?,
        };
        self.children.insert(worker.pid);
        self.worker.insert(worker).give(job);
        Ok(())
    }

    fn step_ended(&mut self, done: Done) {
        let Some(active) = &mut self.active else { return };
        let run = active.start.run.clone();
        let (step, next, survivors) = active.ended(done);
        match next {
            Next::Step => {
                self.publish(&run, vec![step]);
                self.start_step();
            }
            Next::End(end) => self.active_ended(step, end, survivors),
        }
    }

    /// What its process leaves behind is ended here, where it comes to: this process is the next reaper above.
    fn step_lost(&mut self) {
        let Some(active) = &mut self.active else { return };
        if let Some(worker) = self.worker.take() {
            self.children.remove(worker.pid);
        }
        let (run, end) = (active.start.run.clone(), active.lost());
        let survivors = self.children.kill_orphans();
        let Partial { stdout, stderr, .. } = self.history.partial(&run);
        let done = Done { outcome: Outcome::Cancelled, stdout, stderr, survivors: Vec::new(), is_free: false };
        let (step, ..) = active.ended(done);
        self.active_ended(step, end, survivors);
    }

    fn active_ended(&mut self, step: RunMessage, end: RunEnd, survivors: Vec<String>) {
        let Some(Active { start, .. }) = self.active.take() else { return };
        self.run_ended(&start.run, start.created, vec![step, ended(&start.run, end, survivors)]);
        self.start_waiting();
    }

    fn run_ended(&mut self, run: &RunId, created: Option<u64>, messages: Vec<RunMessage>) {
        self.publish(run, messages);
        if let Some(forgotten) = self.history.ended(run, created) {
            self.logs.remove(&forgotten);
        }
    }

    fn publish(&mut self, run: &RunId, messages: Vec<RunMessage>) {
        let frames: Vec<u8> = messages.iter().flat_map(frame::encode).collect();
        // On record before it is sent: who asks again must get the same.
        self.history.append(run, &messages);
        let log = self.logs.entry(run.clone()).or_default();
        if log.add(messages) {
            self.history.rewrite(run, log.log());
        }
        self.publish_frames(run, &frames);
    }

    fn publish_frames(&mut self, run: &RunId, frames: &[u8]) {
        let followers = self.logs.get(run).map(|log| log.followers.clone()).unwrap_or_default();
        self.pending.extend(followers.into_iter().map(|client| (client, frames.to_vec())));
    }
}

fn ended(run: &RunId, end: RunEnd, survivors: Vec<String>) -> RunMessage {
    RunMessage::Ended { run: run.clone(), end, survivors }
}
