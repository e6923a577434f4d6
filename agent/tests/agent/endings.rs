//! How steps end: with their last words, after a grace, and all of them.

use std::{
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use arl_agent::message::{RunEnd, Step, StepEnd, ToAgent};

use crate::pod::{PATIENCE, Pod, command, eventually, file, id, kill_all, processes, sh};

/// Less than anything here could take by chance, more than a grace and a kill take.
const ENDING_MAX: Duration = Duration::from_secs(5);

#[test]
fn the_last_words_of_a_logger_are_kept() {
    let pod = Pod::new("logger");
    let mut stream = pod.stream();
    for (run, script, code) in [
        ("fails", "(sleep 0.3; echo LATE) & exit 3", 3),
        ("succeeds", "(sleep 0.3; echo LATE) & exit 0", 0),
        ("tee", "mkfifo p; tee log <p & exec >p; rm p; echo THE REASON; exit 4", 4),
    ] {
        let report = stream.run(run, vec![sh(script)]);
        let words = if run == "tee" { "THE REASON\n" } else { "LATE\n" };
        assert_eq!(report.steps, [(StepEnd::Exited(code), words.into(), String::new())], "{run}");
    }
}

#[test]
fn what_holds_the_outputs_open_is_waited_for_a_second_and_no_longer() {
    let pod = Pod::new("holds");
    let mut stream = pod.stream();
    let since = Instant::now();
    let report = stream.run("r", vec![sh("sleep 71060 & echo up"), sh("echo next")]);
    assert!((Duration::from_millis(900)..ENDING_MAX).contains(&since.elapsed()), "{:?}", since.elapsed());
    assert_eq!((report.steps[0].1.as_str(), report.steps[1].1.as_str()), ("up\n", "next\n"));
    assert_eq!(processes("71060").len(), 1, "it lives on");
    kill_all("71060");
    let since = Instant::now();
    let report = stream.run("s", vec![sh("sleep 71061 >/dev/null 2>&1 & echo up")]);
    assert!(since.elapsed() < Duration::from_millis(900), "who does not hold them is not waited for");
    assert_eq!(report.end, RunEnd::Completed);
    kill_all("71061");
}

/// Writes what it is told to a file, and to its output, where TERM arrives; its child has a session of its own.
fn tidy(log: &str) -> String {
    format!(
        "trap 'echo bye; echo outer >>{log}; exit' TERM; \
         setsid sh -c 'trap \"sleep 0.2; echo inner >>{log}; exit\" TERM; echo ready; while :; do sleep 0.05; done' & \
         while :; do sleep 0.05; done"
    )
}

#[test]
fn steps_are_asked_to_end_before_they_are_killed() {
    let pod = Pod::new("term");
    let mut stream = pod.stream();
    for (run, end) in [("timeout", RunEnd::TimedOut), ("cancel", RunEnd::Cancelled)] {
        let log = pod.path(run);
        let timeout = if run == "timeout" { Duration::from_secs(1) } else { PATIENCE };
        stream.start(run, timeout, vec![sh(&tidy(&log.to_string_lossy()))]);
        if run == "cancel" {
            stream.until_started(run);
            stream.say(&ToAgent::Cancel { run: id(run) });
        }
        let report = stream.report(run);
        assert_eq!((&report.end, &report.steps[0].0), (&end, &StepEnd::Stopped));
        if run == "timeout" {
            assert_eq!(report.steps[0].1, "ready\nbye\n", "its output is still read");
            let mut written: Vec<String> = std::fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect();
            written.sort();
            assert_eq!(written, ["inner", "outer"], "each exactly once");
        }
    }
    let log = pod.path("leftover");
    let script = format!("({}) & sleep 0.3; exit 5", tidy(&log.to_string_lossy()));
    let report = stream.run("leftover", vec![sh(&script)]);
    assert_eq!((&report.steps[0].0, report.steps[0].1.as_str()), (&StepEnd::Exited(5), "ready\nbye\n"));
}

#[test]
fn what_ignores_the_request_or_starts_anew_is_killed_after_the_grace() {
    let pod = Pod::new("deaf");
    let mut stream = pod.stream();
    let script = "trap '' TERM; (trap 'setsid sleep 71071 & exit' TERM; while :; do sleep 0.05; done) & \
                  while :; do sleep 71070 & wait; done";
    stream.start("r", Duration::from_millis(500), vec![sh(script)]);
    let since = Instant::now();
    let report = stream.report("r");
    assert_eq!((report.end, report.survivors.len()), (RunEnd::TimedOut, 0));
    let took = since.elapsed();
    assert!((Duration::from_millis(2400)..Duration::from_millis(500) + ENDING_MAX).contains(&took), "{took:?}");
    assert_eq!((processes("71070"), processes("71071")), (vec![], vec![]));
}

#[test]
fn nothing_is_waited_for_where_nothing_is_left() {
    let pod = Pod::new("quick");
    let mut stream = pod.stream();
    let since = Instant::now();
    for run in 0..10 {
        assert_eq!(stream.run(&run.to_string(), vec![sh("exit 1")]).steps[0].0, StepEnd::Exited(1));
    }
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    stream.start("sleeper", Duration::from_millis(300), vec![sh("sleep 71080 & sleep 71080")]);
    let since = Instant::now();
    assert_eq!(stream.report("sleeper").end, RunEnd::TimedOut);
    assert!(since.elapsed() < Duration::from_millis(1800), "they ended when they were asked to: {:?}", since.elapsed());
}

/// As of a program that is started in `current`, a link to the release that is to be used.
#[test]
fn a_working_directory_that_is_a_link_leads_where_the_link_does() {
    let pod = Pod::new("link-home");
    let (current, second) = (pod.path("current"), pod.path("second"));
    std::fs::create_dir(&second).unwrap();
    std::os::unix::fs::symlink(pod.path("work"), &current).unwrap();
    pod.install_in(&current);
    let mut stream = pod.stream();
    let leads_on = sh(&format!("echo old >f; ln -sfn {} {}", second.display(), current.display()));
    let steps = vec![leads_on, sh("echo new >f"), file("g".as_ref(), "new")];
    assert_eq!(stream.run("r", steps).end, RunEnd::Completed);
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    assert_eq!((read(&pod.path("work/f")), read(&second.join("f"))), ("old\n".into(), "new\n".into()));
    assert_eq!(read(&second.join("g")), "new");
}

/// What the template names is not where this container runs: its runtime has the last word.
#[test]
fn a_working_directory_that_is_not_this_one_is_not_used() {
    let pod = Pod::new("other-home");
    pod.install_in("/".as_ref());
    let report = pod.stream().run("r", vec![sh("pwd -P")]);
    assert_eq!(report.steps[0].1.trim_end(), pod.path("work").canonicalize().unwrap().to_string_lossy());
}

/// A process whose first thread has ended looks like one that has.
#[test]
fn a_process_goes_with_all_of_its_threads() {
    // What pthread_exit does in main, by the system call that ends one thread (60 on x86, 93 elsewhere).
    let script = |marker: &str| {
        format!(
            "import ctypes, os, threading, time\nthreading.Thread(target=time.sleep, args=({marker},)).start()\n\
             ctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)"
        )
    };
    let pod = Pod::new("threads");
    let mut stream = pod.stream();
    stream.start("late", Duration::from_secs(1), vec![command(&["python3", "-c", &script("71071")])]);
    let late = stream.report("late");
    assert_eq!((late.end, late.survivors), (RunEnd::TimedOut, Vec::new()));
    assert!(processes("71071").is_empty());
    let left = "python3 -c \"$1\" & until grep -q '^State:.Z' /proc/$!/status; do :; done; exit 3";
    let failed = stream.run("left", vec![command(&["sh", "-c", left, "sh", &script("71072")])]);
    assert_eq!((&failed.steps[0].0, failed.survivors), (&StepEnd::Exited(3), Vec::new()));
    assert!(processes("71072").is_empty());
}

#[test]
fn the_working_directory_is_a_path() {
    let pod = Pod::new("home");
    let mut stream = pod.stream();
    let (work, old) = (pod.path("work"), pod.path("work.old"));
    let in_folder = |step: Step, folder: &str| Step { work_dir: Some(folder.into()), ..step };
    let mv = format!("mv {0} {1} && mkdir -p {0}/sub", work.display(), old.display());
    let report = stream
        .run("moved", vec![sh(&mv), sh("echo new >f"), file("g".as_ref(), "new"), in_folder(sh("echo new >h"), "sub")]);
    assert_eq!(report.end, RunEnd::Completed);
    assert_eq!(report.steps.len(), 4, "{report:?}");
    for name in ["f", "g", "sub/h"] {
        assert!(work.join(name).exists() && !old.join(name).exists(), "{name}");
    }
    std::fs::remove_dir_all(&work).unwrap();
    let words =
        |run: &str, step: Step, stream: &mut crate::pod::Stream| match stream.run(run, vec![step]).steps.remove(0).0 {
            StepEnd::NotExecutable { code: 126, message } | StepEnd::NotWritten(message) => message,
            other => panic!("{other:?}"),
        };
    let path = work.to_string_lossy().into_owned();
    for (run, step) in [("command", sh("true")), ("file", file("f".as_ref(), "x"))] {
        let words = words(run, step, &mut stream);
        assert!(words.contains("working directory") && words.contains(&path), "{words}");
        assert_eq!(words.starts_with("f cannot be written: "), run == "file", "{words}");
    }
    let relative = words("relative", in_folder(sh("true"), "sub"), &mut stream);
    assert!(relative.contains("workDir") && relative.contains(&format!("{path}/sub")), "{relative}");
    let absolute = stream.run("absolute", vec![in_folder(sh("pwd"), "/")]);
    assert_eq!(absolute.steps[0].1, "/\n", "it needs no other");
    std::fs::create_dir(&work).unwrap();
    assert_eq!(stream.run("again", vec![sh("true")]).steps[0].0, StepEnd::Exited(0));
    eventually("nobody is left", || processes("71060").is_empty());
}

/// What cannot be started is named, however it is called: a frame has bounds.
#[test]
fn a_program_that_cannot_be_started_is_named_in_a_few_words() {
    let pod = Pod::new("named");
    let mut stream = pod.stream();
    let script = pod.path("work/run.sh");
    let long = "\u{e9}".repeat(100_000);
    std::fs::write(&script, "echo hi\n").unwrap();
    let path = script.to_string_lossy().into_owned();
    let mut words =
        |run: &str, program: &str, code: i32| match stream.run(run, vec![command(&[program])]).steps.remove(0).0 {
            StepEnd::NotExecutable { code: found, message } if found == code => message,
            other => panic!("{other:?}"),
        };
    let said = words("long", &long, 127);
    assert!(said.starts_with('\u{e9}') && said.len() < 1024, "{} bytes", said.len());
    assert!(words("mode", &path, 126).contains("chmod +x"));
    let said = words("directory", &pod.path("work").to_string_lossy(), 126);
    assert!(said.contains("it is a directory") && !said.contains("chmod"), "{said}");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(words("format", &path, 126).contains("#! line"));
    std::fs::write(&script, "#!/bin/sh\r\necho hi\r\n").unwrap();
    assert!(words("lines", &path, 127).contains("CR LF"));
}
