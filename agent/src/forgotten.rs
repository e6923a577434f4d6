//! Runs that were forgotten: their results are on record elsewhere, and they are never started again.
//!
//! The file has a line for each, `<run> <second of creation>`, in the order in which they were forgotten. Of all but the last ones
//! only one number is kept, the latest creation: Tasks of a Sandbox run in the order of their creation, so that whatever is
//! created before those, and is not known, was started and forgotten before. The pod does not fill up, however many Tasks it has.

use std::{fmt::Write as _, io::Write as _};

use arl_agent::message::RunId;

use crate::records::{Records, plain, read};

/// So many are kept by name at least, twice as many at most. Clocks of API servers may differ by the time that as many Tasks take.
const KEPT: usize = 1024;
/// More than the file ever has.
const FILE_MAX: u64 = 1024 * 1024;
/// In the file, what stands for those that are not kept by name.
const OLDER: &str = "older";

/// Those of one pod.
#[derive(Debug, Default)]
pub struct Forgotten {
    runs: Vec<(RunId, u64)>,
    /// The latest creation of those that are not kept by name.
    older: u64,
}

impl Forgotten {
    /// Reads what is on record; what is spoilt is passed over.
    pub fn load(records: &Records) -> Self {
        let mut forgotten = Self::default();
        let bytes = read(&records.forgotten(), FILE_MAX).unwrap_or_default();
        for line in String::from_utf8_lossy(&bytes).lines() {
            match line.split_once(' ').and_then(|(name, second)| Some((name, second.parse().ok()?))) {
                Some((OLDER, second)) => forgotten.older = forgotten.older.max(second),
                Some((name, second)) => forgotten.runs.extend(RunId::new(name).map(|run| (run, second))),
                None => {}
            }
        }
        forgotten
    }

    /// Whether this run, created at that second, was started and forgotten.
    pub fn has(&self, run: &RunId, created: Option<u64>) -> bool {
        self.runs.iter().any(|(other, _)| other == run) || created.is_some_and(|created| created < self.older)
    }

    /// Puts a run on record, so that nothing else need be kept of it; fails where that is not written.
    pub fn add(&mut self, records: &Records, run: RunId, created: u64) -> std::io::Result<()> {
        // One that was cut by a full volume spoils no other.
        let line = format!("\n{} {created}", run.as_str());
        plain().append(true).create(true).open(records.forgotten())?.write_all(line.as_bytes())?;
        self.runs.push((run, created));
        if self.runs.len() < 2 * KEPT {
            return Ok(());
        }
        let older = self.runs[..KEPT].iter().map(|(_, created)| *created).fold(self.older, u64::max);
        self.older = older;
        let mut place = 0;
        self.runs.retain(|(_, created)| {
            place += 1;
            // Of the same second some may be new.
            place > KEPT || *created == older
        });
        let mut text = format!("{OLDER} {}", self.older);
        for (run, created) in &self.runs {
            let _ = write!(text, "\n{} {created}", run.as_str());
        }
        // Where that fails the file is longer than it has to be, until the next time.
        let _ = records.replace(&records.forgotten(), text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_are_forgotten_the_file_is_small_and_none_of_them_is_new() {
        let directory = std::env::temp_dir().join(format!("arl-forgotten-{}", std::process::id()));
        std::fs::create_dir_all(directory.join(arl_agent::STATE)).unwrap();
        let records = Records::open(&directory).unwrap();
        let run = |n: u64| RunId::new(&format!("6d0fa0b1-3c1f-4a53-9f5b-{n:012}")).unwrap();
        // A hundred in the same second.
        let created = |n: u64| 1_700_000_000 + n / 100;
        let mut forgotten = Forgotten::default();
        let setup = RunId::new("setup").unwrap();
        forgotten.add(&records, setup.clone(), 0).unwrap();
        for n in 0..20_000 {
            forgotten.add(&records, run(n), created(n)).unwrap();
            assert!(!forgotten.has(&run(n + 1), Some(created(n + 1))), "{n}");
        }
        assert!(std::fs::metadata(records.forgotten()).unwrap().len() < 128 * 1024);
        for forgotten in [forgotten, Forgotten::load(&records)] {
            assert!((0..20_000).all(|n| forgotten.has(&run(n), Some(created(n)))));
            assert!(forgotten.has(&setup, Some(0)));
            assert!((19_000..20_000).all(|n| forgotten.has(&run(n), None)), "whoever does not say when it was created");
            assert!(!forgotten.has(&run(20_000), Some(created(20_000))));
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_is_spoilt_hides_no_other() {
        let directory = std::env::temp_dir().join(format!("arl-spoilt-{}", std::process::id()));
        std::fs::create_dir_all(directory.join(arl_agent::STATE)).unwrap();
        let records = Records::open(&directory).unwrap();
        let bad = "older x\nno name 7\nolder 10\n\na 12\nb";
        std::fs::write(records.forgotten(), bad).unwrap();
        let mut forgotten = Forgotten::load(&records);
        forgotten.add(&records, RunId::new("c").unwrap(), 13).unwrap();
        let loaded = Forgotten::load(&records);
        let has = |name: &str, created| loaded.has(&RunId::new(name).unwrap(), created);
        assert!(has("a", None) && has("c", None) && has("d", Some(9)) && !has("d", Some(10)) && !has("b", None));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
