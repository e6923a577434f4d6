//! `kubectl arl` with inputs, outputs, files and signals that are not as usual.

use std::{fs::File, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::{
    cli::{arl, begun, binary, command, ended, nothing_is_claimed, served, signalled},
    harness::{operator::repeat, setup::root, wait::DEADLINE},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_sent_to_a_process_and_not_waited_for() {
    let world = served("cli-signal", 1).await;
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    let script = "trap 'touch /workspace/got' USR1; echo begun; while :; do sleep 0.1; done";
    let child = begun(&world, &["exec", "s", "--", "sh", "-c", script]).await;
    let id = arl(&world, &["ps", "s", "-o", "name"]).await.out();
    let id = id.trim().rsplit('/').next().unwrap();
    let sent = arl(&world, &["kill", "s", id, "-s", "USR1"]).await.out();
    assert_eq!(sent, format!("{id} signalled\n"));
    let waits = "while ! [ -e /workspace/got ]; do sleep 0.1; done";
    arl(&world, &["exec", "s", "--timeout", "60s", "--", "sh", "-c", waits]).await.out();
    assert_eq!(signalled(child, "-TERM").await, Some(143), "it ran on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_cannot_be_read_is_not_taken_for_its_part() {
    let world = served("cli-input", 1).await;
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    let directory = File::open("/").unwrap();
    let arguments = ["exec", "s", "--", "sh", "-c", "cat; echo whole"];
    let mut command = command(&world, &arguments).await;
    command.stdin(Stdio::from(directory));
    let done = ended(command).await;
    assert_eq!((done.code, done.out.as_str()), (Some(125), ""), "{done:?}");
    assert!(done.err.contains("standard input cannot be read"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_was_ignored_at_the_start_stays_so() {
    let world = served("cli-nohup", 1).await;
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    let binary = binary().await;
    let kubeconfig = root().join(".cluster/kubeconfig");
    let script = "echo begun; while ! [ -e /workspace/go ]; do sleep 0.1; done; exit 3";
    let mut child = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$0\" \"$@\""])
        .arg(binary)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["--namespace", &world.ns, "exec", "s", "--", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    tokio::time::timeout(DEADLINE, out.read_line(&mut line)).await.expect("it prints").unwrap();
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().await.unwrap().success());
    arl(&world, &["exec", "s", "--", "touch", "/workspace/go"]).await.out();
    let ended = tokio::time::timeout(DEADLINE, child.wait()).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_into_a_pipe_and_through_a_link() {
    let world = served("cli-special", 1).await;
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    arl(&world, &["exec", "s", "--", "sh", "-c", "echo content > /workspace/f"]).await.out();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();

    assert!(Command::new("mkfifo").arg(at("pipe")).status().await.unwrap().success());
    let mut reader = Command::new("cat").arg(at("pipe")).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut read = String::new();
    let mut out = BufReader::new(reader.stdout.take().unwrap());
    arl(&world, &["cp", "s:/workspace/f", &at("pipe")]).await.out();
    tokio::time::timeout(DEADLINE, out.read_line(&mut read)).await.expect("the pipe was written").unwrap();
    assert_eq!(read, "content\n");

    std::fs::write(at("file"), "old, and longer").unwrap();
    std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
    arl(&world, &["cp", "s:/workspace/f", &at("link")]).await.out();
    assert!(std::fs::symlink_metadata(at("link")).unwrap().is_symlink());
    assert_eq!(std::fs::read_to_string(at("file")).unwrap(), "content\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_heard_while_nobody_reads() {
    let world = served("cli-unread", 2).await;
    for (signal, code) in [("-TERM", 143), ("-INT", 130)] {
        let mut child = command(&world, &["run", "p", "--", "yes"]).await.spawn().unwrap();
        let out = child.stdout.take().unwrap();
        // A pipe holds 64 KiB, in pages that need not be full.
        let full = repeat(|| (rustix::io::ioctl_fionread(&out).unwrap() > 60_000).then_some(()));
        tokio::time::timeout(DEADLINE, full).await.expect("the pipe is filled");
        assert_eq!(signalled(child, signal).await, Some(code));
        nothing_is_claimed(&world).await;
    }
}
