//! The agent as a pod has it, without a pod: the binary, its streams and its records.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod archives;
#[path = "../../../tests/files/mod.rs"]
mod cases;
mod client;
mod endings;
mod files;
mod live;
mod live_faults;
mod live_files;
mod pod;
mod streams;
mod tar_entry;
mod volume;

use std::{os::unix::fs::PermissionsExt, time::Duration};

use arl_agent::message::{FromAgent, RunEnd, Step, StepEnd, ToAgent, VERSION};
use pod::{PATIENCE, Pod, command, eventually, file, id, kill_all, processes, sh, with_env};

#[test]
fn commands_get_exactly_what_they_are_given() {
    let pod = Pod::new("exact");
    let awkward = ["", "a b", "x=y", "new\nline", "'\"$HOME\\", "\u{e9}\u{1f980}", "-n"];
    let step = [&["printf", "[%s]"], &awkward[..]].concat();
    let mut step = with_env(command(&step), "UNUSED", "=");
    step.work_dir = Some("/".into());
    let report = pod.stream().run("r", vec![step, with_env(sh("echo \"$V\"; pwd"), "V", "a'b\n\"c=$d"), sh("cat")]);
    assert_eq!(report.end, RunEnd::Completed);
    assert_eq!(report.steps[0].1, format!("[{}]", awkward.join("][")));
    assert!(report.steps[1].1.starts_with("a'b\n\"c=$d\n/"));
    assert_eq!(report.steps[2], (StepEnd::Exited(0), String::new(), String::new()), "standard input is empty");
}

#[test]
fn exit_codes_are_a_shells() {
    let pod = Pod::new("codes");
    let mut stream = pod.stream();
    let plain = pod.path("plain");
    std::fs::write(&plain, "text").unwrap();
    let mut nowhere = command(&["true"]);
    nowhere.work_dir = Some("/nowhere".into());
    let cases = [
        (sh("exit 3"), 3),
        (sh("kill -TERM $$"), 143),
        (sh("kill -KILL $$"), 137),
        (sh("kill -34 $$"), 162),
        (sh("kill -64 $$"), 192),
        (command(&["no-such-program"]), 127),
        (command(&[plain.to_str().unwrap()]), 126),
        (command(&["/"]), 126),
        (nowhere, 126),
    ];
    for (number, (step, code)) in cases.into_iter().enumerate() {
        let report = stream.run(&format!("r{number}"), vec![step.clone(), sh("true")]);
        assert_eq!(report.steps.len(), 1, "the next step is not started");
        match &report.steps[0].0 {
            StepEnd::Exited(found) | StepEnd::NotExecutable { code: found, .. } => assert_eq!(*found, code, "{step:?}"),
            other => panic!("{step:?}: {other:?}"),
        }
    }
}

/// A program for another C library is there, and its loader is not.
#[test]
fn what_a_program_needs_to_be_started_is_named_where_that_is_missing() {
    let pod = Pod::new("starts");
    let mut stream = pod.stream();
    let (script, foreign) = (pod.path("script"), pod.path("foreign"));
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    let mut program = std::fs::read("/bin/sh").unwrap();
    let name = b"/ld-linux";
    let loader = program.windows(name.len()).position(|bytes| bytes == name);
    program[loader.map_or(0..0, |at| at..at + name.len())]
        .copy_from_slice(&b"/no-linux"[..loader.map_or(0, |_| name.len())]);
    std::fs::write(&foreign, program).unwrap();
    let mut programs = vec!["no-such-program".to_owned(), script.to_string_lossy().into_owned()];
    programs.extend(loader.map(|_| foreign.to_string_lossy().into_owned()));
    for path in [&script, &foreign] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    for (number, program) in programs.into_iter().enumerate() {
        let report = stream.run(&format!("r{number}"), vec![command(&[&program])]);
        let StepEnd::NotExecutable { code: 127, message } = &report.steps[0].0 else { panic!("{report:?}") };
        let words = ["the program is missing", "the interpreter in a script's first line", "the loader of a program"];
        assert!(message.starts_with(&program) && words.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn long_output_keeps_its_ends() {
    let pod = Pod::new("long");
    let report = pod.stream().run("r", vec![sh("echo first; yes | head -c 20000000; echo last; echo aside >&2")]);
    let (end, stdout, stderr) = &report.steps[0];
    assert_eq!((end, stderr.as_str()), (&StepEnd::Exited(0), "aside\n"));
    assert!(stdout.starts_with("first\ny\n") && stdout.ends_with("y\nlast\n") && stdout.contains("left out"));
}

#[test]
fn everything_a_step_started_ends_at_its_time() {
    let pod = Pod::new("timeout");
    let mut stream = pod.stream();
    let script = "echo begun; setsid sleep 71001 & (setsid setsid sh -c 'sleep 71002 & sleep 71003' &); sleep 71004";
    stream.start("r", Duration::from_millis(500), vec![sh(script), sh("true")]);
    let report = stream.report("r");
    assert_eq!((&report.end, report.survivors.len()), (&RunEnd::TimedOut, 0));
    assert_eq!(report.steps, [(StepEnd::Stopped, "begun\n".into(), String::new())]);
    for word in ["71001", "71002", "71003", "71004"] {
        assert_eq!(processes(word), [0; 0], "sleep {word}");
    }
}

#[test]
fn a_fork_bomb_ends_at_its_time() {
    let pod = Pod::new("bomb");
    let mut stream = pod.stream();
    // Bounded by its own count, since a machine may have no limit.
    let script = "f() { [ $1 -gt 0 ] || return; f $(($1-1)) & f $(($1-1)) & sleep 71006; }; f 7";
    stream.start("r", Duration::from_secs(1), vec![sh(script)]);
    let report = stream.report("r");
    assert_eq!((report.end, report.survivors.len()), (RunEnd::TimedOut, 0));
    assert_eq!(processes("71006"), [0; 0]);
}

#[test]
fn what_is_cancelled_ends_and_the_next_run_begins() {
    let pod = Pod::new("cancel");
    let mut stream = pod.stream();
    stream.start("a", PATIENCE, vec![sh("echo here; sleep 71010"), sh("echo never")]);
    stream.until_started("a");
    stream.start("b", PATIENCE, vec![sh("echo next")]);
    stream.start("c", PATIENCE, vec![sh("echo never")]);
    stream.say(&ToAgent::Cancel { run: id("c") });
    assert_eq!(stream.report("c").end, RunEnd::Cancelled, "before it began");
    eventually("the command runs", || !processes("71010").is_empty());
    stream.say(&ToAgent::Cancel { run: id("a") });
    let report = stream.report("a");
    assert_eq!((report.end, report.steps[0].1.as_str()), (RunEnd::Cancelled, "here\n"));
    assert_eq!(processes("71010"), [0; 0]);
    assert_eq!(stream.report("b").steps[0].1, "next\n");
    assert_eq!(stream.run("c", vec![sh("echo never")]).steps.len(), 0, "what was cancelled is never started");
}

#[test]
fn what_a_success_leaves_lives_on_and_what_a_failure_leaves_does_not() {
    let pod = Pod::new("background");
    let mut stream = pod.stream();
    let chatter = "sh -c 'while true; do echo chatter; sleep 0.01; done' 71022 & ";
    let script = format!("{chatter} sleep 71020 & echo done");
    let report = stream.run("good", vec![sh(&script), sh("true")]);
    assert_eq!((report.end, report.steps.len()), (RunEnd::Completed, 2), "its pipes are not waited for");
    assert!(report.steps[0].1.contains("done\n"));
    let report = stream.run("bad", vec![sh("sleep 71021 & exit 1")]);
    assert_eq!(report.steps[0].0, StepEnd::Exited(1));
    assert_eq!((processes("71020").len(), processes("71021").len()), (1, 0));
    kill_all("71022");
    kill_all("71020");
    eventually("the process that is left is reaped", || processes("71020").is_empty());
}

#[test]
fn one_process_runs_step_after_step_until_something_stays_with_it() {
    let pod = Pod::new("worker");
    let mut stream = pod.stream();
    let mut keeper = |run: &str, step| {
        let report = stream.run(run, vec![step]);
        let (end, stdout, _) = &report.steps[0];
        assert_eq!((end, &report.end), (&StepEnd::Exited(0), &RunEnd::Completed), "{report:?}");
        stdout.trim().to_owned()
    };
    let first = keeper("first", Step { work_dir: Some("/tmp".into()), ..sh("pwd >&2; echo $PPID") });
    let second = keeper("second", sh("test $(pwd) != /tmp; echo $PPID"));
    assert_eq!(first, second, "it is the same process, back in its directory");
    assert_eq!(keeper("third", sh("sleep 71050 & echo $PPID")), first);
    let fourth = keeper("fourth", sh("echo $PPID"));
    assert_ne!(fourth, first, "the first one stays with what the third step left behind");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(fourth.parse().unwrap()), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    eventually("it is gone", || !std::path::Path::new(&format!("/proc/{fourth}")).exists());
    assert_ne!(keeper("fifth", sh("echo $PPID")), fourth, "one that was killed meanwhile is replaced");
    kill_all("71050");
    eventually("nobody stays for nothing", || processes("step").iter().all(|pid| pid.to_string() != first));
}

#[test]
fn a_run_is_started_once_however_often_it_is_asked_for() {
    let pod = Pod::new("once");
    let line = format!("echo line >>{}", pod.path("lines").display());
    let mut first = pod.stream();
    first.start("r", PATIENCE, vec![sh(&line), sh("sleep 0.3"), sh("echo end")]);
    first.start("r", PATIENCE, vec![sh(&line)]);
    first.until_started("r");
    drop(first);
    let mut second = pod.stream();
    second.start("r", PATIENCE, vec![sh(&line)]);
    let report = second.report("r");
    assert_eq!((report.end, report.steps.len(), report.steps[2].1.as_str()), (RunEnd::Completed, 3, "end\n"));
    let again = second.run("r", vec![sh(&line)]);
    assert_eq!((again.end, again.steps.len()), (RunEnd::Completed, 3), "everything is said again");
    pod.kill_supervisor();
    let mut third = pod.stream();
    let again = third.run("r", vec![sh(&line)]);
    assert_eq!((again.end, again.steps.len()), (RunEnd::Completed, 3), "from the records too");
    third.say(&ToAgent::Forget { run: id("r") });
    let again = third.run("r", vec![sh(&line)]);
    assert_eq!((again.end, again.steps.len()), (RunEnd::Forgotten, 0), "its output is dropped, its start is not");
    assert_eq!(std::fs::read_to_string(pod.path("lines")).unwrap(), "line\n");
}

#[test]
fn a_run_never_started_is_unknown() {
    let pod = Pod::new("unknown");
    let mut stream = pod.stream();
    stream.say(&ToAgent::Follow { run: id("r") });
    assert_eq!(stream.hear(), FromAgent::Unknown { run: id("r") });
}

#[test]
fn a_killed_supervisor_is_said_with_what_was_printed() {
    let pod = Pod::new("killed");
    let mut stream = pod.stream();
    stream.start("r", PATIENCE, vec![sh("echo one"), sh("echo two; sleep 71030")]);
    let partial = pod.state("runs/r.partial");
    eventually("the output is noted", || std::fs::read(&partial).is_ok_and(|b| b.windows(3).any(|w| w == b"two")));
    pod.kill_supervisor();
    eventually("nothing is left", || processes("71030").is_empty());
    let report = pod.stream().run("r", vec![sh("echo again")]);
    assert!(matches!(report.end, RunEnd::Abandoned(_)), "{report:?}");
    assert_eq!(report.steps.len(), 2);
    assert_eq!(report.steps[1], (StepEnd::Stopped, "two\n".into(), String::new()));
}

#[test]
fn a_step_that_kills_its_keeper_fails_and_leaves_nothing() {
    let pod = Pod::new("keeper");
    let mut stream = pod.stream();
    let report = stream.run("r", vec![sh("sleep 71040 & kill -KILL $PPID; sleep 71041")]);
    assert!(matches!(report.end, RunEnd::Interrupted(_)), "{report:?}");
    assert_eq!((processes("71040").len(), processes("71041").len()), (0, 0));
    assert_eq!(stream.run("s", vec![sh("echo fine")]).steps[0].1, "fine\n");
}

#[test]
fn a_step_that_destroys_the_records_is_still_reported() {
    let pod = Pod::new("destroy");
    let mut stream = pod.stream();
    let report = stream.run("r", vec![sh(&format!("echo gone; rm -rf {}/*", pod.directory.join("state").display()))]);
    assert_eq!((report.end, report.steps[0].1.as_str()), (RunEnd::Completed, "gone\n"));
    assert_eq!(stream.run("s", vec![sh("echo fine")]).steps[0].1, "fine\n", "the stream is still of use");
}

#[test]
fn pipes_in_place_of_the_records_make_nobody_wait() {
    let pod = Pod::new("pipes");
    let mut stream = pod.stream();
    let script = format!(
        "cd {}; rm -f r1; for f in r1 r1.partial; do mkfifo $f; done; echo made; sleep 0.3; echo on",
        pod.state("runs").display()
    );
    let report = stream.run("r1", vec![sh(&script)]);
    assert_eq!(report.steps, [(StepEnd::Exited(0), "made\non\n".into(), String::new())]);
    stream.say(&ToAgent::Forget { run: id("r1") });
    assert_eq!(stream.run("r2", vec![sh("echo fine")]).end, RunEnd::Completed);
    pod.kill_supervisor();
    let mut stream = pod.stream();
    stream.say(&ToAgent::Follow { run: id("r1") });
    assert_eq!(stream.report("r1").end, RunEnd::Forgotten);
}

#[test]
fn files_are_replaced_whole() {
    let pod = Pod::new("files");
    let mut stream = pod.stream();
    let (new, old, link) = (pod.path("a/b/new"), pod.path("old"), pod.path("link"));
    std::fs::write(&old, "old").unwrap();
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o751)).unwrap();
    std::os::unix::fs::symlink(&old, &link).unwrap();
    let steps = vec![file(&new, "n\n"), file(&link, "changed"), file(&pod.path("a"), "no")];
    let report = stream.run("r", steps);
    assert_eq!((&report.steps[0].0, &report.steps[1].0), (&StepEnd::Written, &StepEnd::Written));
    assert!(matches!(&report.steps[2].0, StepEnd::NotWritten(words) if words.contains("is a directory")));
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((std::fs::read_to_string(&old).unwrap().as_str(), mode(&old), mode(&new)), ("changed", 0o751, 0o644));
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    let mut relative = file("c/d".as_ref(), "r");
    relative.work_dir = Some(pod.path("a").to_string_lossy().into_owned());
    assert_eq!(stream.run("s", vec![relative]).steps[0].0, StepEnd::Written);
    assert_eq!(std::fs::read_to_string(pod.path("a/c/d")).unwrap(), "r");
}

#[test]
fn work_for_another_pod_is_refused() {
    let pod = Pod::new("other");
    let mut stream = pod.silent_stream();
    stream.say(&ToAgent::Hello { version: VERSION, pod: "another".into() });
    let heard = stream.hear();
    assert!(matches!(&heard, FromAgent::Refused(words) if words.contains("another")), "{heard:?}");
}

#[test]
fn what_is_no_message_ends_the_stream_and_nothing_else() {
    let pod = Pod::new("garbage");
    let mut good = pod.stream();
    let mut bad = pod.silent_stream();
    bad.say(&ToAgent::Follow { run: id("r") });
    eventually("the stream is closed", || bad.has_ended());
    good.say(&ToAgent::Ping);
    assert_eq!(good.hear(), FromAgent::Pong);
}
