//! Output that nobody reads: a signal ends us all the same.

use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{home, kubectl_arl};

/// For what is waited for.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// A pipe holds 64 KiB, in pages that need not be full.
const FULL: u64 = 60_000;

/// Asks again and again until there is an answer.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not so: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

pub fn code(child: &mut Child) -> Option<i32> {
    eventually("it has ended", || child.try_wait().unwrap()).code()
}

#[test]
fn a_signal_is_heard_while_nobody_reads() {
    let (home, _) = home();
    for (signalled, expected) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let arguments = ["get", "pools", "-o", "json", "-n", "large"];
        let mut child = kubectl_arl(home.path()).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let is_full = || rustix::io::ioctl_fionread(&out).unwrap() >= FULL;
        eventually("the pipe is full", || is_full().then_some(()));
        signal(&child, signalled);
        assert_eq!(code(&mut child), Some(expected));
    }
}

#[test]
fn a_signal_is_heard_while_nobody_writes() {
    let (home, _) = home();
    for arguments in [&["task", "run", "-f", "-"][..], &["claim", "p", "--setup", "-"]] {
        let mut child = kubectl_arl(home.path()).args(arguments).stdin(Stdio::piped()).spawn().unwrap();
        let status = format!("/proc/{}/status", child.id());
        let is_handled = || {
            std::fs::read_to_string(&status).unwrap().lines().any(|line| {
                line.strip_prefix("SigCgt:").is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & 2 != 0)
            })
        };
        eventually("it handles signals", || is_handled().then_some(()));
        signal(&child, Signal::INT);
        assert_eq!(code(&mut child), Some(130), "{arguments:?}");
    }
}

#[test]
fn a_pod_that_never_answers_does_not_hold_what_the_task_says() {
    let (home, _) = home();
    let mut child =
        kubectl_arl(home.path()).args(["logs", "-f", "t", "-n", "silent"]).stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(code(&mut child), Some(0));
    assert_eq!(std::io::read_to_string(child.stdout.take().unwrap()).unwrap(), "printed\n");
}
