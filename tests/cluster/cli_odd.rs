//! `kubectl arl` with files, Tasks and outputs that are not as usual.

use std::{fs::OpenOptions, process::Stdio};

use arl_crds::{Sandbox, WarmPool};
use serde_json::{Value, json};

use crate::{
    cli::{arl, begun, command, ended, served, signalled},
    harness::{
        World,
        make::{manifest, shell},
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn files_that_say_no_length_are_copied_whole() {
    let world = served("cli-proc", 1).await;
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    arl(&world, &["cp", "/proc/sys/kernel/random", "s:/workspace/random"]).await.out();
    let copied = arl(&world, &["exec", "s", "--", "cat", "/workspace/random/boot_id"]).await.out();
    assert_eq!(copied, std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_on_and_is_cancelled_once() {
    let world = served("cli-goes-on", 1).await;
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    let here = tempfile::NamedTempFile::new().unwrap();
    let task = manifest("Task", "t", &json!({"sandboxRef": "s", "steps": [shell("a", "echo begun; sleep 1000")]}));
    std::fs::write(here.path(), task.to_string()).unwrap();
    let err = tempfile::NamedTempFile::new().unwrap();
    let mut run = command(&world, &["task", "run", "-f", here.path().to_str().unwrap()]).await;
    run.stderr(err.reopen().unwrap());
    let child = crate::cli::has_begun(run.spawn().unwrap()).await;
    assert_eq!(signalled(child, "-INT").await, Some(130));
    let said = std::fs::read_to_string(err.path()).unwrap();
    assert!(said.contains("Task t goes on: ") && said.contains("kubectl arl task cancel t"), "{said}");
    let logs = arl(&world, &["logs", "t"]).await;
    assert!(logs.code == Some(0) && logs.err.contains("its step a runs"), "{logs:?}");
    assert_eq!(arl(&world, &["task", "cancel", "t"]).await.out(), "task/t cancelled\n");
    world.finished("t").await;
    assert_eq!(arl(&world, &["task", "cancel", "t"]).await.out(), "task/t had finished: Failed\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn forks_whose_names_nobody_gets_are_released() {
    let world = served("cli-fork-full", 3).await;
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    let mut fork = command(&world, &["fork", "s", "-c", "2"]).await;
    fork.stdout(Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap()));
    let done = ended(fork).await;
    assert!(done.code == Some(125) && done.err.contains("No space left on device"), "{done:?}");
    let only = |all: &[Sandbox]| all.len() == 1 && all[0].metadata.name.as_deref() == Some("s");
    world.all::<Sandbox>("only the first is left", only).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_time_and_nothing_to_end_are_told_apart_from_a_failure() {
    let world = served("cli-none", 1).await;
    arl(&world, &["wait", "pool/p"]).await.out();
    assert_eq!(arl(&world, &["wait", "pool/p", "--timeout", "0"]).await.out(), "warmpool/p ready\n");
    world.sandbox("waits", "none").await;
    world.sandbox_reason("waits", "PoolNotFound").await;
    let late = arl(&world, &["wait", "sandbox/waits", "--timeout", "0"]).await;
    assert!(late.code == Some(124) && late.err.contains("not so now: Sandbox waits: PoolNotFound"), "{late:?}");
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    let refused = arl(&world, &["exec", "s", "--timeout", "0", "--", "true"]).await;
    assert!(refused.code == Some(125) && refused.err.contains("leave it out"), "{refused:?}");
    let none = arl(&world, &["kill", "s", "--all"]).await;
    assert!(none.code == Some(0) && none.err.contains("there are no live processes in Sandbox s"), "{none:?}");
    let _child = begun(&world, &["exec", "s", "--", "sh", "-c", "echo begun; sleep 1000"]).await;
    let listed: Value = serde_json::from_str(&arl(&world, &["ps", "s", "-o", "json"]).await.out()).unwrap();
    let pid = listed[0]["pid"].to_string();
    let some = arl(&world, &["kill", "s", "999999", &pid]).await;
    assert!(some.code == Some(125) && some.out.ends_with("ended\n"), "{some:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_leads_to_its_owner_and_to_a_remedy() {
    let world = World::new("cli-why-pod").await;
    arl(&world, &["pool", "create", "127.0.0.1:1/image:1", "--name", "broken"]).await.out();
    // The kubelet says the one while it tries and the other while it waits.
    let unpulled = |words: &str| ["ImagePullBackOff", "ErrImagePull"].iter().any(|reason| words.contains(reason));
    let told = |pool: &WarmPool| pool.status.iter().flat_map(|status| &status.conditions).any(|c| unpulled(&c.message));
    world.one("broken", "told that its image cannot be pulled", told).await;
    let why = arl(&world, &["why", "broken"]).await.out();
    let pod = why.lines().find_map(|line| line.trim().strip_prefix("Pod ")?.split(':').next()).expect(&why);
    let why = arl(&world, &["why", &format!("pod/{pod}")]).await.out();
    assert!(why.contains("WarmPool broken: ") && unpulled(&why) && why.contains("correct the image's name"), "{why}");
}
