//! What goes wrong around a live process or a file call: keepers that are stopped, input that nobody reads, calls that are given up.

use std::{
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    time::{Duration, Instant},
};

use arl_agent::{
    frame::encode,
    message::{
        FromAgent, ToAgent,
        error::{Error, Kind, MESSAGE_MAX},
        file::{Action, Success},
        live::{Cause, Event, Id, Output, Request, Size, Start, Status, WINDOW},
    },
};
use nix::{
    sys::signal::{Signal, kill as send_signal},
    unistd::Pid,
};

use crate::{
    archives::pack,
    client::{Client, ask, call, run, script, start},
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

/// What a pipe of a file call holds.
const PIPE: usize = 256 * 1024;

/// Sends a call with all of its input while its keeper is stopped, so that most of it waits in the supervisor.
fn send_to_a_stopped_keeper(pod: &Pod, stream: &mut Stream, action: Action, input: &[u8]) -> Vec<i32> {
    let id = Id(1 << 32);
    ask(stream, Request::File { id, action, user: None });
    let mut client = Client::default();
    client.until(stream, id.0, |taken| taken.room.is_some());
    eventually("its keeper is there", || !pod.keepers().is_empty());
    let keepers = pod.keepers();
    signal_all(&keepers, Signal::SIGSTOP);
    for (number, piece) in input.chunks(32 * 1024).enumerate() {
        let offset = (number * 32 * 1024) as u64;
        client.until(stream, id.0, |taken| taken.room.is_some_and(|(_, until)| offset + piece.len() as u64 <= until));
        ask(stream, Request::Input { id, offset, data: piece.to_vec() });
    }
    ask(stream, Request::CloseInput { id, offset: input.len() as u64 });
    keepers
}

/// It is complete where the supervisor has it, and only a part of it has come to where it is written.
#[test]
fn a_call_that_is_given_up_changes_nothing_although_all_of_its_input_was_sent() {
    let content = vec![b'x'; 400_000];
    // With a block before it, the first file is as much as a pipe holds.
    let first = vec![b'x'; PIPE - 512];
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

/// While others add to the file, what is given up cannot be taken out of it again.
#[test]
fn an_append_that_is_given_up_leaves_what_others_have_added() {
    let pod = Pod::new("faults-append");
    let (mut stream, mut client) = (pod.stream(), Client::default());
    let log = pod.path("log");
    ask(&mut stream, Request::File { id: Id(1), action: Action::Append { path: bytes(&log) }, user: None });
    client.until(&mut stream, 1, |taken| taken.room.is_some());
    ask(&mut stream, Request::Input { id: Id(1), offset: 0, data: b"half".to_vec() });
    // Its content waits in a file without a name.
    let spools = |pid: &i32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|open| fs::read_link(open.path()).ok()).any(|to| to.to_string_lossy().ends_with(" (deleted)"))
    };
    eventually("it has begun", || pod.keepers().iter().any(spools));
    fs::write(&log, "of another\n").unwrap();
    ask(&mut stream, Request::Kill { id: Id(1), grace_ms: 0 });
    let error = client.until_over(&mut stream, 1).end.take().unwrap().unwrap_err();
    assert_eq!(error.kind, Kind::Aborted, "{error:?}");
    assert_eq!(fs::read_to_string(&log).unwrap(), "of another\n");
    assert_eq!(call(&mut stream, Action::Append { path: bytes(&log) }, b"whole\n").0, Ok(Success::Count(6)));
    assert_eq!(fs::read_to_string(&log).unwrap(), "of another\nwhole\n");
}

#[test]
fn keepers_that_were_killed_while_they_waited_are_replaced() {
    let pod = Pod::new("faults-spare");
    let mut stream = pod.stream();
    for id in 1..=10 {
        assert_eq!(run(&mut stream, script(id, "echo fine")).stdout(), "fine\n");
        eventually("its keeper waits", || !pod.keepers().is_empty());
        signal_all(&pod.keepers(), Signal::SIGKILL);
        eventually("it is gone", || pod.keepers().is_empty());
    }
}

#[test]
fn an_error_is_told_however_long_the_name_is_that_it_is_about() {
    let pod = Pod::new("faults-names");
    let mut stream = pod.stream();
    let name = "x".repeat(200_000);
    let errors: [Error; 2] = [
        run(&mut stream, start(1, &[&name])).end.unwrap().unwrap_err(),
        call(&mut stream, Action::Stat { path: name.into_bytes(), follow: true }, &[]).0.unwrap_err(),
    ];
    for error in errors {
        assert!(error.kind != Kind::Lost && error.message.len() <= MESSAGE_MAX, "{error:?}");
    }
}

/// What its own buffers still hold when the process ends is more than can be asked for.
#[test]
fn all_that_was_printed_to_a_terminal_arrives_however_late_it_is_taken() {
    let pod = Pod::new("faults-tty");
    let mut stream = pod.stream();
    let mut client = Client { silent: vec![1], ..Client::default() };
    // A terminal holds some 8 KiB, in pieces of which the first may be read in part.
    let size = WINDOW as u64 + 2_000;
    let prints = start(1, &["head", "-c", &size.to_string(), "/dev/zero"]);
    ask(&mut stream, Request::Start(Box::new(Start { tty: Some(Size { rows: 9, columns: 9 }), ..prints })));
    client.until(&mut stream, 1, |taken| taken.offsets[0] == WINDOW as u64);
    let mut asks = pod.stream();
    eventually("it has ended", || {
        ask(&mut asks, Request::List { request: 1 });
        loop {
            if let FromAgent::Live(Event::List { processes, .. }) = asks.hear() {
                break processes[0].ended;
            }
        }
    });
    let since = Instant::now();
    eventually("nobody else is waited for any more", || since.elapsed() > Duration::from_millis(1200));
    client.silent.clear();
    ask(&mut stream, Request::Acknowledge { id: Id(1), output: Output::Stdout, offset: WINDOW as u64 });
    let taken = client.until_over(&mut stream, 1);
    assert_eq!((taken.offsets[0], taken.end().stdout, taken.gaps.len()), (size, size, 0));
}

#[test]
fn all_lists_arrive_however_many_are_asked_for_at_once() {
    let pod = Pod::new("faults-lists");
    let mut stream = pod.stream();
    for id in 1..=12 {
        run(&mut stream, start(id, &["true"]));
    }
    let questions: Vec<u8> = (0..900).flat_map(|request| encode(&ToAgent::Live(Request::List { request }))).collect();
    // One that has asked for nothing else.
    let mut stream = pod.stream();
    stream.send_bytes(&questions);
    for expected in 0..900 {
        let heard = stream.hear();
        assert!(matches!(heard, FromAgent::Live(Event::List { request, .. }) if request == expected), "{heard:?}");
    }
}

#[test]
fn what_nobody_takes_stays_within_its_memory_however_many_print_it() {
    let pod = Pod::new("faults-memory");
    let mut stream = pod.stream();
    run(&mut stream, script(1, "exit"));
    let before = pod.memory();
    let mut client = Client { counts: true, silent: (2..122).collect(), ..Client::default() };
    for id in 2..122 {
        ask(&mut stream, Request::Start(Box::new(script(id, "yes 71204 >&2 & exec yes 71204"))));
        client.until(&mut stream, id, |taken| taken.offsets.iter().all(|offset| *offset > 0));
    }
    stream.say(&ToAgent::Ping);
    let since = Instant::now();
    eventually("they have printed what they may", || since.elapsed() > Duration::from_secs(1));
    let grown = pod.memory().saturating_sub(before);
    for id in 2..122 {
        ask(&mut stream, Request::Kill { id: Id(id), grace_ms: 0 });
    }
    eventually("all have ended", || processes("71204").is_empty());
    assert!(grown < 12 << 20, "{grown}");
}
