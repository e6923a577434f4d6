//! The process that is exec'd for a stream, and what the supervisor holds of it.

use std::{
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

#[test]
fn a_stream_for_which_there_is_no_descriptor_waits_and_costs_no_time() {
    let pod = Pod::new("no-descriptors");
    let mut kept = pod.stream();
    let supervisor = Pid::from_raw(pod.supervisors()[0]);
    let is_open = |number: &u64| Path::new(&format!("/proc/{}/fd/{number}", pod.supervisors()[0])).exists();
    let current = (0..).find(|number| !is_open(number));
    let before = prlimit(supervisor, Resource::Nofile, Rlimit { current, ..getrlimit(Resource::Nofile) }).unwrap();
    let mut waiting = pod.silent_stream();
    waiting.say(&ToAgent::Hello { version: VERSION, pod: pod.uid() });
    let (since, spent) = (Instant::now(), pod.processor_time());
    eventually("a second is over", || since.elapsed() > Duration::from_secs(1));
    let spent = pod.processor_time() - spent;
    assert!(spent < 20, "{spent} hundredths of a second in {:?}", since.elapsed());
    kept.say(&ToAgent::Ping);
    assert_eq!(kept.hear(), FromAgent::Pong);
    prlimit(supervisor, Resource::Nofile, before).unwrap();
    assert!(matches!(waiting.hear(), FromAgent::Hello { .. }));
}
