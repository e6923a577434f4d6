//! The process that is exec'd for a stream, and what the supervisor holds of it.

use arl_agent::message::{FromAgent, ToAgent};

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
