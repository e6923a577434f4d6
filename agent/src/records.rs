//! What the agent keeps on the pod's volume, so that it outlives streams, the supervisor and a container's restart.
//!
//! ```text
//!   pod                      the uid of the pod
//!   lock, socket             the supervisor's
//!   runs/<run>               created exclusively: the run was started. Never removed. What was said of it, as frames, the last of
//!                            which says how it ended
//!   runs/<run>.partial       what the step in progress has printed so far
//! ```
//! What cannot be written (a full volume) is only lost with the supervisor, which keeps it in memory until it is forgotten.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use arl_agent::{
    frame::{self, FROM_AGENT_MAX, Frames, Malformed},
    message::{Excerpt, FromAgent, RunId},
    output::Output,
};
use minicbor::{Decode, Encode};
use nix::libc::O_NONBLOCK;

/// The outputs of a step in progress.
#[derive(Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Partial {
    /// Standard output.
    #[n(0)]
    pub stdout: Excerpt,
    /// Standard error.
    #[n(1)]
    pub stderr: Excerpt,
}

impl Partial {
    /// What `bytes` say, where a step can have printed it. The user's code may have written them, and what is said on from them has
    /// to fit into a frame.
    fn of(bytes: &[u8]) -> Result<Self, Malformed> {
        let partial: Self = minicbor::decode(bytes).map_err(|error| Malformed::Unreadable(error.to_string()))?;
        for excerpt in [&partial.stdout, &partial.stderr] {
            Output::try_from(excerpt.clone()).map_err(|words| Malformed::Unreadable(words.into()))?;
        }
        Ok(partial)
    }
}

/// Notes the uid of the pod, readable to all.
pub fn write_pod(directory: &Path, uid: &str) -> std::io::Result<()> {
    let path = directory.join("pod");
    fs::write(&path, uid)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
}

/// The records of a pod.
#[derive(Clone, Debug)]
pub struct Records {
    directory: PathBuf,
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
    /// Those in `directory`.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The uid of the pod.
    pub fn pod(&self) -> std::io::Result<String> {
        let bytes = read(&self.directory.join("pod"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The file that only one supervisor can have locked.
    pub fn lock(&self) -> PathBuf {
        self.directory.join("lock")
    }

    /// Where the supervisor listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// Where the step in progress notes its outputs.
    pub fn partial(&self, run: &RunId) -> PathBuf {
        self.run(run).with_added_extension("partial")
    }

    fn run(&self, run: &RunId) -> PathBuf {
        self.directory.join("runs").join(run.as_str())
    }

    /// Puts "started" on record, once: the file is either created or found.
    pub fn begin(&self, run: &RunId) -> std::io::Result<Begun> {
        let path = self.run(run);
        let create = || fs::File::create_new(&path).map(|_| Begun::First);
        match create() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(self.directory.join("runs"))?;
                create()
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Begun::Before),
            other => other,
        }
    }

    /// Whether it was ever started.
    pub fn has_begun(&self, run: &RunId) -> bool {
        fs::symlink_metadata(self.run(run)).is_ok()
    }

    /// Adds frames to what was said of a run.
    pub fn append(&self, run: &RunId, frames: &[u8]) -> std::io::Result<()> {
        unhindered().append(true).create(true).open(self.run(run))?.write_all(frames)
    }

    /// What was said of a run, as far as it can be read: its end may be missing, cut or spoilt.
    pub fn log(&self, run: &RunId) -> Vec<FromAgent> {
        let mut frames = Frames::new(FROM_AGENT_MAX);
        frames.push(&read(&self.run(run)).unwrap_or_default());
        std::iter::from_fn(|| frames.take().ok().flatten()).collect()
    }

    /// Drops what a run printed; that it was started, and that it ended, stays.
    pub fn forget(&self, run: &RunId, last: &FromAgent) {
        // A user's code may be in the way: that there is a record, which matters, is not touched.
        let _ = replace(&self.run(run), &frame::encode(last));
        let _ = fs::remove_file(self.partial(run));
    }

    /// What the step in progress had printed when it was last noted; nothing, where that is spoilt.
    pub fn read_partial(&self, run: &RunId) -> Partial {
        let bytes = read_at_most(FROM_AGENT_MAX as u64, &self.partial(run));
        bytes.ok().and_then(|bytes| Partial::of(&bytes).ok()).unwrap_or_default()
    }
}

/// Notes the outputs of the step in progress, at once or not at all.
pub fn write_partial(path: &Path, partial: &Partial) {
    let mut bytes = Vec::new();
    let _ = minicbor::encode(partial, &mut bytes);
    let new = path.with_extension("new");
    // Only for the case that the container dies: a full volume must not end a step.
    let _ = write(&new, &bytes).and_then(|()| fs::rename(&new, path));
}

/// In place: a file that was emptied and filled again is written to disk at once (auto_da_alloc of ext4(5)).
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let file = unhindered().write(true).open(path)?;
    file.write_all_at(bytes, 0)?;
    file.set_len(bytes.len() as u64)
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    read_at_most(u64::MAX, path)
}

fn read_at_most(max: u64, path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    unhindered().read(true).open(path)?.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    unhindered().write(true).create(true).truncate(true).open(path)?.write_all(bytes)
}

/// To open files where the user's code may have put a pipe in their place, at which one would wait for ever.
pub fn unhindered() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(O_NONBLOCK);
    options
}

#[cfg(test)]
mod tests {
    use arl_agent::output::{HEAD, TAIL};
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
            let partial = Partial { stdout, stderr };
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
            prop_assert!(read.is_ok() || matches!(read, Err(Malformed::Unreadable(words)) if !words.is_empty()));
        }
    }
}
