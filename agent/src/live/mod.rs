//! Live processes and file calls, beside the runs of Tasks and apart from them.
//!
//! Each has a keeper, a process of its own that starts it, waits for it and ends all that it started. Its pipes are here: what it
//! prints goes to the clients that follow it, as fast as they take it; while nobody does, the end of it is kept.

mod activity;
mod buffer;
mod dropped;
mod files;
mod follower;
mod handle;
mod inbox;
mod input;
mod job;
mod keeper;
mod keepers;
mod launch;
mod limit;
mod outcome;
mod process;
mod pty;
mod requests;
mod share;
mod spawn;
mod stream;
mod user;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    time::Instant,
};

use arl_agent::message::{
    FromAgent,
    live::{Cause, ENDED_MAX, Event, Id, WINDOW},
};
use nix::poll::PollFlags;

use crate::{children::Children, peer::Peer};
use activity::Activity;
use dropped::Dropped;
use handle::Keeper;
use input::Input;
use process::{Process, Work};
use stream::READ;

pub use keeper::keep;
pub use process::Part;

/// So many lists are waited for at once.
const LISTS_MAX: usize = 1024;
/// A client that has so much to take is given no more for now.
const BACKLOG: usize = 128 * 1024;

/// All of them. Clients are numbers here.
pub struct Live {
    directory: PathBuf,
    /// Where processes run that name no other place.
    home: String,
    children: Children,
    processes: BTreeMap<Id, Process>,
    /// Those that ended, in that order, as long as somebody may ask for them.
    ended: Vec<Id>,
    /// Those that nobody will ask for again.
    forgotten: BTreeSet<Id>,
    dropped: Dropped,
    spare: Vec<Keeper>,
    /// Clients that have asked for something, and what was sent to them last.
    clients: BTreeMap<u64, Id>,
    activity: Activity,
    pending: Vec<(u64, Event)>,
    /// Lists that were asked for, made once there is room for them: they are larger than the question.
    lists: Vec<(u64, u64)>,
    /// How many bytes each output and input may hold now.
    share: usize,
    /// Memory for what is read from a pipe, and for what is sent: it is used again.
    scratch: Vec<u8>,
    chunk: Vec<u8>,
}

impl Live {
    /// None yet.
    pub fn new(directory: &Path, home: String, children: Children) -> Self {
        let (processes, ended, forgotten, dropped, spare) = Default::default();
        let (clients, activity, pending, scratch, chunk) = Default::default();
        Self {
            directory: directory.to_owned(),
            home,
            children,
            processes,
            ended,
            forgotten,
            dropped,
            spare,
            clients,
            activity,
            pending,
            lists: Vec::new(),
            share: WINDOW,
            scratch,
            chunk,
        }
    }

    /// What to wait for.
    pub fn interests(&self) -> impl Iterator<Item = ((Id, Part), (BorrowedFd<'_>, PollFlags))> {
        self.processes
            .values()
            .flat_map(|process| process.interests(self.share).map(|(part, interest)| ((process.id, part), interest)))
    }

    /// Something has happened there.
    pub fn ready(&mut self, id: Id, part: Part) {
        match part {
            Part::Keeper => self.read_keeper(id),
            Part::Output(number) => {
                self.scratch.resize(READ, 0);
                if let Some(process) = self.processes.get_mut(&id) {
                    process.read(number, self.share, &mut self.scratch);
                }
            }
            Part::Input => {
                if let Some(process) = self.processes.get_mut(&id) {
                    process.input.iter_mut().for_each(Input::look);
                    process.write_input(self.share);
                }
            }
        }
    }

    /// When to call [`Live::check_time`] at the latest.
    pub fn due(&self) -> Option<Instant> {
        self.processes.values().filter_map(Process::due).chain(self.activity.due()).min()
    }

    /// Ends what nobody is there for, and drops what nobody will ask for.
    pub fn check_time(&mut self) {
        self.lose_overdue();
        for process in self.processes.values_mut() {
            if let Work::Process { grace_ms, .. } = process.work
                && process.is_abandoned()
            {
                process.end_by(grace_ms, Cause::Abandoned);
            }
            process.settle();
            if process.is_over() && !process.is_call() && !self.ended.contains(&process.id) {
                self.ended.push(process.id);
            }
        }
        let surplus = self.ended.len().saturating_sub(ENDED_MAX);
        self.dropped.add(&self.ended[..surplus]);
        self.forgotten.extend(self.ended.drain(..surplus));
        let forgotten = &self.forgotten;
        self.processes.retain(|id, process| {
            let is_wanted = process.followers() > 0 || !(process.is_transient() || forgotten.contains(id));
            is_wanted || process.keeper.is_some() || !process.is_over()
        });
        let processes = &self.processes;
        self.ended.retain(|id| processes.contains_key(id));
        self.forgotten.retain(|id| processes.contains_key(id));
        self.divide();
    }

    /// Queues what there is for a client, each process in its turn, until it has enough for now. True: there is more.
    pub fn send(&mut self, client: u64, peer: &mut Peer) -> bool {
        let mut rest = Vec::new();
        for (to, event) in self.pending.drain(..) {
            if to == client { peer.send(&FromAgent::Live(event)) } else { rest.push((to, event)) }
        }
        self.pending = rest;
        while peer.backlog() < BACKLOG
            && let Some(at) = self.lists.iter().position(|(to, _)| *to == client)
        {
            let (_, request) = self.lists.remove(at);
            peer.send(&FromAgent::Live(Event::List { request, processes: self.list() }));
        }
        if self.lists.iter().filter(|(to, _)| *to == client).count() > LISTS_MAX {
            // Nobody who takes the answers asks so often.
            self.lists.retain(|(to, _)| *to != client);
            peer.close();
        }
        let has_lists = self.lists.iter().any(|(to, _)| *to == client);
        let Some(last) = self.clients.get_mut(&client) else { return has_lists };
        loop {
            let before = *last;
            let (behind, front) = ((Bound::Excluded(before), Bound::Unbounded), ..=before);
            let mut turn: Vec<Id> = self.processes.range(behind).map(|(id, _)| *id).collect();
            turn.extend(self.processes.range(front).map(|(id, _)| *id));
            let mut has_sent = false;
            for id in turn {
                if peer.backlog() >= BACKLOG {
                    return true;
                }
                let process = self.processes.get_mut(&id);
                if let Some(event) = process.and_then(|process| process.next_event(client, &mut self.chunk)) {
                    let message = FromAgent::Live(event);
                    peer.send(&message);
                    (*last, has_sent) = (id, true);
                    if let FromAgent::Live(Event::Output { data, .. }) = message {
                        self.chunk = data;
                    }
                }
            }
            if !has_sent {
                return has_lists;
            }
        }
    }

    /// Whether nothing runs.
    pub fn is_idle(&self) -> bool {
        self.processes.values().all(Process::is_over)
    }

    /// Whether there are events that were not given to their clients.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Forgets the clients that are disconnected. Calls end with their stream.
    pub fn keep_clients(&mut self, is_there: impl Fn(u64) -> bool) {
        self.pending.retain(|(client, _)| is_there(*client));
        self.lists.retain(|(client, _)| is_there(*client));
        self.activity.keep_clients(&is_there);
        let before = self.clients.len();
        self.clients.retain(|client, _| is_there(*client));
        if self.clients.len() < before {
            for process in self.processes.values_mut() {
                process.unfollow(|client| !is_there(client));
                if process.is_call() && process.followers() == 0 {
                    process.abort();
                }
            }
        }
        let live = self.processes.values().filter(|process| process.is_running()).count();
        self.pending.extend(self.activity.note(live, self.clients.len(), Instant::now()));
    }
}
