//! What the agent keeps on the pod's volume, so that it outlives streams, the supervisor and a container's restart.
//!
//! ```text
//!   agent, pod               this program, and the uid of the pod: the container cannot write there
//!   state/                   open to all, since the container's user is not known when it is made
//!   state/<uid>/             of one user, closed to all others:
//!     lock, socket           the supervisor's
//!     forgotten              runs whose result is on record elsewhere, see [`Forgotten`](crate::forgotten::Forgotten)
//!     runs/<run>             created exclusively: the run was started. Its log, as frames, the last of which has its end.
//!                            Removed once the run is in `forgotten`
//!     runs/<run>.partial     what the step in progress has printed so far
//! ```
//! What cannot be written (a full volume) is only lost with the supervisor, which keeps it in memory until the next run begins.
//!
//! Users other than the agent's are kept out by the directory's mode, and by using it through its descriptor: whatever is put in
//! the place of its name later is not followed.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use arl_agent::{
    HOME, POD, STATE,
    frame::{self, FROM_AGENT_MAX, Frames, Malformed},
    message::{Excerpt, RunId, RunMessage},
    output::{Output, RUN_MAX},
};
use minicbor::{Decode, Encode};
use nix::libc::{O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK};

/// The most bytes that a run's log has: before room is made for a step it is as long as that step more, and then has the run's end.
const LOG_MAX: u64 = (RUN_MAX + 2 * FROM_AGENT_MAX) as u64;
/// More messages than a run's log has: one for each step, and its end.
const LOG_MESSAGES_MAX: usize = 1024;
/// More runs than are begun and not forgotten.
const BEGUN_MAX: usize = 64;
/// More bytes than a uid has.
const UID_MAX: u64 = 256;
/// More bytes than a path has.
const PATH_MAX: u64 = 4096;

/// The outputs of a step in progress.
#[derive(Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Partial {
    /// Standard output.
    #[n(0)]
    pub stdout: Excerpt,
    /// Standard error.
    #[n(1)]
    pub stderr: Excerpt,
    /// Which of the run's steps it is.
    #[n(2)]
    pub index: Option<u32>,
}

impl Partial {
    /// The outputs in `bytes`, where a step can have printed them. The user's code may have written them, and they have to fit into
    /// a frame.
    fn of(bytes: &[u8]) -> Result<Self, Malformed> {
        let partial: Self = minicbor::decode(bytes).map_err(|error| Malformed::Unreadable(error.to_string()))?;
        for excerpt in [&partial.stdout, &partial.stderr] {
            Output::try_from(excerpt.clone()).map_err(|message| Malformed::Unreadable(message.into()))?;
        }
        Ok(partial)
    }
}

/// The uid of the pod whose volume is at `directory`.
pub fn pod(directory: &Path) -> std::io::Result<String> {
    let bytes = read(&directory.join(POD), UID_MAX)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Where everything runs that names no other place: the container's working directory, as the template names it. A link on the way
/// there may lead elsewhere later.
pub fn home(directory: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let named = read(&directory.join(HOME), PATH_MAX).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let is_here = |named: &String| std::fs::canonicalize(named).is_ok_and(|named| named == here);
    named.filter(is_here).unwrap_or_else(|| here.to_string_lossy().into_owned())
}

/// The records that this process's user has in a pod.
#[derive(Debug)]
pub struct Records {
    directory: PathBuf,
    own: File,
}

/// Whether a run may begin.
#[derive(Debug, PartialEq, Eq)]
pub enum Begun {
    /// It may: it has never been started, and now it is.
    First,
    /// It has been started before.
    Before,
}

impl Records {
    /// Those in the volume that is at `directory`; the error names who is in the way.
    pub fn open(directory: &Path) -> Result<Self, String> {
        let own = open_own(&directory.join(STATE), rustix::process::geteuid().as_raw())?;
        Ok(Self { directory: directory.to_owned(), own })
    }

    /// The directory by its name, for people.
    pub fn name(&self) -> String {
        own_path(&self.directory.join(STATE), rustix::process::geteuid().as_raw()).display().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new("/proc/self/fd").join(self.own.as_raw_fd().to_string()).join(name)
    }

    /// The file that only one supervisor can have locked.
    pub fn lock(&self) -> PathBuf {
        self.path("lock")
    }

    /// Where the supervisor listens.
    pub fn socket(&self) -> PathBuf {
        self.path("socket")
    }

    /// What is kept of runs that were forgotten.
    pub fn forgotten(&self) -> PathBuf {
        self.path("forgotten")
    }

    /// The folder that changes with each run.
    pub fn runs(&self) -> PathBuf {
        self.path("runs")
    }

    fn partial(&self, run: &RunId) -> PathBuf {
        self.run(run).with_added_extension("partial")
    }

    fn run(&self, run: &RunId) -> PathBuf {
        self.runs().join(run.as_str())
    }

    /// Puts "started" on record, once: the file is either created or found.
    pub fn begin(&mut self, run: &RunId) -> Result<Begun, String> {
        let begun = match self.create(run) {
            // The first run, or the user's code removed the directory.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if fs::create_dir(self.path("runs")).is_err() {
                    *self = Self::open(&self.directory)?;
                    let _ = fs::create_dir(self.path("runs"));
                }
                self.create(run)
            }
            other => other,
        };
        match begun {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Begun::Before),
            other => other.map(|()| Begun::First).map_err(|error| error.to_string()),
        }
    }

    fn create(&self, run: &RunId) -> std::io::Result<()> {
        plain().write(true).create_new(true).open(self.run(run)).map(drop)
    }

    /// Whether its start is on record.
    pub fn has_begun(&self, run: &RunId) -> bool {
        fs::symlink_metadata(self.run(run)).is_ok()
    }

    /// The last runs whose start is on record, the one that was written to last at the end.
    pub fn begun(&self) -> Vec<RunId> {
        let entries = fs::read_dir(self.path("runs")).into_iter().flatten().flatten();
        let runs = entries.filter_map(|entry| {
            let run = RunId::new(entry.file_name().to_str()?)?;
            Some((entry.metadata().ok()?.modified().ok()?, run))
        });
        let mut last = BTreeSet::new();
        for run in runs {
            last.insert(run);
            if last.len() > BEGUN_MAX {
                last.pop_first();
            }
        }
        last.into_iter().map(|(_, run)| run).collect()
    }

    /// Adds to the log of a run.
    pub fn append(&self, run: &RunId, messages: &[RunMessage]) -> std::io::Result<()> {
        let frames: Vec<u8> = messages.iter().flat_map(frame::encode).collect();
        plain().append(true).create(true).open(self.run(run))?.write_all(&frames)
    }

    /// Replaces the log of a run, at once or not at all.
    pub fn rewrite(&self, run: &RunId, messages: &[RunMessage]) -> std::io::Result<()> {
        let frames: Vec<u8> = messages.iter().flat_map(frame::encode).collect();
        self.replace(&self.run(run), &frames)
    }

    /// The log of a run, as far as it can be read: its end may be missing, cut or spoilt. The user's code may have made it longer than
    /// the agent does.
    pub fn log(&self, run: &RunId) -> Vec<RunMessage> {
        let mut frames = Frames::new(FROM_AGENT_MAX);
        frames.push(&read(&self.run(run), LOG_MAX).unwrap_or_default());
        std::iter::from_fn(|| frames.take().ok().flatten()).take(LOG_MESSAGES_MAX).collect()
    }

    /// Removes all that there is of a run.
    pub fn remove(&self, run: &RunId) {
        let _ = fs::remove_file(self.run(run));
        self.remove_partial(run);
    }

    /// Removes what its steps in progress printed.
    pub fn remove_partial(&self, run: &RunId) {
        let _ = fs::remove_file(self.partial(run));
    }

    /// What the step in progress had printed when it was last noted; nothing, where that is spoilt.
    pub fn read_partial(&self, run: &RunId) -> Partial {
        let bytes = read(&self.partial(run), FROM_AGENT_MAX as u64);
        bytes.ok().and_then(|bytes| Partial::of(&bytes).ok()).unwrap_or_default()
    }

    /// Notes the outputs of the step in progress, at once or not at all.
    pub fn write_partial(&self, run: &RunId, partial: &Partial) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        let _ = minicbor::encode(partial, &mut bytes);
        self.replace(&self.partial(run), &bytes)
    }

    /// Replaces a file, at once or not at all.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let new = self.path(&format!("new.{}", std::process::id()));
        let written = plain().write(true).create(true).truncate(true).open(&new);
        written.and_then(|mut file| file.write_all(bytes)).and_then(|()| fs::rename(&new, path)).inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }
}

fn own_path(state: &Path, uid: u32) -> PathBuf {
    state.join(uid.to_string())
}

/// The directory of the user `uid` in `state`, made where there is none.
fn open_own(state: &Path, uid: u32) -> Result<File, String> {
    let path = own_path(state, uid);
    let failed = |error: std::io::Error| format!("{} cannot be used: {error}", path.display());
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let is_in_the_way = |what: &str| {
        format!(
            "{} is {what}: code in the sandbox put it in the way of the agent, which will not use it",
            path.display()
        )
    };
    let found = fs::symlink_metadata(&path).map_err(failed)?;
    if !found.is_dir() {
        return Err(is_in_the_way("no directory"));
    }
    let own = OpenOptions::new().read(true).custom_flags(O_DIRECTORY | O_NOFOLLOW).open(&path);
    let own = own.map_err(|error| is_in_the_way(&format!("of uid {} and cannot be opened ({error})", found.uid())))?;
    let opened = own.metadata().map_err(failed)?;
    if opened.uid() != uid {
        return Err(is_in_the_way(&format!("of uid {}, not of the agent's {uid}", opened.uid())));
    }
    if opened.mode() & 0o077 != 0 {
        return Err(is_in_the_way("open to other users"));
    }
    Ok(own)
}

/// The first bytes of a file.
pub fn read(path: &Path, max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    plain().read(true).open(path)?.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// To open files where the user's code may have put a pipe, at which one would wait for ever, or a link.
pub fn plain() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(O_NONBLOCK | O_NOFOLLOW);
    options
}

#[cfg(test)]
mod tests {
    use arl_agent::{
        message::{RunEnd, StepEnd},
        output::{HEAD, TAIL},
    };
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    fn excerpt() -> impl Strategy<Value = Excerpt> {
        let kept = |max: usize| prop_oneof![Just(0), 1..20_usize, max - 1..max + 2, Just(4 * max)];
        (kept(HEAD), kept(TAIL), prop_oneof![0..300_000_u64, any::<u64>()], any::<u8>())
            .prop_map(|(head, tail, total, byte)| Excerpt { head: vec![byte; head], tail: vec![byte; tail], total })
    }

    fn is_possible(excerpt: &Excerpt) -> bool {
        let Excerpt { head, tail, total } = excerpt;
        head.len() <= HEAD && tail.len() <= TAIL && *total >= (head.len() + tail.len()) as u64
    }

    fn bytes(partial: &Partial) -> Vec<u8> {
        minicbor::to_vec(partial).unwrap()
    }

    proptest! {
        /// What a step printed is read again, whatever else there is is refused, and what is read fits into a frame.
        #[test]
        fn fuzz_outputs_on_record(stdout in excerpt(), stderr in excerpt(), edits in vec(any::<(Index, u8)>(), 0..4), cut: Index) {
            let partial = Partial { stdout, stderr, index: Some(3) };
            let valid = is_possible(&partial.stdout) && is_possible(&partial.stderr);
            let mut spoilt = bytes(&partial);
            prop_assert_eq!(Partial::of(&spoilt).ok(), valid.then_some(partial));

            for (at, byte) in &edits {
                *at.get_mut(&mut spoilt) = *byte;
            }
            for spoilt in [&spoilt[..], &spoilt[..cut.index(spoilt.len())]] {
                if let Ok(read) = Partial::of(spoilt) {
                    prop_assert!(is_possible(&read.stdout) && is_possible(&read.stderr));
                    prop_assert!(bytes(&read).len() < FROM_AGENT_MAX);
                    prop_assert_eq!(Partial::of(&bytes(&read)).ok(), Some(read));
                }
            }
        }

        #[test]
        fn fuzz_no_record_makes_it_panic(bytes in vec(any::<u8>(), 0..40)) {
            let read = Partial::of(&bytes);
            prop_assert!(read.is_ok() || matches!(read, Err(Malformed::Unreadable(message)) if !message.is_empty()));
        }
    }

    fn records(name: &str) -> Records {
        let directory = std::env::temp_dir().join(format!("arl-records-{}-{name}", std::process::id()));
        fs::create_dir_all(directory.join(STATE)).unwrap();
        let records = Records::open(&directory).unwrap();
        fs::create_dir(records.path("runs")).unwrap();
        records
    }

    #[test]
    fn the_longest_log_is_read_whole() {
        let records = records("longest");
        let run = RunId::new("r").unwrap();
        let output =
            |kept: usize| Excerpt { head: vec![b'x'; kept / 4], tail: vec![b'x'; kept - kept / 4], total: 1 << 40 };
        let step = |index, kept| RunMessage::Step {
            run: run.clone(),
            index,
            started_us: u64::MAX,
            ended_us: u64::MAX,
            end: StepEnd::Exited(-1),
            stdout: output(kept),
            stderr: output(kept),
        };
        // As it is before room is made for the last of them.
        let mut log: Vec<_> = (0..63).map(|index| step(index, RUN_MAX / 63 / 2)).collect();
        log.push(step(63, HEAD + TAIL));
        let survivors = vec!["x".repeat(100); 1000];
        log.push(RunMessage::Ended { run: run.clone(), end: RunEnd::Completed, survivors });
        records.append(&run, &log).unwrap();
        assert!(records.log(&run) == log);
        fs::remove_dir_all(&records.directory).unwrap();
    }

    #[test]
    fn of_any_number_of_messages_or_runs_few_are_read() {
        let records = records("number");
        for number in 0..2 * BEGUN_MAX {
            records.create(&RunId::new(&number.to_string()).unwrap()).unwrap();
        }
        let run = RunId::new("r").unwrap();
        records.append(&run, &vec![RunMessage::Pong; 2 * LOG_MESSAGES_MAX]).unwrap();
        assert_eq!(records.log(&run).len(), LOG_MESSAGES_MAX);
        let begun = records.begun();
        assert_eq!((begun.len(), begun.last()), (BEGUN_MAX, Some(&run)));
        fs::remove_dir_all(&records.directory).unwrap();
    }
}
