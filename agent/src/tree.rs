//! Ending process trees.
//!
//! A reaper (prctl PR_SET_CHILD_SUBREAPER) is an ancestor of all that its command ever starts, whatever session or group that
//! moves to: so the tree is what descends from the reaper, read from /proc.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use rustix::process::{WaitOptions, WaitStatus};

/// How long a killed process may take to go: one in uninterruptible sleep does not.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// How often processes that were started during the grace are looked for.
pub const SCAN_EVERY: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(2);

#[derive(Clone, Debug)]
struct Process {
    parent: i32,
    name: String,
    /// Whether all of it has: the first of its threads may, and the others go on.
    has_ended: bool,
}

/// Every descendant of this process but those under `spared`, which are spared themselves.
fn descendants(spared: &BTreeSet<i32>) -> BTreeMap<i32, Process> {
    let found = from_parents(spared);
    // Where a process ends while the list is read, others may be missing in it: that there is none has to be certain.
    if found.is_empty() && has_children() { from_all(spared) } else { found }
}

/// From parent to child, which costs as much as there are descendants; nothing, where the kernel has no lists of children.
fn from_parents(spared: &BTreeSet<i32>) -> BTreeMap<i32, Process> {
    let (mut found, mut parents) = (BTreeMap::new(), vec![Pid::this().as_raw()]);
    while let Some(parent) = parents.pop() {
        for thread in fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            for pid in children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()) {
                if !spared.contains(&pid)
                    && let Some(process) = read(pid)
                    && found.insert(pid, process).is_none()
                {
                    parents.push(pid);
                }
            }
        }
    }
    found
}

fn read(pid: i32) -> Option<Process> {
    parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// From all processes that there are.
fn from_all(spared: &BTreeSet<i32>) -> BTreeMap<i32, Process> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        all.extend(pid.and_then(|pid| Some((pid, read(pid)?))));
    }
    let own = Pid::this().as_raw();
    let is_ours = |pid: i32| {
        let mut at = pid;
        while let Some(process) = all.get(&at) {
            if spared.contains(&at) {
                return false;
            }
            if process.parent == own {
                return true;
            }
            at = process.parent;
        }
        false
    };
    all.iter().filter(|(pid, _)| is_ours(**pid)).map(|(pid, process)| (*pid, process.clone())).collect()
}

/// As in proc(5). The name may hold anything, parentheses included; what follows the last one is plain.
fn parse(stat: &[u8]) -> Option<Process> {
    let (open, close) = (stat.iter().position(|b| *b == b'(')?, stat.iter().rposition(|b| *b == b')')?);
    let mut rest = stat.get(close + 2..)?.split(|b| *b == b' ');
    let is_zombie = rest.next()? == b"Z";
    let parent = std::str::from_utf8(rest.next()?).ok()?.parse().ok()?;
    let threads = rest.nth(15)?;
    let has_ended = is_zombie && matches!(threads, b"0" | b"1");
    Some(Process { parent, name: String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned(), has_ended })
}

/// Sends TERM to every descendant, once each: `asked` are those that have had it. Returns whether any is left.
pub fn ask(asked: &mut BTreeSet<i32>) -> bool {
    let mut left = descendants(&BTreeSet::new());
    left.retain(|_, process| !process.has_ended);
    asked.retain(|pid| left.contains_key(pid));
    // In the order of their ids, which is mostly that of their start: a shell that outlived its child would start the next one.
    for pid in left.keys().filter(|pid| asked.insert(**pid)) {
        let _ = kill(Pid::from_raw(*pid), Signal::SIGTERM);
        // One that was stopped would not notice.
        let _ = kill(Pid::from_raw(*pid), Signal::SIGCONT);
    }
    !left.is_empty()
}

/// So many processes that cannot be ended are named.
const SURVIVORS_MAX: usize = 64;

/// Kills every descendant but `spared` and what descends from them; returns those that cannot be ended, such as `12 (sudo)`.
/// `reaped` gets the id and the status of each child that was waited for.
pub fn kill_all(spared: &BTreeSet<i32>, reaped: &mut dyn FnMut(i32, WaitStatus)) -> Vec<String> {
    let since = Instant::now();
    // All are stopped before the first is killed: a stopped process starts no other, and holds its place under a limit.
    let mut stopped = BTreeSet::new();
    loop {
        let running: Vec<i32> = descendants(spared).into_keys().filter(|pid| !stopped.contains(pid)).collect();
        if running.is_empty() || since.elapsed() > PATIENCE / 2 {
            break;
        }
        for pid in running {
            let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
            stopped.insert(pid);
        }
    }
    loop {
        let mut left = descendants(spared);
        left.retain(|_, process| !process.has_ended);
        let is_late = since.elapsed() > PATIENCE;
        let refused = |pid: &&i32| kill(Pid::from_raw(**pid), Signal::SIGKILL) == Err(Errno::EPERM);
        let untouchable = left.keys().filter(refused).count();
        while let Some((pid, status)) = reap() {
            reaped(pid, status);
        }
        if untouchable == left.len() || is_late {
            let named = left.iter().map(|(pid, process)| format!("{pid} ({})", process.name));
            return named.take(SURVIVORS_MAX).collect();
        }
        std::thread::sleep(PAUSE);
    }
}

/// A child that has ended, if there is one. (nix cannot express a death by a real-time signal, and loses the status.)
pub fn reap() -> Option<(i32, WaitStatus)> {
    let (pid, status) = rustix::process::wait(WaitOptions::NOHANG).ok().flatten()?;
    Some((pid.as_raw_nonzero().get(), status))
}

/// Whether this process has children, ended ones included.
pub fn has_children() -> bool {
    // Asks without reaping: ECHILD is the only answer that says no.
    waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT) != Err(Errno::ECHILD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_find_the_same() {
        let mut child = std::process::Command::new("sh").args(["-c", "sleep 71195 & sleep 71195"]).spawn().unwrap();
        let none = BTreeSet::new();
        let pids = |found: BTreeMap<i32, Process>| found.into_keys().collect::<BTreeSet<_>>();
        let since = Instant::now();
        let mut found = BTreeSet::new();
        // Other tests have children too, which come and go.
        while since.elapsed() < Duration::from_secs(20) {
            let (parents, all) = (pids(from_parents(&none)), pids(from_all(&none)));
            if parents == all && parents.len() >= 3 {
                found = parents;
                break;
            }
        }
        let own = i32::try_from(child.id()).unwrap();
        assert!(found.contains(&own), "{found:?}");
        let spared = BTreeSet::from([own]);
        assert!(from_parents(&spared).len() < found.len() && !from_all(&spared).contains_key(&own));
        for pid in found.iter().filter(|pid| !from_all(&spared).contains_key(pid)) {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        let _ = child.wait();
    }

    #[test]
    fn names_cannot_forge_a_parent() {
        let process = parse(&stat("a) R 1 (b", "S", 1)).unwrap();
        assert_eq!((process.parent, process.name.as_str(), process.has_ended), (7, "a) R 1 (b", false));
        assert!(parse(b"12 (cut").is_none());
    }

    fn stat(name: &str, state: &str, threads: u32) -> Vec<u8> {
        format!("12 ({name}) {state} 7 12 12 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 {threads} 0 99 1 2\n").into_bytes()
    }

    #[test]
    fn a_process_has_ended_with_the_last_of_its_threads() {
        for (state, threads, expected) in
            [("Z", 0, true), ("Z", 1, true), ("Z", 2, false), ("S", 1, false), ("T", 2, false)]
        {
            assert_eq!(parse(&stat("a", state, threads)).unwrap().has_ended, expected, "{state} {threads}");
        }
    }
}
