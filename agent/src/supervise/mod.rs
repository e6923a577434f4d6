//! `supervise`: keeps the runs. One process a container, started for the first client, detached from all of them; it ends with
//! the container.
//!
//! It trusts nobody: clients may come and go, a worker may be killed, and its files may be spoilt by the user's
//! code, which runs beside it with the same rights.

mod active;
mod client;
mod history;
mod run_log;
mod runs;
mod worker;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Write},
    os::{fd::AsFd, unix::net::UnixListener},
    path::Path,
    time::{Duration, Instant},
};

use arl_agent::message::{FromAgent, ToAgent, VERSION, live::Id};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signalfd::SignalFd,
};

use crate::{
    children::{Children, NEVER, watch_children},
    limits,
    live::{Live, Part},
    peer::{Peer, is_own},
    records::{self, Records, plain},
};
use client::Client;
use runs::Runs;

/// Written to standard error when it listens; nothing more is written then.
pub const READY: &str = "ready";
/// Written when there is another one.
pub const TAKEN: &str = "taken";
/// What is read at once of a client: as much as a runtime passes on, so that little of a message is left to be moved to the front.
const READ: usize = 64 * 1024;
/// When it is tried again to accept a client for which there was no descriptor.
const FULL: Duration = Duration::from_millis(200);

/// Keeps the runs of the container that has `directory`, unless another process does.
pub fn supervise(directory: &Path) -> Result<(), String> {
    let failed = |what: &'static str| move |error: &dyn std::fmt::Display| format!("{what}: {error}");
    let pod = records::pod(directory).map_err(|error| failed("the uid of the pod cannot be read")(&error))?;
    let records = Records::open(directory)?;
    let lock = plain().write(true).create(true).open(records.lock());
    let lock = lock.map_err(|error| failed("the lock cannot be opened")(&error))?;
    let _lock = match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => {
            eprint!("{TAKEN}");
            return Ok(());
        }
        Err((_, error)) => return Err(failed("the lock cannot be taken")(&error)),
    };
    nix::unistd::setsid().map_err(|error| failed("no session of its own")(&error))?;
    nix::sys::prctl::set_child_subreaper(true).map_err(|error| failed("it cannot be a reaper")(&error))?;
    let children = watch_children().map_err(|error| failed("children cannot be watched")(&error))?;
    let listener = listen(&records).map_err(|error| failed("the socket cannot be made")(&error))?;
    limits::raise();
    report_ready().map_err(|error| failed("standard error cannot be closed")(&error))?;
    let own = Children::default();
    let home = records::home(directory);
    let live = Live::new(directory, home.clone(), own.clone());
    let runs = Runs::new(directory, home, records, own.clone());
    let (clients, next_client, has_more) = (BTreeMap::new(), 0, false);
    let scratch = vec![0; READ];
    let full_until = None;
    Supervisor { pod, listener, children, own, clients, next_client, full_until, runs, live, has_more, scratch }.work()
}

/// The socket appears under its name when it can be connected to.
fn listen(records: &Records) -> std::io::Result<UnixListener> {
    let new = records.socket().with_extension("new");
    let _ = std::fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    listener.set_nonblocking(true)?;
    std::fs::rename(&new, records.socket())?;
    Ok(listener)
}

fn report_ready() -> std::io::Result<()> {
    std::io::stderr().write_all(READY.as_bytes())?;
    let nothing = File::options().write(true).open("/dev/null")?;
    nix::unistd::dup2_stderr(nothing)?;
    Ok(())
}

struct Supervisor {
    pod: String,
    listener: UnixListener,
    children: SignalFd,
    own: Children,
    clients: BTreeMap<u64, Client>,
    next_client: u64,
    /// Until then those who connect wait, since there was no descriptor for one more.
    full_until: Option<Instant>,
    runs: Runs,
    live: Live,
    /// Whether a client may take more at once.
    has_more: bool,
    /// Memory for what is read.
    scratch: Vec<u8>,
}

/// Where something has happened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Listener,
    Children,
    Worker,
    Peer(u64),
    Client(u64),
    Live(Id, Part),
}

impl Supervisor {
    fn work(mut self) -> Result<(), String> {
        loop {
            for source in self.wait()? {
                match source {
                    Source::Listener => self.accept(),
                    Source::Children => while let Ok(Some(_)) = self.children.read_signal() {},
                    Source::Worker => self.runs.read_worker(),
                    Source::Peer(number) => self.read_peer(number),
                    Source::Client(number) => {
                        self.clients.get_mut(&number).into_iter().for_each(Client::look_at_process);
                    }
                    Source::Live(id, part) => self.live.ready(id, part),
                }
            }
            self.own.reap();
            self.runs.check_time();
            self.live.check_time();
            self.deliver();
        }
    }

    fn wait(&self) -> Result<Vec<Source>, String> {
        let mut sources = vec![(Source::Children, (self.children.as_fd(), PollFlags::POLLIN))];
        let full_until = self.full_until.filter(|until| *until > Instant::now());
        if full_until.is_none() {
            sources.push((Source::Listener, (self.listener.as_fd(), PollFlags::POLLIN)));
        }
        sources.extend(self.runs.worker().map(|peer| (Source::Worker, peer.interest())));
        for (number, client) in &self.clients {
            if let Some(peer) = &client.peer {
                sources.push((Source::Peer(*number), peer.interest()));
                sources.extend(peer.room().map(|room| (Source::Peer(*number), room)));
            }
            sources.push((Source::Client(*number), client.process()));
        }
        sources.extend(self.live.interests().map(|((id, part), interest)| (Source::Live(id, part), interest)));
        let mut fds: Vec<_> = sources.iter().map(|(_, (fd, flags))| PollFd::new(*fd, *flags)).collect();
        let due = self
            .runs
            .due()
            .into_iter()
            .chain(self.live.due())
            .chain(self.clients.values().map(Client::due))
            .chain(full_until)
            .min();
        let left = due.map_or(NEVER, |due| due.saturating_duration_since(Instant::now())) + Duration::from_millis(1);
        let timeout =
            if self.has_more { PollTimeout::ZERO } else { PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX) };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(format!("poll: {error}")),
        }
        let ready = sources.iter().zip(&fds).filter(|(_, fd)| fd.any().unwrap_or(false));
        Ok(ready.map(|((source, _), _)| *source).collect())
    }

    fn accept(&mut self) {
        self.full_until = loop {
            match self.listener.accept() {
                Ok((stream, _)) if is_own(&stream) => {
                    self.clients.insert(self.next_client, Client::new(stream));
                    self.next_client += 1;
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break None,
                // What is not accepted stays readable: poll would return at once, again and again.
                Err(_) => break Some(Instant::now() + FULL),
            }
        };
    }

    fn read_peer(&mut self, number: u64) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        client.read_by(&mut self.scratch);
        let Some(peer) = &mut client.peer else { return };
        while let Some(message) = peer.take::<ToAgent>() {
            match message {
                ToAgent::Hello { pod, .. } if pod == self.pod => {
                    client.greeted = true;
                    let (unfinished, instance) = (self.runs.unfinished(), Some(self.live.instance()));
                    peer.send(&FromAgent::Hello { version: VERSION, unfinished, instance });
                }
                ToAgent::Hello { pod, .. } => {
                    peer.send(&FromAgent::Refused(format!("this is pod {}, not {pod}", self.pod)));
                    peer.close();
                }
                _ if !client.greeted => peer.close(),
                ToAgent::Ping => peer.send(&FromAgent::Pong),
                ToAgent::Start(start) => self.runs.start(start, number),
                ToAgent::Follow { run } => self.runs.follow(&run, number),
                ToAgent::Cancel { run } => self.runs.cancel(&run),
                ToAgent::Forget { run } => self.runs.forget(&run),
                ToAgent::Live(request) => self.live.request(number, request),
            }
        }
    }

    /// Sends all pending messages, and forgets the clients that are disconnected.
    fn deliver(&mut self) {
        for (number, frames) in self.runs.take_pending() {
            if let Some(peer) = self.clients.get_mut(&number).and_then(|client| client.peer.as_mut()) {
                peer.send_frames(&frames);
            }
        }
        self.has_more = false;
        for (number, client) in &mut self.clients {
            let Some(peer) = &mut client.peer else { continue };
            let has_more = self.live.send(*number, peer);
            peer.flush();
            // Where nothing is left over, the client will not be waited for.
            self.has_more |= has_more && peer.backlog() == 0;
        }
        self.clients.retain(|_, client| client.is_open());
        let clients = &self.clients;
        self.runs.keep_followers(|number| clients.contains_key(&number));
        self.live.keep_clients(|number| clients.contains_key(&number));
        self.has_more |= self.live.has_pending();
        if self.live.is_idle() {
            self.clients.values_mut().filter_map(|client| client.peer.as_mut()).for_each(Peer::shrink);
        }
    }
}
