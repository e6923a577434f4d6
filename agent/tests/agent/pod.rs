//! A directory that stands for a pod's volume, and streams to the agent in it.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel},
    time::{Duration, Instant},
};

use arl_agent::{
    frame::{FROM_AGENT_MAX, Frames, encode},
    message::{Action, FromAgent, RunEnd, RunId, Start, Step, StepEnd, ToAgent, VERSION, Variable},
    output::Output,
};

/// Longer than anything takes that is going to happen.
pub const PATIENCE: Duration = Duration::from_secs(30);
const AGENT: &str = env!("CARGO_BIN_EXE_arl-agent");

/// The volume as `install` leaves it, and a view of it as the executor container has it.
pub struct Pod {
    volume: PathBuf,
    pub directory: PathBuf,
}

impl Pod {
    pub fn new(name: &str) -> Self {
        let volume = std::env::temp_dir().join(format!("arl-agent-{}-{name}", std::process::id()));
        let directory = volume.join("view");
        std::fs::create_dir_all(directory.join("work")).unwrap();
        let pod = Self { volume, directory };
        pod.install(name);
        for name in ["agent", "pod"] {
            std::fs::hard_link(pod.volume.join("bin").join(name), pod.directory.join(name)).unwrap();
        }
        std::os::unix::fs::symlink(pod.volume.join("state"), pod.directory.join("state")).unwrap();
        pod
    }

    /// The executor container of an operator of before the folders `bin` and `state`: it has the volume whole.
    pub fn whole(mut self) -> Self {
        self.directory.clone_from(&self.volume);
        std::fs::create_dir(self.directory.join("work")).unwrap();
        self
    }

    /// Does what the init container does.
    pub fn install(&self, uid: &str) {
        let installed = Command::new(AGENT).arg("install").arg(&self.volume).env("ARL_POD_UID", uid).status().unwrap();
        assert!(installed.success());
    }

    /// Does it for a template that names its working directory.
    pub fn install_in(&self, home: &Path) {
        let mut install = Command::new(AGENT);
        install.arg("install").arg(&self.volume).arg(home).env("ARL_POD_UID", self.uid());
        assert!(install.status().unwrap().success());
        std::fs::hard_link(self.volume.join("bin/home"), self.directory.join("home")).unwrap();
    }

    /// A file of what the agent keeps.
    pub fn state(&self, name: &str) -> PathBuf {
        self.directory.join("state").join(own_uid()).join(name)
    }

    pub fn uid(&self) -> String {
        std::fs::read_to_string(self.directory.join("pod")).unwrap()
    }

    pub fn stream(&self) -> Stream {
        self.stream_of(Command::new(self.directory.join("agent")))
    }

    /// To an agent that is called in this way.
    pub fn stream_of(&self, agent: Command) -> Stream {
        let mut stream = self.silent_stream_of(agent);
        stream.say(&ToAgent::Hello { version: VERSION, pod: self.uid() });
        let hello = stream.hear();
        assert!(matches!(hello, FromAgent::Hello { version: VERSION, .. }), "{hello:?}");
        stream
    }

    pub fn silent_stream(&self) -> Stream {
        self.silent_stream_of(Command::new(self.directory.join("agent")))
    }

    fn silent_stream_of(&self, mut agent: Command) -> Stream {
        let mut process = agent
            .arg("connect")
            .arg(&self.directory)
            .current_dir(self.path("work"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, heard) = channel();
        let mut stdout = process.stdout.take().unwrap();
        let paused = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let is_paused = std::sync::Arc::clone(&paused);
        std::thread::spawn(move || {
            let (mut frames, mut buffer) = (Frames::new(FROM_AGENT_MAX), vec![0; 65536]);
            while let Ok(read @ 1..) = stdout.read(&mut buffer) {
                while is_paused.load(std::sync::atomic::Ordering::Relaxed) {
                    std::thread::park_timeout(Duration::from_millis(20));
                }
                frames.push(&buffer[..read]);
                while let Some(message) = frames.take().unwrap() {
                    let _ = sender.send(message);
                }
            }
        });
        Stream { stdin: process.stdin.take(), process, paused, heard }
    }

    pub fn supervisors(&self) -> Vec<i32> {
        let directory = self.directory.to_string_lossy().into_owned();
        let supervise = processes("supervise");
        processes(&directory).into_iter().filter(|pid| supervise.contains(pid)).collect()
    }

    /// The processes that keep live processes or do file calls.
    pub fn keepers(&self) -> Vec<i32> {
        let directory = self.directory.to_string_lossy().into_owned();
        let live = processes("live");
        processes(&directory).into_iter().filter(|pid| live.contains(pid)).collect()
    }

    /// How much of a processor's time the supervisor has had, in hundredths of a second.
    pub fn processor_time(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.supervisors()[0])).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// How many bytes of memory the supervisor has.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.supervisors()[0])).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    pub fn kill_supervisor(&self) {
        for pid in self.supervisors() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        eventually("the supervisor is gone", || self.supervisors().is_empty());
        // A process that ends has no command line any more, and listens until its descriptors are closed.
        eventually("nobody listens", || UnixStream::connect(self.state("socket")).is_err());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        for pid in self.supervisors() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        let _ = std::fs::remove_dir_all(&self.volume);
    }
}

pub struct Stream {
    stdin: Option<ChildStdin>,
    process: Child,
    paused: std::sync::Arc<std::sync::atomic::AtomicBool>,
    heard: Receiver<FromAgent>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.paused.store(false, std::sync::atomic::Ordering::Relaxed);
        drop(self.stdin.take());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    pub steps: Vec<(StepEnd, String, String)>,
    pub end: RunEnd,
    pub survivors: Vec<String>,
}

impl Stream {
    pub fn say(&mut self, message: &ToAgent) {
        self.stdin.as_mut().unwrap().write_all(&encode(message)).unwrap();
    }

    /// What arrives is no longer taken.
    pub fn stop(&mut self) {
        self.paused.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Whatever it is; an agent that hangs up is none of the caller's business.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stdin.as_mut().unwrap().write_all(bytes);
    }

    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
    }

    pub fn hang_up(&mut self) {
        drop(self.stdin.take());
    }

    /// Whether there is nothing more to read, and nobody who could write.
    pub fn is_cut(&self) -> bool {
        matches!(self.heard.try_recv(), Err(TryRecvError::Disconnected))
    }

    pub fn hear(&mut self) -> FromAgent {
        match self.heard.recv_timeout(PATIENCE) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => panic!("nothing was heard"),
            Err(RecvTimeoutError::Disconnected) => panic!("the stream ended"),
        }
    }

    pub fn start(&mut self, run: &str, timeout: Duration, steps: Vec<Step>) {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap();
        self.say(&ToAgent::Start(Start {
            run: id(run),
            task: format!("task-{run}"),
            timeout_ms,
            steps,
            created: None,
        }));
    }

    pub fn until_started(&mut self, run: &str) {
        let heard = self.hear();
        assert!(matches!(&heard, FromAgent::Started { run: r, .. } if *r == id(run)), "{heard:?}");
    }

    pub fn report(&mut self, run: &str) -> Report {
        let mut steps = Vec::new();
        loop {
            match self.hear() {
                FromAgent::Step { run: r, index, end, stdout, stderr, .. } if r == id(run) => {
                    assert_eq!(index as usize, steps.len(), "steps come in order, each once");
                    let text = |excerpt| Output::try_from(excerpt).unwrap().text().0;
                    steps.push((end, text(stdout), text(stderr)));
                }
                FromAgent::Ended { run: r, end, survivors } if r == id(run) => return Report { steps, end, survivors },
                FromAgent::Started { .. } | FromAgent::Pong => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub fn run(&mut self, run: &str, steps: Vec<Step>) -> Report {
        self.start(run, PATIENCE, steps);
        self.report(run)
    }
}

/// The uid of this process, as the agent names its folder.
pub fn own_uid() -> String {
    rustix::process::geteuid().as_raw().to_string()
}

pub fn id(run: &str) -> RunId {
    RunId::new(run).unwrap()
}

pub fn command(arguments: &[&str]) -> Step {
    let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
    Step { action: Action::Command(arguments), work_dir: None, env: Vec::new() }
}

pub fn sh(script: &str) -> Step {
    command(&["sh", "-c", script])
}

pub fn file(path: &Path, content: &str) -> Step {
    let action = Action::File { path: path.to_string_lossy().into_owned(), content: content.into() };
    Step { action, work_dir: None, env: Vec::new() }
}

pub fn with_env(mut step: Step, name: &str, value: &str) -> Step {
    step.env.push(Variable { name: name.into(), value: value.into() });
    step
}

/// Processes whose command line has `word`.
pub fn processes(word: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).split('\0').any(|argument| argument == word)
    };
    pids.filter(has).collect()
}

pub fn kill_all(word: &str) {
    for pid in processes(word) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
