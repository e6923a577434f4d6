//! The volume: what `install` puts there, who may use it, and how much the agent keeps in it.

use std::{
    fs::File,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::{Command, Output, Stdio},
};

use arl_agent::{
    frame::encode,
    message::{FromAgent, RunEnd, ToAgent},
};

use crate::pod::{Pod, id, own_uid, sh};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn connect(pod: &Pod) -> Output {
    Command::new(pod.path("agent")).arg("connect").arg(&pod.directory).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn only_the_folder_for_records_can_be_written_to() {
    let pod = Pod::new("modes");
    let mut stream = pod.stream();
    assert_eq!(stream.run("r", vec![sh("true")]).end, RunEnd::Completed);
    let volume = pod.directory.parent().unwrap();
    for (name, expected) in [("bin", 0o555), ("bin/agent", 0o555), ("bin/pod", 0o444), ("state", 0o1777)] {
        assert_eq!(mode(&volume.join(name)), expected, "{name}");
    }
    assert_eq!(mode(&pod.state("")) & 0o777, 0o700, "closed to all others");
    pod.install("again");
    assert_eq!(std::fs::read_to_string(volume.join("bin/pod")).unwrap(), "again", "a node may start it once more");
}

#[test]
fn an_operator_that_mounts_the_volume_whole_finds_the_agent() {
    let pod = Pod::new("whole").whole();
    pod.install("whole");
    assert_eq!(pod.stream().run("r", vec![sh("true")]).end, RunEnd::Completed);
    assert_eq!(pod.uid(), "whole");
}

#[test]
fn what_another_user_can_have_put_there_is_not_used() {
    let refused = |name: &str, words: &str, put: &dyn Fn(&Path)| {
        let pod = Pod::new(name);
        put(&pod.directory.join("state").join(own_uid()));
        let ended = connect(&pod);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success() && said.contains(words) && said.contains("in the way"), "{name}: {said}");
    };
    let folder = |own: &Path, mode| {
        std::fs::create_dir(own).unwrap();
        std::fs::set_permissions(own, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    refused("link", "no directory", &|own| symlink(std::env::temp_dir(), own).unwrap());
    refused("file", "no directory", &|own| std::fs::write(own, "").unwrap());
    refused("open", "open to other users", &|own| folder(own, 0o777));
    if own_uid() == "0" {
        refused("owner", "of uid 65534, not of the agent's", &|own| {
            folder(own, 0o700);
            std::os::unix::fs::chown(own, Some(65534), Some(65534)).unwrap();
        });
    }
}

/// A user that owns the folder above could put another folder in the place of the one in use.
#[test]
fn a_folder_that_takes_the_place_of_the_one_in_use_is_not_followed() {
    let pod = Pod::new("swapped");
    let mut stream = pod.stream();
    let (own, aside) = (pod.state(""), pod.directory.join("state/aside"));
    let script = format!("mv {0} {1} && mkdir -p {0}/runs", own.display(), aside.display());
    assert_eq!(stream.run("swaps", vec![sh(&script)]).end, RunEnd::Completed);
    assert_eq!(stream.run("after", vec![sh("true")]).end, RunEnd::Completed);
    assert!(aside.join("runs/after").exists() && !own.join("runs/after").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_volume_on_which_nothing_can_be_executed_is_found_when_it_is_filled() {
    let agent = env!("CARGO_BIN_EXE_arl-agent");
    let folder = std::env::temp_dir().join(format!("arl-agent-{}-noexec", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let script = format!("mount -t tmpfs -o noexec none {0} && exec {agent} install {0}", folder.display());
    let mut tried = Command::new("unshare");
    tried.args(["--map-root-user", "--mount", "sh", "-c", &script]).env("ARL_POD_UID", "uid");
    let ended = tried.output().unwrap();
    let _ = std::fs::remove_dir(&folder);
    let said = String::from_utf8(ended.stderr).unwrap();
    if said.contains("unshare") || said.contains("mount:") {
        eprintln!("not tried, this machine has no namespaces for it: {said}");
        return;
    }
    assert!(!ended.status.success(), "{said}");
    assert!(said.contains("bin/agent") && said.contains("noexec") && said.contains("cannot be executed"), "{said}");
}

#[test]
fn runs_leave_nothing_that_grows_with_their_number() {
    let pod = Pod::new("many");
    let mut stream = pod.stream();
    let files = || std::fs::read_dir(pod.state("runs")).unwrap().count();
    for number in 0..40 {
        let run = format!("forgotten-{number}");
        assert_eq!(stream.run(&run, vec![sh("echo x")]).end, RunEnd::Completed);
        stream.say(&ToAgent::Forget { run: id(&run) });
    }
    stream.say(&ToAgent::Ping);
    assert_eq!(stream.hear(), FromAgent::Pong);
    assert_eq!(files(), 0);
    for number in 0..40 {
        assert_eq!(stream.run(&format!("kept-{number}"), vec![sh("echo x")]).end, RunEnd::Completed);
    }
    assert_eq!(files(), 16, "those whose end is not known to be on record are kept for a while");
    pod.kill_supervisor();
    let mut stream = pod.stream();
    for run in ["forgotten-0", "forgotten-39", "kept-0"] {
        assert_eq!(stream.run(run, vec![sh("echo again")]).end, RunEnd::Forgotten, "{run}");
    }
    assert_eq!(stream.run("kept-39", vec![sh("echo again")]).steps[0].1, "x\n");
}

#[test]
fn a_run_that_prints_much_in_each_step_stays_small() {
    let pod = Pod::new("chatty");
    let mut stream = pod.stream();
    let step = sh("head -c 100000 /dev/zero | tr '\\0' o; head -c 100000 /dev/zero | tr '\\0' e >&2");
    let report = stream.run("r", vec![step; 20]);
    assert!(report.steps.iter().all(|(_, stdout, _)| stdout.len() > 60_000), "all of it is said once");
    let size = std::fs::metadata(pod.state("runs/r")).unwrap().len();
    assert!(size < 600 * 1024, "{size}");
    stream.say(&ToAgent::Follow { run: id("r") });
    let again = stream.report("r");
    assert_eq!(again.steps.len(), 20);
    assert!(
        again.steps[0].1.contains("98976 bytes left out") && again.steps[0].1.len() < 2048,
        "what is left out is counted"
    );
    assert_eq!(again.steps[19], report.steps[19], "the end is whole");
    assert_eq!(std::fs::metadata(pod.state("runs/r")).unwrap().uid().to_string(), own_uid());
}

#[test]
fn of_records_that_the_users_code_made_huge_little_is_read() {
    const HUGE: usize = 64 << 20;
    let pod = Pod::new("huge");
    assert_eq!(pod.stream().run("r", vec![sh("echo x")]).end, RunEnd::Completed);
    pod.kill_supervisor();
    let sparse = |name: &str| File::create(pod.state(name)).unwrap().set_len(1 << 30).unwrap();
    ["runs/sparse", "runs/sparse.partial", "forgotten"].into_iter().for_each(sparse);
    let pong = encode(&FromAgent::Pong);
    std::fs::write(pod.state("runs/pongs"), pong.repeat(HUGE / pong.len())).unwrap();
    let mut stream = pod.stream();
    for run in ["sparse", "pongs"] {
        stream.say(&ToAgent::Follow { run: id(run) });
        let mut heard = std::iter::from_fn(|| Some(stream.hear()));
        let ended = heard.find(|heard| matches!(heard, FromAgent::Ended { .. })).unwrap();
        assert!(matches!(ended, FromAgent::Ended { end: RunEnd::Abandoned(_), .. }), "{run}: {ended:?}");
    }
    for pid in pod.supervisors() {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB")).unwrap();
        assert!(peak.trim().parse::<usize>().unwrap() < 16 * 1024, "{peak} KiB");
    }
    assert_eq!(stream.run("s", vec![sh("echo fine")]).steps[0].1, "fine\n");
}
