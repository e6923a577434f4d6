//! The process that is exec'd for a stream, and what the supervisor holds of it.

use std::{
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use arl_agent::message::{FromAgent, ToAgent, VERSION};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::pod::{Pod, eventually, sh};

fn descriptors(pod: &Pod) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", pod.supervisors()[0])).unwrap().count()
}

#[test]
fn the_stream_of_a_process_that_is_killed_is_closed() {
    let pod = Pod::new("killed");
    let (mut stream, mut other) = (pod.stream(), pod.stream());
    let before = descriptors(&pod);
    stream.kill();
    eventually("the client reads the end", || stream.is_cut());
    eventually("nothing is held of it", || descriptors(&pod) < before);
    other.say(&ToAgent::Ping);
    assert_eq!(other.hear(), FromAgent::Pong);
}

#[test]
fn the_process_ends_when_its_client_hangs_up() {
    let pod = Pod::new("hangs-up");
    let mut stream = pod.stream();
    stream.hang_up();
    eventually("the process has ended", || stream.has_ended());
    assert!(stream.is_cut());
}

#[test]
fn the_process_ends_with_the_supervisor() {
    let pod = Pod::new("orphan");
    let mut stream = pod.stream();
    pod.kill_supervisor();
    eventually("the process has ended", || stream.has_ended());
}

#[test]
fn nothing_is_held_of_streams_that_ended() {
    let pod = Pod::new("streams");
    let mut kept = pod.stream();
    assert!(kept.run("r", vec![sh("true")]).survivors.is_empty());
    let before = descriptors(&pod);
    (0..20).for_each(|_| drop(pod.stream()));
    eventually("as many as before", || descriptors(&pod) == before);
    kept.say(&ToAgent::Ping);
    assert_eq!(kept.hear(), FromAgent::Pong);
}

/// How often a process has waited for something.
fn waits(process: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn a_stream_for_which_there_is_no_descriptor_waits_and_costs_nothing() {
    let pod = Pod::new("no-descriptors");
    let mut kept = pod.stream();
    let supervisor = Pid::from_raw(pod.supervisors()[0]).unwrap();
    let is_open = |number: &u64| Path::new(&format!("/proc/{}/fd/{number}", supervisor.as_raw_nonzero())).exists();
    let own = getrlimit(Resource::Nofile);
    let limit = |current| prlimit(Some(supervisor), Resource::Nofile, Rlimit { current, ..own }).unwrap();
    let costs_nothing = || {
        let (since, before, waited) = (Instant::now(), pod.processor_time(), waits(supervisor));
        eventually("a second is over", || since.elapsed() > Duration::from_secs(1));
        let (spent, waited) = (pod.processor_time() - before, waits(supervisor) - waited);
        assert!(spent < 20 && waited < 100, "{spent} hundredths of a second, {waited} waits in {:?}", since.elapsed());
    };

    // The last one is taken.
    let free = (0..4096).find(|number| !is_open(number));
    let before = limit(free.map(|free| free + 1));
    let last = UnixStream::connect(pod.state("socket")).unwrap();
    costs_nothing();

    let mut waiting = pod.silent_stream();
    waiting.say(&ToAgent::Hello { version: VERSION, pod: pod.uid() });
    costs_nothing();
    kept.say(&ToAgent::Ping);
    assert_eq!(kept.hear(), FromAgent::Pong);

    limit(before.current);
    assert!(matches!(waiting.hear(), FromAgent::Hello { .. }));
    drop(last);
}
