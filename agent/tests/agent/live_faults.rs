//! What goes wrong around a live process or a file call: keepers that are stopped, input that nobody reads, calls that are given up.

use std::{
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    time::{Duration, Instant},
};

use arl_agent::message::{
    FromAgent, ToAgent,
    error::Kind,
    file::Action,
    live::{Cause, Event, Id, Request, Start, Status},
};
use nix::{
    sys::signal::{Signal, kill as send_signal},
    unistd::Pid,
};

use crate::{
    archives::pack,
    client::{Client, ask, script},
    pod::{Pod, Stream, eventually, processes},
};

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

fn signal_all(pids: &[i32], signal: Signal) {
    for pid in pids {
        send_signal(Pid::from_raw(*pid), signal).unwrap();
    }
}

/// Sends a call with all of its input while its keeper is stopped, so that most of it waits in the supervisor.
fn send_to_a_stopped_keeper(pod: &Pod, stream: &mut Stream, action: Action, input: &[u8]) -> Vec<i32> {
    let id = Id(1 << 32);
    ask(stream, Request::File { id, action, user: None });
    Client::default().until(stream, id.0, |taken| taken.room.is_some());
    eventually("its keeper is there", || !pod.keepers().is_empty());
    let keepers = pod.keepers();
    signal_all(&keepers, Signal::SIGSTOP);
    for (number, piece) in input.chunks(32 * 1024).enumerate() {
        ask(stream, Request::Input { id, offset: (number * 32 * 1024) as u64, data: piece.to_vec() });
    }
    ask(stream, Request::CloseInput { id, offset: input.len() as u64 });
    keepers
}

/// It is complete where the supervisor has it, and only a part of it has come to where it is written.
#[test]
fn a_call_that_is_given_up_changes_nothing_although_all_of_its_input_was_sent() {
    let content = vec![b'x'; 200_000];
    // With a block before it, the first file is as much as a pipe holds.
    let first = vec![b'x'; 64 * 1024 - 512];
    for is_killed in [true, false] {
        let name = format!("faults-given-up-{is_killed}");
        let pod = Pod::new(&name);
        let (old, log, into) = (pod.path("old"), pod.path("log"), pod.path("into"));
        fs::write(&old, "old").unwrap();
        fs::write(&log, "log").unwrap();
        let from = pod.path("from");
        fs::create_dir(&from).unwrap();
        fs::write(from.join("first"), &first).unwrap();
        fs::write(from.join("second"), &content).unwrap();
        let tree = pack(&mut pod.stream(), &from, &["first", "second"]);
        for (action, input) in [
            (Action::Write { path: bytes(&old), mode: None }, &content),
            (Action::Append { path: bytes(&log) }, &content),
            (Action::Unpack { directory: bytes(&into) }, &tree),
        ] {
            let mut stream = pod.stream();
            let keepers = send_to_a_stopped_keeper(&pod, &mut stream, action.clone(), input);
            if is_killed {
                ask(&mut stream, Request::Kill { id: Id(1 << 32), grace_ms: 0 });
                stream.say(&ToAgent::Ping);
                while !matches!(stream.hear(), FromAgent::Pong) {}
                signal_all(&keepers, Signal::SIGCONT);
                let mut client = Client::default();
                let taken = client.until_over(&mut stream, 1 << 32);
                let error = taken.end.take().unwrap_or_else(|| panic!("{action:?}: {taken:?}")).unwrap_err();
                assert_eq!(error.kind, Kind::Aborted, "{action:?}: {error:?}");
            } else {
                drop(stream);
                let mut watcher = pod.stream();
                ask(&mut watcher, Request::WatchActivity);
                while !matches!(watcher.hear(), FromAgent::Live(Event::Activity { clients: 0, .. })) {}
                signal_all(&keepers, Signal::SIGCONT);
                while !matches!(watcher.hear(), FromAgent::Live(Event::Activity { live: 0, .. })) {}
            }
            assert_eq!(fs::read(&old).unwrap(), b"old", "{action:?}");
            assert_eq!(fs::read(&log).unwrap(), b"log", "{action:?}");
            assert!(!into.join("second").exists(), "{action:?}");
        }
    }
}

/// The keeper runs beside the user's code, with its rights.
#[test]
fn a_process_ends_at_its_time_and_on_request_although_it_has_stopped_its_keeper() {
    let pod = Pod::new("faults-stopped");
    let mut stream = pod.stream();
    let mut client = Client::default();
    let stops = "read line; setsid sleep 71202 & kill -STOP $PPID; exec sleep 71201";
    for (id, timeout_ms, cause) in [(1, Some(2000), Cause::TimedOut), (2, None, Cause::Killed)] {
        let start = Start { stdin: true, timeout_ms, grace_ms: Some(0), ..script(id, stops) };
        ask(&mut stream, Request::Start(Box::new(start)));
        client.until(&mut stream, id, |taken| taken.pid.is_some() && taken.room.is_some());
        let keepers = pod.keepers();
        ask(&mut stream, Request::Input { id: Id(id), offset: 0, data: b"go\n".to_vec() });
        if timeout_ms.is_none() {
            eventually("it has stopped its keeper", || !processes("71201").is_empty());
            ask(&mut stream, Request::Kill { id: Id(id), grace_ms: 0 });
        }
        let taken = client.until_over(&mut stream, id);
        assert!(matches!(&taken.end().status, Status::Lost(why) if why.contains("stopped")), "{taken:?}");
        assert_eq!(taken.end().cause, Some(cause));
        eventually("nothing is left", || ["71201", "71202"].iter().all(|word| processes(word).is_empty()));
        eventually("its keeper is gone", || pod.keepers().iter().all(|pid| !keepers.contains(pid)));
    }
}

/// Where nothing is to be written, that nobody reads is all that can happen to a pipe: it is told once, and costs nothing.
#[test]
fn input_that_a_process_has_closed_is_told_at_once_and_costs_no_time() {
    let pod = Pod::new("faults-closed-input");
    let mut stream = pod.stream();
    let mut client = Client::default();
    let closes = script(1, "exec 0<&-; exec sleep 71203");
    ask(&mut stream, Request::Start(Box::new(Start { stdin: true, ..closes })));
    eventually("it runs", || !processes("71203").is_empty());
    let (since, before) = (Instant::now(), pod.processor_time());
    eventually("a second is over", || since.elapsed() > Duration::from_secs(1));
    let spent = pod.processor_time() - before;
    assert!(spent < 20, "{spent} hundredths of a second in {:?}", since.elapsed());
    ask(&mut stream, Request::Kill { id: Id(1), grace_ms: 0 });
    let taken = client.until(&mut stream, 1, |taken| taken.input_closed || taken.end.is_some());
    assert!(taken.input_closed && taken.end.is_none(), "{taken:?}");
    client.until_over(&mut stream, 1);
}
