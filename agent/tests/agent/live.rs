//! Live processes: what they are given, what they print, and how they end.

use std::{
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use arl_agent::{
    frame::encode,
    message::{
        FromAgent, RunEnd, ToAgent, Variable,
        error::{Kind, MESSAGE_MAX},
        live::{Cause, ENDED_MAX, End, Event, Id, LIVE_MAX, Output, Request, Size, Start, Status, WINDOW},
    },
};

use crate::{
    client::{Client, ask, kill, run, script, start},
    pod::{PATIENCE, Pod, command, eventually, kill_all, own_uid, processes, sh},
};

fn exited(code: i32) -> Status {
    Status::Exited(code)
}

#[test]
fn a_process_gets_what_it_is_given_and_its_end_is_told() {
    let pod = Pod::new("live-exact");
    let mut stream = pod.stream();
    let taken = run(&mut stream, script(1, "echo out; echo err >&2; pwd; cat; exit 3"));
    let home = pod.path("work").canonicalize().unwrap();
    assert_eq!(taken.stdout(), format!("out\n{}\n", home.display()), "standard input is empty");
    assert_eq!(taken.stderr(), "err\n");
    let end = taken.end();
    assert_eq!((&end.status, end.cause, end.stdout, end.stderr), (&exited(3), None, taken.offsets[0], 4));
    assert!(end.started_ago_us >= end.ended_ago_us);
    let awkward = ["", "a b", "x=y", "new\nline", "'\"$HOME\\", "\u{e9}\u{1f980}", "-n"];
    let env = vec![Variable { name: "V".into(), value: "a'b\n\"=$d".into() }];
    let taken = run(&mut stream, start(2, &[&["printf", "[%s]"], &awkward[..]].concat()));
    assert_eq!(taken.stdout(), format!("[{}]", awkward.join("][")));
    let taken = run(&mut stream, Start { env, cwd: Some("/".into()), ..script(3, "echo \"$V\"; pwd") });
    assert_eq!(taken.stdout(), "a'b\n\"=$d\n/\n");
    assert_eq!(run(&mut stream, script(4, "kill -34 $$")).end().status, Status::Signalled(34));
}

#[test]
fn what_cannot_be_started_is_a_typed_error() {
    let pod = Pod::new("live-errors");
    let mut stream = pod.stream();
    let plain = pod.path("plain");
    std::fs::write(&plain, "text").unwrap();
    let name = |name: &str| Variable { name: name.into(), value: String::new() };
    let cases = [
        (start(1, &["no-such-program"]), Kind::NotFound),
        (start(2, &[plain.to_str().unwrap()]), Kind::NotExecutable),
        (start(3, &[]), Kind::Invalid),
        (start(4, &["a\0b"]), Kind::Invalid),
        (Start { cwd: Some("/nowhere".into()), ..start(5, &["true"]) }, Kind::NoWorkingDirectory),
        (Start { user: Some("nobody-at-all".into()), ..start(6, &["true"]) }, Kind::NoSuchUser),
        (Start { env: vec![name("a=b")], ..start(7, &["true"]) }, Kind::Invalid),
        (start(8, &["true", &"x".repeat(1 << 20)]), Kind::TooLarge),
        (start(9, &[&"x".repeat(100_000)]), Kind::NotFound),
    ];
    for (start, kind) in cases {
        let error = run(&mut stream, start).end.unwrap().unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
        assert!(error.message.len() <= MESSAGE_MAX, "whatever it names");
    }
    ask(&mut stream, Request::Follow { id: Id(1), stdout: 0, stderr: 0 });
    let heard = stream.hear();
    let FromAgent::Live(Event::Failed { id: Id(1), error }) = heard else { panic!("{heard:?}") };
    assert_eq!(error.kind, Kind::Unknown, "it never ran");
    assert_eq!(run(&mut stream, script(1, "echo ok")).stdout(), "ok\n");
}

#[test]
fn input_arrives_and_a_gigabyte_of_it_needs_no_memory() {
    let pod = Pod::new("live-input");
    let mut stream = pod.stream();
    let mut client = Client::default();
    ask(&mut stream, Request::Start(Box::new(Start { stdin: true, ..start(1, &["cat"]) })));
    client.input(&mut stream, 1, b"hello\n");
    let taken = client.until_over(&mut stream, 1);
    assert_eq!((taken.stdout().as_str(), &taken.end().status), ("hello\n", &exited(0)));

    ask(&mut stream, Request::Start(Box::new(Start { stdin: true, ..start(2, &["wc", "-c"]) })));
    let before = pod.memory();
    let bytes = vec![b'x'; 1 << 30];
    client.input(&mut stream, 2, &bytes);
    let grown = pod.memory().saturating_sub(before);
    assert_eq!(client.until_over(&mut stream, 2).stdout().trim(), (1 << 30).to_string());
    assert!(grown < 4 << 20, "{grown} bytes more");

    // One that does not read is not waited for, and neither are the others.
    ask(&mut stream, Request::Start(Box::new(Start { stdin: true, ..start(3, &["sleep", "71110"]) })));
    let room = client.until(&mut stream, 3, |taken| taken.room.is_some()).room.unwrap().1;
    for offset in (0..room).step_by(32 * 1024) {
        ask(&mut stream, Request::Input { id: Id(3), offset, data: vec![0; 32 * 1024] });
    }
    assert_eq!(run(&mut stream, script(4, "echo on")).stdout(), "on\n");
    let granted = client.until(&mut stream, 3, |taken| taken.room.is_some()).room.unwrap().1;
    ask(&mut stream, Request::Input { id: Id(3), offset: room, data: vec![0; 256 * 1024] });
    let rejected = client.until(&mut stream, 3, |taken| !taken.rejected.is_empty());
    assert_eq!(rejected.rejected[0].kind, Kind::Invalid, "granted {granted}");
    kill(&mut stream, 3);
    assert_eq!(client.until_over(&mut stream, 3).end().cause, Some(Cause::Killed));
}

#[test]
fn a_client_that_takes_nothing_slows_the_process_and_none_does_not() {
    let pod = Pod::new("live-window");
    let mut stream = pod.stream();
    let mut client = Client { silent: vec![1], counts: true, ..Client::default() };
    let progress = pod.path("progress");
    let chatter =
        format!("i=0; while :; do i=$((i+1)); head -c 65536 /dev/zero; echo $i >{}; done", progress.display());
    ask(&mut stream, Request::Start(Box::new(script(1, &chatter))));
    let window = WINDOW as u64;
    client.until(&mut stream, 1, |taken| taken.offsets[0] >= window);
    let lines = || std::fs::read_to_string(&progress).unwrap_or_default().trim().parse::<u64>().unwrap_or_default();
    let blocked = |limit: u64| {
        // Others work meanwhile, so that there is time for what must not happen.
        for n in 0..20 {
            assert_eq!(run(&mut pod.stream(), script(100 + n, "sleep 0.02; echo x")).stdout(), "x\n");
        }
        assert!(lines() <= limit, "{} of {limit}", lines());
    };
    // The window, and what a pipe holds.
    blocked((WINDOW / 65536 + 2) as u64);
    assert_eq!(client.of(Id(1)).offsets[0], window);
    ask(&mut stream, Request::Unfollow { id: Id(1) });
    let before = lines();
    eventually("it goes on while nobody follows", || lines() > before + 100);

    ask(&mut stream, Request::Follow { id: Id(1), stdout: window, stderr: 0 });
    client.silent.clear();
    let taken = client.until(&mut stream, 1, |taken| !taken.gaps.is_empty());
    assert_eq!(taken.gaps[0].0, window, "what is gone is told");
    kill(&mut stream, 1);
    let taken = client.until_over(&mut stream, 1);
    assert_eq!((taken.end().stdout, taken.gaps.len()), (taken.offsets[0], 1), "and only that");
}

#[test]
fn a_kill_and_a_timeout_end_the_whole_tree() {
    let pod = Pod::new("live-tree");
    let mut stream = pod.stream();
    let tree = "echo begun; setsid sleep 71101 & (setsid setsid sh -c 'sleep 71102 & sleep 71103' &); sleep 71104";
    for (id, timeout_ms, cause) in [(1, None, Cause::Killed), (2, Some(500), Cause::TimedOut)] {
        ask(&mut stream, Request::Start(Box::new(Start { timeout_ms, ..script(id, tree) })));
        let mut client = Client::default();
        client.until(&mut stream, id, |taken| !taken.outputs[0].is_empty());
        eventually("all are there", || {
            timeout_ms.is_some() || (71101..71105).all(|n| !processes(&n.to_string()).is_empty())
        });
        if timeout_ms.is_none() {
            kill(&mut stream, id);
        }
        let taken = client.until_over(&mut stream, id);
        assert_eq!((taken.stdout().as_str(), taken.end().cause), ("begun\n", Some(cause)));
        assert_eq!((&taken.end().status, taken.end().survivors.len()), (&Status::Signalled(15), 0));
        for n in 71101..71105 {
            assert_eq!(processes(&n.to_string()), [0; 0], "sleep {n}");
        }
    }
    let deaf = "trap '' TERM; echo begun; while :; do sleep 0.05; done";
    ask(&mut stream, Request::Start(Box::new(Start { grace_ms: Some(300), timeout_ms: Some(200), ..script(3, deaf) })));
    let mut client = Client::default();
    let taken = client.until_over(&mut stream, 3);
    assert_eq!((&taken.end().status, taken.end().cause), (&Status::Signalled(9), Some(Cause::TimedOut)));
    let tidy = "trap 'echo bye; exit 7' TERM; echo begun; while :; do sleep 0.05; done";
    ask(&mut stream, Request::Start(Box::new(script(4, tidy))));
    client.until(&mut stream, 4, |taken| !taken.outputs[0].is_empty());
    kill(&mut stream, 4);
    let taken = client.until_over(&mut stream, 4);
    assert_eq!((taken.stdout().as_str(), &taken.end().status), ("begun\nbye\n", &exited(7)));
}

#[test]
fn processes_start_with_no_signal_blocked() {
    let pod = Pod::new("live-blocked");
    let mut stream = pod.stream();
    let mut client = Client::default();
    let blocked = ["grep", "SigBlk", "/proc/self/status"];
    let tty = Some(Size { rows: 3, columns: 80 });
    assert_eq!(run(&mut stream, start(1, &blocked)).stdout(), "SigBlk:\t0000000000000000\n");
    assert_eq!(stream.run("task", vec![command(&blocked)]).steps[0].1, "SigBlk:\t0000000000000000\n");
    ask(&mut stream, Request::Start(Box::new(Start { tty, ..script(2, "echo ready; exec sleep 71141") })));
    client.until(&mut stream, 2, |taken| taken.stdout().contains("ready"));
    ask(&mut stream, Request::Input { id: Id(2), offset: 0, data: vec![3] });
    assert_eq!(client.until_over(&mut stream, 2).end().status, Status::Signalled(2));
}

#[test]
fn signals_reach_the_process_and_its_group() {
    let pod = Pod::new("live-signals");
    let mut stream = pod.stream();
    let mut client = Client::default();
    let waits = "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done";
    ask(&mut stream, Request::Start(Box::new(script(1, waits))));
    client.until(&mut stream, 1, |taken| taken.stdout().contains("ready"));
    ask(&mut stream, Request::Signal { id: Id(1), signal: 10 });
    client.until(&mut stream, 1, |taken| taken.stdout().contains("usr1"));
    for signal in [0, 65, -9, i32::MAX] {
        ask(&mut stream, Request::Signal { id: Id(1), signal });
    }
    client.until(&mut stream, 1, |taken| taken.rejected.len() == 4);
    ask(&mut stream, Request::Signal { id: Id(1), signal: 9 });
    let taken = client.until_over(&mut stream, 1);
    assert_eq!((&taken.end().status, taken.end().cause), (&Status::Signalled(9), None));
}

#[test]
fn what_a_process_leaves_in_the_background_lives_on_until_it_is_killed() {
    let pod = Pod::new("live-left");
    let mut stream = pod.stream();
    let taken = run(&mut stream, script(1, "(while :; do echo more; sleep 0.01; done) & sleep 71120 & echo up"));
    assert_eq!(taken.end().status, exited(0));
    assert!(taken.stdout().contains("up\n"));
    assert_eq!(processes("71120").len(), 1);
    for id in 2..6 {
        assert_eq!(run(&mut stream, script(id, "(sleep 0.3; echo LATE) & exit 3")).stdout(), "LATE\n");
    }
    kill(&mut stream, 1);
    eventually("it is gone", || processes("71120").is_empty());
    assert!(run(&mut stream, script(6, "sleep 71121 >/dev/null 2>&1 & echo up")).end().ended_ago_us < 900_000);
    kill_all("71121");
}

fn followed(stream: &mut crate::pod::Stream, client: &mut Client, id: u64) {
    let [stdout, stderr] = client.of(Id(id)).offsets;
    ask(stream, Request::Follow { id: Id(id), stdout, stderr });
}

/// The client does not know what of its input arrived before its stream broke.
#[test]
fn input_goes_on_over_another_connection() {
    let pod = Pod::new("live-resent");
    let mut stream = pod.stream();
    let mut client = Client::default();
    ask(&mut stream, Request::Start(Box::new(Start { stdin: true, ..start(1, &["cat"]) })));
    client.until(&mut stream, 1, |taken| taken.room.is_some());
    ask(&mut stream, Request::Input { id: Id(1), offset: 0, data: b"one two".to_vec() });
    client.until(&mut stream, 1, |taken| taken.offsets[0] == 7);
    drop(stream);
    let mut stream = pod.stream();
    client.of(Id(1)).room = None;
    followed(&mut stream, &mut client, 1);
    assert_eq!(client.until(&mut stream, 1, |taken| taken.room.is_some()).room.unwrap().0, 7);
    ask(&mut stream, Request::Input { id: Id(1), offset: 4, data: b"two three".to_vec() });
    for _ in 0..2 {
        ask(&mut stream, Request::CloseInput { id: Id(1), offset: 13 });
    }
    let taken = client.until_over(&mut stream, 1);
    assert_eq!((taken.stdout().as_str(), taken.rejected.len(), taken.input_closed), ("one two three", 0, false));
}

/// The connection is cut at any moment; every line comes once, or is in a gap that was told.
#[test]
fn fifty_printers_are_followed_over_many_connections() {
    const LINES: u64 = 4000;
    let pod = Pod::new("live-cuts");
    let mut stream = pod.stream();
    let mut client = Client::default();
    let line = |n: u64| format!("{n:09}\n");
    let mut seed = 0x9e37_79b9_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for id in 1..=50 {
        let prints =
            format!("i=0; while [ $i -lt {LINES} ]; do printf '%09d\\n' $i; i=$((i+1)); done; exit {}", id % 7);
        let slow = format!("n=0; while [ $n -lt 20 ]; do sleep 0.1; n=$((n+1)); done; {prints}");
        let which = if id % 5 == 0 { slow } else { prints };
        ask(&mut stream, Request::Start(Box::new(script(id, &which))));
    }
    let mut cuts = 0;
    while (1..=50).any(|id| client.of(Id(id)).end.is_none()) {
        for _ in 0..random(60) {
            if (1..=50).all(|id| client.of(Id(id)).end.is_some()) {
                break;
            }
            client.step(&mut stream);
        }
        drop(stream);
        cuts += 1;
        stream = pod.stream();
        for id in (1..=50).filter(|id| client.taken.get(id).is_none_or(|taken| taken.end.is_none())).collect::<Vec<_>>()
        {
            followed(&mut stream, &mut client, id);
        }
    }
    assert!(cuts > 20, "{cuts}");
    let size = line(0).len() as u64;
    for (id, taken) in &client.taken {
        let end = taken.end();
        assert_eq!((&end.status, end.stdout), (&exited(i32::try_from(id % 7).unwrap()), LINES * size), "{id}");
        let missing: u64 = taken.gaps.iter().map(|(from, to)| to - from).sum();
        assert_eq!(taken.outputs[0].len() as u64 + missing, LINES * size, "{id}");
        let mut gaps = taken.gaps.iter().peekable();
        let mut expected = (0..LINES * size).filter(|at| {
            while gaps.next_if(|(_, to)| at >= to).is_some() {}
            gaps.peek().is_none_or(|(from, _)| at < from)
        });
        for byte in &taken.outputs[0] {
            let at = expected.next().unwrap();
            assert_eq!(*byte, line(at / size).as_bytes()[usize::try_from(at % size).unwrap()], "{id} at {at}");
        }
    }
}

#[test]
fn a_start_that_is_repeated_starts_nothing_and_an_end_is_kept_until_it_is_forgotten() {
    let pod = Pod::new("live-once");
    let mut stream = pod.stream();
    let lines = pod.path("lines");
    let line = script(1, &format!("echo line >>{}; echo done", lines.display()));
    assert_eq!(run(&mut stream, line.clone()).stdout(), "done\n");
    drop(stream);
    let mut stream = pod.stream();
    assert_eq!(run(&mut stream, line.clone()).stdout(), "done\n", "from its beginning");
    assert_eq!(std::fs::read_to_string(&lines).unwrap(), "line\n");
    ask(&mut stream, Request::List { request: 7 });
    let FromAgent::Live(Event::List { request: 7, processes }) = stream.hear() else { panic!() };
    assert_eq!(processes.len(), 1);
    assert!(processes[0].ended && processes[0].command.starts_with("sh -c echo line") && processes[0].background);
    ask(&mut stream, Request::Forget { id: Id(1) });
    ask(&mut stream, Request::Follow { id: Id(1), stdout: 0, stderr: 0 });
    let mut client = Client::default();
    assert_eq!(client.until_over(&mut stream, 1).end.as_ref().unwrap().as_ref().unwrap_err().kind, Kind::Unknown);
}

/// Starts that are sent again, on whatever stream and however late, start nothing.
#[test]
fn a_process_is_started_once_whatever_became_of_its_end() {
    let pod = Pod::new("live-again");
    let mut stream = pod.stream();
    let lines = pod.path("lines");
    let line = |id| script(id, &format!("echo {id} >>{}", lines.display()));
    // Nobody takes the end of the first: so many end after it that it is dropped.
    let others = ENDED_MAX as u64 + 6;
    ask(&mut stream, Request::Start(Box::new(line(1))));
    let mut client = Client::default();
    client.until_over(&mut stream, 1);
    for id in 2..others {
        run(&mut stream, start(id, &["true"]));
    }
    // The end of another is taken.
    run(&mut stream, line(others));
    ask(&mut stream, Request::Forget { id: Id(others) });
    let mut again = pod.stream();
    for id in [1, others] {
        let error = run(&mut again, line(id)).end.unwrap().unwrap_err();
        assert_eq!(error.kind, Kind::Lost, "{error:?}");
    }
    assert_eq!(std::fs::read_to_string(&lines).unwrap(), format!("1\n{others}\n"));
}

#[test]
fn an_agent_that_knows_nothing_of_earlier_processes_says_that_it_is_another_one() {
    let pod = Pod::new("live-instance");
    let instance = || {
        let mut stream = pod.silent_stream();
        stream.say(&ToAgent::Hello { version: 2, pod: pod.uid() });
        let FromAgent::Hello { instance: Some(instance), .. } = stream.hear() else { panic!("it says which it is") };
        instance
    };
    let first = instance();
    assert_eq!(instance(), first);
    pod.kill_supervisor();
    assert_ne!(instance(), first);
}

#[test]
fn a_foreground_process_ends_without_its_client_and_a_background_one_does_not() {
    let pod = Pod::new("live-alone");
    let mut stream = pod.stream();
    let alone = |id, alone_ms| Start { alone_ms, ..script(id, &format!("echo up; sleep 7113{id}")) };
    for start in [alone(1, Some(300)), alone(2, None), alone(3, Some(600_000))] {
        ask(&mut stream, Request::Start(Box::new(start)));
    }
    let mut client = Client::default();
    for id in 1..4 {
        client.until(&mut stream, id, |taken| !taken.outputs[0].is_empty());
    }
    eventually("all run", || !processes("71131").is_empty());
    drop(stream);
    eventually("the first has ended", || processes("71131").is_empty());
    let mut stream = pod.stream();
    for id in 1..4 {
        followed(&mut stream, &mut client, id);
    }
    assert_eq!(client.until_over(&mut stream, 1).end().cause, Some(Cause::Abandoned));
    assert_eq!((processes("71132").len(), processes("71133").len()), (1, 1));
    for id in 2..4 {
        kill(&mut stream, id);
        assert_eq!(client.until_over(&mut stream, id).end().cause, Some(Cause::Killed));
    }
}

#[test]
fn a_terminal_has_a_size_echoes_and_passes_signals_on() {
    let pod = Pod::new("live-tty");
    let mut stream = pod.stream();
    let mut client = Client::default();
    let tty = Some(Size { rows: 33, columns: 111 });
    let wants = "tty >/dev/null && echo is; stty size; echo $TERM; trap 'stty size' WINCH; trap 'echo int; exit 4' INT; \
                 read line; echo got $line; while :; do sleep 0.05; done";
    ask(&mut stream, Request::Start(Box::new(Start { tty, ..script(1, wants) })));
    client.until(&mut stream, 1, |taken| taken.stdout().contains("xterm"));
    assert!(client.of(Id(1)).stdout().starts_with("is\r\n33 111\r\n"), "{:?}", client.of(Id(1)).stdout());
    ask(&mut stream, Request::Input { id: Id(1), offset: 0, data: b"word\n".to_vec() });
    client.until(&mut stream, 1, |taken| taken.stdout().contains("got word"));
    ask(&mut stream, Request::Resize { id: Id(1), size: Size { rows: 50, columns: 99 } });
    client.until(&mut stream, 1, |taken| taken.stdout().contains("50 99"));
    ask(&mut stream, Request::Input { id: Id(1), offset: 5, data: vec![3] });
    let taken = client.until_over(&mut stream, 1);
    assert_eq!((&taken.end().status, taken.stderr().as_str()), (&exited(4), ""));
    ask(&mut stream, Request::Start(Box::new(Start { tty, ..start(2, &["cat"]) })));
    client.input(&mut stream, 2, b"typed\n");
    assert_eq!(client.until_over(&mut stream, 2).end().status, exited(0), "closed input is the end of a terminal's");
    assert_eq!(run(&mut stream, script(3, "exit 0")).end().status, exited(0));
    ask(&mut stream, Request::Start(Box::new(script(4, "sleep 71140"))));
    ask(&mut stream, Request::Resize { id: Id(4), size: Size { rows: 1, columns: 1 } });
    client.until(&mut stream, 4, |taken| !taken.rejected.is_empty());
    kill(&mut stream, 4);
    client.until_over(&mut stream, 4);
}

#[test]
fn another_user_has_its_own_groups_home_and_rights() {
    let pod = Pod::new("live-user");
    let mut stream = pod.stream();
    if own_uid() != "0" {
        let error =
            run(&mut stream, Start { user: Some("12345".into()), ..start(1, &["id"]) }).end.unwrap().unwrap_err();
        assert_eq!(error.kind, Kind::CannotSwitchUser);
        return;
    }
    let as_user =
        |id, user: &str, text: &str| Start { user: Some(user.into()), cwd: Some("/".into()), ..script(id, text) };
    let taken = run(&mut stream, as_user(1, "nobody", "id -u; id -g; echo $HOME $USER; cat /etc/shadow"));
    assert_eq!(taken.stdout().lines().next(), Some("65534"), "{taken:?}");
    assert!(taken.stdout().contains(" nobody\n") && taken.stderr().to_lowercase().contains("permission denied"));
    let taken = run(&mut stream, as_user(2, "12345:54321", "id -u; id -G; echo $HOME"));
    assert_eq!(taken.stdout(), "12345\n54321\n/\n");
    assert_eq!(run(&mut stream, script(3, "id -u")).stdout(), "0\n", "the next one is root again");
    let tty = Some(Size { rows: 3, columns: 3 });
    let taken = run(&mut stream, Start { tty, ..as_user(4, "nobody", "exec <$(tty) && id -u") });
    assert!(taken.stdout().contains("65534"), "{taken:?}");
    let closed = pod.path("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    let program = closed.join("program").to_string_lossy().into_owned();
    let start = Start { user: Some("nobody".into()), cwd: Some("/".into()), ..start(5, &[&program]) };
    let error = run(&mut stream, start).end.unwrap().unwrap_err();
    assert!(error.message.contains("may not be searched") && !error.message.contains("chmod"), "{error:?}");
}

#[test]
fn as_many_as_may_be_run_at_once_and_runs_of_tasks_beside_them() {
    let pod = Pod::new("live-many");
    let mut stream = pod.stream();
    let mut client = Client::default();
    let many = LIVE_MAX as u64;
    for id in 1..=many {
        ask(&mut stream, Request::Start(Box::new(start(id, &["sleep", "71150"]))));
    }
    for id in 1..=many {
        client.until(&mut stream, id, |taken| taken.pid.is_some() || taken.end.is_some());
        assert!(client.of(Id(id)).end.is_none(), "{:?}", client.of(Id(id)).end);
    }
    ask(&mut stream, Request::Start(Box::new(start(many + 1, &["true"]))));
    let error = client.until_over(&mut stream, many + 1).end.take().unwrap().unwrap_err();
    assert_eq!(error.kind, Kind::TooMany);
    let since = Instant::now();
    let report = pod.stream().run("task", vec![sh("echo task"), sh("exit 1")]);
    assert_eq!((report.end, report.steps[0].1.as_str()), (RunEnd::Completed, "task\n"));
    assert!(since.elapsed() < Duration::from_secs(5));
    assert_eq!(processes("71150").len(), LIVE_MAX, "a step that failed ends nothing of them");
    for id in 1..=many {
        ask(&mut stream, Request::Kill { id: Id(id), grace_ms: 0 });
    }
    for id in 1..=many {
        client.until_over(&mut stream, id);
    }
    assert_eq!(run(&mut stream, script(many + 2, "echo again")).stdout(), "again\n");
}

#[test]
fn a_killed_keeper_is_told_and_leaves_nothing_and_disturbs_nobody() {
    let pod = Pod::new("live-keeper");
    let mut stream = pod.stream();
    let mut client = Client::default();
    ask(&mut stream, Request::Start(Box::new(start(1, &["sleep", "71160"]))));
    stream.start("task", PATIENCE, vec![sh("sleep 1; echo fine")]);
    let killer = "trap 'kill -KILL $PPID' USR1; setsid sleep 71161 & echo up; while :; do sleep 0.1; done";
    ask(&mut stream, Request::Start(Box::new(script(2, killer))));
    client.until(&mut stream, 2, |taken| taken.stdout() == "up\n");
    ask(&mut stream, Request::Signal { id: Id(2), signal: 10 });
    let taken = client.until_over(&mut stream, 2);
    assert!(matches!(&taken.end().status, Status::Lost(_)), "{taken:?}");
    assert_eq!(taken.stdout(), "up\n");
    eventually("nothing is left", || processes("71161").is_empty());
    assert_eq!(processes("71160").len(), 1);
    loop {
        match stream.hear() {
            FromAgent::Step { stdout, .. } => assert_eq!(stdout.head, b"fine\n"),
            FromAgent::Ended { end, .. } => break assert_eq!(end, RunEnd::Completed),
            _ => {}
        }
    }
    kill(&mut stream, 1);
    client.until_over(&mut stream, 1);
}

#[test]
fn of_a_process_whose_keeper_is_killed_at_once_it_is_said_that_its_outcome_is_not_known() {
    let pod = Pod::new("live-keeper-at-once");
    let mut stream = pod.stream();
    let mut client = Client::default();
    for id in 1..=20 {
        ask(&mut stream, Request::Start(Box::new(script(id, "echo up; kill -KILL $PPID; sleep 71163"))));
        let taken = client.until_over(&mut stream, id);
        // Told in this order, or not at all: see `Client::take`.
        let is_lost = match taken.end.as_ref().unwrap() {
            Ok(end) => matches!(end.status, Status::Lost(_)) && taken.pid.is_some(),
            Err(error) => error.kind == Kind::Lost && taken.pid.is_none() && taken.stdout().is_empty(),
        };
        assert!(is_lost, "{taken:?}");
    }
    eventually("nothing is left", || processes("71163").is_empty());
}

#[test]
fn floods_delay_no_task_and_no_other_process() {
    let pod = Pod::new("live-flood");
    let mut flooded = pod.stream();
    let mut client = Client { counts: true, silent: (1..=5).collect(), ..Client::default() };
    for id in 1..=10 {
        ask(&mut flooded, Request::Start(Box::new(start(id, &["yes", "71191"]))));
    }
    for id in 1..=10 {
        client.until(&mut flooded, id, |taken| taken.offsets[0] > 100_000);
    }
    // Five are followed and not taken, five are not even followed.
    for id in 6..=10 {
        ask(&mut flooded, Request::Unfollow { id: Id(id) });
    }
    let mut stream = pod.stream();
    for n in 0..10 {
        let report = stream.run(&format!("task-{n}"), vec![sh("echo task")]);
        assert_eq!((report.end, report.steps[0].1.as_str()), (RunEnd::Completed, "task\n"));
        assert_eq!(run(&mut stream, script(100 + n, "echo live")).stdout(), "live\n");
    }
    assert!(pod.memory() < 16 << 20, "{}", pod.memory());
    for id in 1..=10 {
        ask(&mut stream, Request::Kill { id: Id(id), grace_ms: 0 });
        client.silent.clear();
        ask(&mut flooded, Request::Forget { id: Id(id) });
    }
    eventually("all have ended", || processes("71191").is_empty());
}

/// What a client gets that takes nothing is bounded by what it asked for, not by its connection.
#[test]
fn a_client_that_reads_nothing_costs_no_memory() {
    let pod = Pod::new("live-stuck");
    let mut stuck = pod.stream();
    stuck.stop();
    for id in 1..=30 {
        ask(&mut stuck, Request::Start(Box::new(start(id, &["yes", "71192"]))));
    }
    let mut stream = pod.stream();
    eventually("all run", || processes("71192").len() == 30);
    for n in 0..20 {
        assert_eq!(run(&mut stream, script(100 + n, "sleep 0.02; echo live")).stdout(), "live\n");
    }
    assert!(pod.memory() < 20 << 20, "{}", pod.memory());
    for id in 1..=30 {
        ask(&mut stream, Request::Kill { id: Id(id), grace_ms: 0 });
    }
    eventually("all have ended", || processes("71192").is_empty());
}

#[test]
fn what_a_killed_supervisor_kept_is_unknown_and_ends() {
    let pod = Pod::new("live-supervisor");
    let mut stream = pod.stream();
    let mut client = Client::default();
    ask(&mut stream, Request::Start(Box::new(script(1, "setsid sleep 71170 & echo up; sleep 71171"))));
    client.until(&mut stream, 1, |taken| !taken.outputs[0].is_empty());
    pod.kill_supervisor();
    eventually("nothing is left", || processes("71170").is_empty() && processes("71171").is_empty());
    let mut stream = pod.stream();
    followed(&mut stream, &mut client, 1);
    let error = client.until_over(&mut stream, 1).end.take().unwrap().unwrap_err();
    assert_eq!(error.kind, Kind::Unknown, "an end that is not known is not made up");
}

#[test]
fn activity_is_told_to_who_asked_and_only_when_it_changes() {
    let pod = Pod::new("live-activity");
    let mut watcher = pod.stream();
    ask(&mut watcher, Request::WatchActivity);
    let mut activity = |expected: (bool, bool)| {
        let heard = watcher.hear();
        let FromAgent::Live(Event::Activity { live, clients, idle_us }) = heard else { panic!("{heard:?}") };
        assert_eq!((live > 0, clients > 0), expected);
        idle_us.map(Duration::from_micros)
    };
    assert_eq!(activity((false, false)), None, "there never was any");
    let mut stream = pod.stream();
    let mut client = Client::default();
    ask(&mut stream, Request::Start(Box::new(start(1, &["sleep", "71180"]))));
    assert_eq!(activity((true, true)), None);
    client.until(&mut stream, 1, |taken| taken.pid.is_some());
    drop(stream);
    let mut stream = pod.stream();
    followed(&mut stream, &mut client, 1);
    kill(&mut stream, 1);
    client.until_over(&mut stream, 1);
    drop(stream);
    let idle = activity((false, false)).unwrap();
    assert!(idle >= Duration::from_secs(1), "told when it has lasted: {idle:?}");
    let mut late = pod.stream();
    ask(&mut late, Request::WatchActivity);
    let heard = late.hear();
    let FromAgent::Live(Event::Activity { idle_us: Some(later), .. }) = heard else { panic!("{heard:?}") };
    assert!(Duration::from_micros(later) >= idle, "who asks later is told when it was");
}

/// One of version 1 is told the version of the agent, and nothing that it does not know.
#[test]
fn an_older_operator_goes_on_with_this_agent() {
    let pod = Pod::new("live-old");
    let mut new = pod.stream();
    let mut old = pod.silent_stream();
    old.say(&ToAgent::Hello { version: 1, pod: pod.uid() });
    assert!(matches!(old.hear(), FromAgent::Hello { version: 2, .. }));
    assert_eq!(run(&mut new, script(1, "echo live")).stdout(), "live\n");
    let report = old.run("r", vec![sh("echo task")]);
    assert_eq!((report.end, report.steps[0].1.as_str()), (RunEnd::Completed, "task\n"));
}

#[test]
fn commands_may_have_as_many_descriptors_as_the_container_gives() {
    let pod = Pod::new("live-limits");
    let mut limited = std::process::Command::new("prlimit");
    limited.arg("--nofile=1024:2048").arg(pod.path("agent"));
    if std::process::Command::new("prlimit").arg("--version").output().is_err() {
        eprintln!("not tried: there is no prlimit here");
        return;
    }
    let mut stream = pod.stream_of(limited);
    assert_eq!(run(&mut stream, script(1, "ulimit -Sn; ulimit -Hn")).stdout(), "1024\n2048\n");
    assert_eq!(stream.run("r", vec![sh("ulimit -Sn")]).steps[0].1, "1024\n");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", pod.supervisors()[0])).unwrap();
    assert!(limits.lines().any(|line| line.starts_with("Max open files") && line.contains("2048 ")), "{limits}");
}

#[test]
fn nonsense_is_rejected_and_harms_nobody() {
    let pod = Pod::new("live-nonsense");
    let mut stream = pod.stream();
    let mut client = Client::default();
    ask(&mut stream, Request::Start(Box::new(Start { stdin: true, ..start(1, &["cat"]) })));
    let big = u64::MAX;
    for request in [
        Request::Acknowledge { id: Id(1), output: Output::Stdout, offset: big },
        Request::Acknowledge { id: Id(2), output: Output::Stderr, offset: 1 },
        Request::Input { id: Id(1), offset: big, data: vec![1; 9] },
        Request::Input { id: Id(2), offset: 0, data: vec![1; 9] },
        Request::CloseInput { id: Id(1), offset: big },
        Request::Follow { id: Id(1), stdout: big, stderr: big },
        Request::Follow { id: Id(2), stdout: big, stderr: big },
        Request::Unfollow { id: Id(9) },
        Request::Forget { id: Id(1) },
        Request::Kill { id: Id(9), grace_ms: big },
        Request::Resize { id: Id(1), size: Size { rows: 0, columns: 0 } },
    ] {
        ask(&mut stream, request);
    }
    // Far more answers than anybody takes.
    let mut greedy = pod.stream();
    let question = encode(&ToAgent::Live(Request::List { request: 1 }));
    greedy.send_bytes(&question.repeat(200_000));
    client.input(&mut stream, 1, b"whole");
    let taken = client.until_over(&mut stream, 1);
    assert_eq!((taken.stdout().as_str(), &taken.end().status), ("whole", &exited(0)));
    stream.say(&ToAgent::Ping);
    let End { stdout, .. } = *taken.end();
    assert_eq!(stdout, 5);
    assert!(pod.memory() < 12 << 20, "{}", pod.memory());
}
