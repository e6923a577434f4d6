//! What clients ask for.

use arl_agent::message::{
    error::{Error, Kind},
    live::{Cause, Event, Id, LIVE_MAX, Process as Listed, Request},
};

use super::{
    Live,
    job::Command,
    launch::{Launch, failed},
    outcome::micros,
    process::{Process, Work},
    pty,
};
use crate::limits;

/// A keeper, and pipes for input, output and error.
const DESCRIPTORS_EACH: u64 = 4;
/// Of streams, three each, runs and records.
const DESCRIPTORS_OTHER: u64 = 192;

impl Live {
    /// A number that changes when names of processes that were started are no longer known.
    pub fn instance(&self) -> u64 {
        self.dropped.instance()
    }

    /// Does what a client asks for.
    pub fn request(&mut self, client: u64, request: Request) {
        if !matches!(request, Request::WatchActivity | Request::List { .. }) {
            self.clients.entry(client).or_insert(Id(0));
        }
        match request {
            Request::Start(start) => {
                if self.processes.get(&start.id).is_some_and(|process| !process.is_call()) {
                    return self.follow(client, start.id, [0, 0]);
                }
                let id = start.id;
                let launch = self.admit(id).and_then(|()| Launch::process(*start, &self.home));
                self.launch(client, id, launch);
            }
            Request::File { id, action, user } => {
                let launch = self.admit(id).and_then(|()| Launch::call(id, action, user, &self.home));
                self.launch(client, id, launch);
            }
            Request::Follow { id, stdout, stderr } => self.follow(client, id, [stdout, stderr]),
            Request::Unfollow { id } => {
                if let Some(process) = self.processes.get_mut(&id).filter(|process| !process.is_call()) {
                    process.unfollow(|other| other == client);
                }
            }
            Request::Acknowledge { id, output, offset } => {
                if let Some(process) = self.processes.get_mut(&id) {
                    process.acknowledge(client, output, offset);
                }
            }
            Request::Forget { id } => {
                if self.processes.get(&id).is_some_and(Process::is_over) {
                    self.forgotten.insert(id);
                    self.dropped.taken(id);
                }
            }
            Request::List { request } => {
                self.lists.push((client, request));
            }
            Request::WatchActivity => self.activity.watch(client),
            Request::Input { .. }
            | Request::CloseInput { .. }
            | Request::Signal { .. }
            | Request::Resize { .. }
            | Request::Kill { .. } => self.pass_on(client, request),
        }
    }

    /// What concerns a process that runs.
    fn pass_on(&mut self, client: u64, request: Request) {
        let (id, passed) = match request {
            Request::Input { id, offset, data } => {
                let share = self.share;
                (id, self.get(id).and_then(|process| process.take_input(offset, &data, share)))
            }
            Request::CloseInput { id, offset } => {
                let share = self.share;
                (id, self.get(id).and_then(|process| process.close_input(offset, share)))
            }
            Request::Signal { id, signal } => (id, self.get(id).and_then(|process| process.signal(signal))),
            Request::Resize { id, size } => {
                let resize = |process: &mut Process| {
                    let terminal = process.terminal().ok_or_else(|| invalid("the process has no terminal"))?;
                    pty::resize(terminal, size).map_err(|error| failed(&error))
                };
                (id, self.get(id).and_then(resize))
            }
            Request::Kill { id, grace_ms } => (id, self.get(id).map(|process| process.kill(grace_ms))),
            _ => return,
        };
        if let Err(error) = passed {
            self.pending.push((client, Event::Rejected { id, error: error.bounded() }));
        }
    }

    fn get(&mut self, id: Id) -> Result<&mut Process, Error> {
        self.processes.get_mut(&id).ok_or_else(|| unknown(id))
    }

    /// Whether there is room for one more.
    fn admit(&self, id: Id) -> Result<(), Error> {
        if self.processes.contains_key(&id) {
            return Err(invalid("another process or call has this name"));
        }
        if self.dropped.contains(id) {
            return Err(Error::new(Kind::Lost, "the process has ended, and nothing of it is kept"));
        }
        let busy = self.processes.values().filter(|process| process.keeper.is_some() || !process.is_over()).count();
        let room = usize::try_from(limits::room(DESCRIPTORS_EACH, DESCRIPTORS_OTHER)).unwrap_or(LIVE_MAX);
        if busy < room.min(LIVE_MAX) {
            return Ok(());
        }
        let message = format!("the pod has {busy} live processes and file calls, and takes no more");
        Err(Error::new(Kind::TooMany, message))
    }

    fn launch(&mut self, client: u64, id: Id, launch: Result<Launch, Error>) {
        let launch = launch.and_then(|launch| {
            let keeper = self.keeper().map_err(|error| failed(&error))?;
            self.children.insert(keeper.pid);
            Ok(launch.by(keeper, self.share))
        });
        match launch {
            Ok(mut process) => {
                process.follow(client, [0, 0]);
                self.processes.insert(id, process);
                self.divide();
            }
            Err(error) => self.pending.push((client, Event::Failed { id, error: error.bounded() })),
        }
    }

    fn follow(&mut self, client: u64, id: Id, offsets: [u64; 2]) {
        let process = self.processes.get_mut(&id).filter(|process| !process.is_call());
        match process.filter(|_| !self.forgotten.contains(&id)) {
            Some(process) => process.follow(client, offsets),
            None => self.pending.push((client, Event::Failed { id, error: unknown(id) })),
        }
    }

    pub(super) fn list(&self) -> Vec<Listed> {
        let listed = |process: &Process| {
            let Work::Process { alone, tty, .. } = process.work else { return None };
            let [stdout, stderr] = process.kept();
            Some(Listed {
                id: process.id,
                pid: process.pid?,
                command: process.command.clone(),
                background: alone.is_none(),
                tty,
                started_ago_us: micros(process.started_ago()),
                ended: !process.is_running(),
                clients: u32::try_from(process.followers()).unwrap_or(u32::MAX),
                stdout,
                stderr,
            })
        };
        let (running, ended): (Vec<_>, Vec<_>) = self
            .processes
            .values()
            .filter(|process| !self.forgotten.contains(&process.id))
            .filter_map(listed)
            .partition(|process| !process.ended);
        running.into_iter().chain(ended).collect()
    }
}

impl Process {
    fn take_input(&mut self, offset: u64, data: &[u8], share: usize) -> Result<(), Error> {
        let Some(input) = &mut self.input else { return Err(invalid("the process has no standard input")) };
        if !input.push(offset, data) {
            return Err(invalid("input that does not follow what was received, or for which there is no room"));
        }
        self.write_input(share);
        Ok(())
    }

    fn close_input(&mut self, offset: u64, share: usize) -> Result<(), Error> {
        let Some(input) = &mut self.input else { return Ok(()) };
        if !input.close(offset) {
            return Err(invalid("the input has another length"));
        }
        self.write_input(share);
        Ok(())
    }

    /// Passes input on. That it was all is said once all of it was: what still waits here is dropped where a call is given up.
    pub(super) fn write_input(&mut self, share: usize) {
        let room = self.input_room(share);
        let Some(input) = &mut self.input else { return };
        let is_all = input.write();
        input.grant(room);
        let commit = Command::Commit { id: self.id };
        if is_all && self.is_call() {
            self.keeper.iter_mut().for_each(|keeper| keeper.send(&commit));
        }
    }

    fn signal(&mut self, signal: i32) -> Result<(), Error> {
        if self.is_call() || !(1..=64).contains(&signal) {
            return Err(invalid("there is no such signal"));
        }
        let id = self.id;
        self.keeper.iter_mut().for_each(|keeper| keeper.send(&Command::Signal { id, signal }));
        Ok(())
    }

    fn kill(&mut self, grace_ms: u64) {
        if self.is_call() {
            return self.abort();
        }
        self.end_by(grace_ms, Cause::Killed);
    }
}

fn invalid(message: &str) -> Error {
    Error::new(Kind::Invalid, message)
}

fn unknown(id: Id) -> Error {
    let message = format!(
        "there is no process {}: it was never started here, was forgotten, or the agent was ended meanwhile, and its end is not known",
        id.0
    );
    Error::new(Kind::Unknown, message)
}
