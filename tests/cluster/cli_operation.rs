//! `kubectl arl`: the verbs that wait, follow, look after an installation and tell of it.

use std::{process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    cli::{arl, command, finished, served},
    harness::{World, make::shell, wait::DEADLINE},
};

/// The next line of an output.
async fn line(out: &mut (impl AsyncBufReadExt + Unpin)) -> String {
    let mut line = String::new();
    tokio::time::timeout(DEADLINE, out.read_line(&mut line)).await.expect("it prints").unwrap();
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_followed_while_it_runs() {
    let world = served("cli-logs", 1).await;
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    let script = "echo one; echo err >&2; until [ -e /workspace/go ]; do sleep 0.05; done; printf '\\377two\\n'";
    world.task("t", "s", json!([shell("a", "echo zero"), shell("b", script), shell("c", "echo three; exit 4")])).await;
    let mut child = command(&world, &["logs", "-f", "t"]).await.spawn().unwrap();
    let mut prefixed = command(&world, &["logs", "-f", "t", "--step", "b", "--prefix"]).await.spawn().unwrap();
    let (mut out, mut err) =
        (BufReader::new(child.stdout.take().unwrap()), BufReader::new(child.stderr.take().unwrap()));
    let mut of_b = BufReader::new(prefixed.stdout.take().unwrap());
    // The step goes on only when these have been read.
    assert_eq!(
        (line(&mut out).await, line(&mut out).await, line(&mut err).await),
        ("zero\n".into(), "one\n".into(), "err\n".into())
    );
    assert_eq!(line(&mut of_b).await, "[b] one\n");
    arl(&world, &["exec", "s", "--", "touch", "/workspace/go"]).await.out();
    let mut rest = Vec::new();
    out.read_until(0, &mut rest).await.unwrap();
    assert_eq!(rest, b"\xfftwo\nthree\n", "bytes are passed on as they are, and none twice");
    let mut rest = Vec::new();
    of_b.read_until(0, &mut rest).await.unwrap();
    assert_eq!(rest, b"[b] \xfftwo\n");
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    // The same once more, from the status.
    let again = arl(&world, &["logs", "t"]).await;
    assert_eq!((again.code, again.out.as_str()), (Some(0), "zero\none\n\u{fffd}two\nthree\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_waited_for() {
    let world = served("cli-wait", 1).await;
    assert_eq!(arl(&world, &["wait", "pool/p"]).await.out(), "warmpool/p ready\n");
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    world.task("t", "s", json!([shell("a", "exit 3")])).await;
    assert_eq!(arl(&world, &["wait", "sandbox/s", "task/t"]).await.out(), "sandbox/s ready\ntask/t finished\n");
    let late = arl(&world, &["wait", "sandbox/s", "--for", "gone", "--timeout", "300ms"]).await;
    assert!(late.code == Some(124) && late.err.contains("Sandbox s is there"), "{late:?}");
    world.sandbox("waits", "none").await;
    let late = arl(&world, &["wait", "sandbox/waits", "--timeout", "2s"]).await;
    assert!(late.code == Some(124) && late.err.contains("Sandbox waits: "), "{late:?}");
    let gone = command(&world, &["wait", "sandbox/s", "--for", "gone"]).await.spawn().unwrap();
    arl(&world, &["release", "s"]).await.out();
    assert_eq!(finished(gone).await.out, "sandbox/s gone\n");
    let none = arl(&world, &["wait", "task/none"]).await;
    assert!(none.code == Some(125) && none.err.contains("there is no Task none"), "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_shown_as_they_come() {
    let world = served("cli-watch", 1).await;
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    let mut child = command(&world, &["get", "sandboxes", "--watch"]).await.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    assert!(line(&mut out).await.starts_with("SANDBOX   POOL   PHASE"));
    assert!(line(&mut out).await.starts_with("s         p      Ready"));
    world.sandbox("later", "none").await;
    assert!(line(&mut out).await.starts_with("later "));
    let names = command(&world, &["get", "sandboxes", "-w", "-o", "name"]).await.spawn().unwrap();
    let first = line(&mut BufReader::new(names.stdout.unwrap())).await;
    assert_eq!(first, "sandbox.arl.infra.io/later\n");
    let frame = arl(&world, &["top"]).await.out();
    assert!(frame.contains("2 Sandboxes (1 waiting)") && frame.contains("FILL"), "{frame}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_is_looked_at_and_told_of() {
    let world = served("cli-doctor", 1).await;
    let own = arl(&world, &["version", "--client"]).await.out();
    assert!(own.starts_with("kubectl-arl  ") && own.lines().count() == 1, "{own}");
    let both: Value = serde_json::from_str(&arl(&world, &["version", "-o", "json"]).await.out()).unwrap();
    assert_eq!(both["definitions"]["upToDate"], true, "{both}");
    arl(&world, &["wait", "pool/p"]).await.out();
    let well = arl(&world, &["doctor"]).await.out();
    for words in [
        "ok    definitions: up to date",
        "ok    rights: all",
        "ok    agent image: ",
        "ok    probe: a Sandbox of pool p",
    ] {
        assert!(well.contains(words), "{words}: {well}");
    }
    world.all::<arl_crds::Sandbox>("the probe's is released", <[_]>::is_empty).await;
    let broken = World::served("cli-doctor-none").await;
    broken.pool("unserved", 1).await;
    // What was made a moment ago is no fault yet.
    let unserved = async {
        while !arl(&broken, &["doctor"]).await.says(1, "FAIL  pools: no operator has looked at unserved") {
            broken.pass(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(DEADLINE, unserved).await.expect("it is said to be a fault");
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    world.task("t", "s", json!([shell("a", "echo SECRET")])).await;
    world.finished("t").await;
    let here = tempfile::tempdir().unwrap();
    let file = here.path().join("report.tar.gz");
    arl(&world, &["report", "-f", file.to_str().unwrap()]).await.out();
    let tar = |flags: &str| {
        std::process::Command::new("tar").args([flags, file.to_str().unwrap()]).stderr(Stdio::null()).output()
    };
    let names = String::from_utf8(tar("-tzf").unwrap().stdout).unwrap();
    for name in ["versions.txt", "warmpools.yaml", "sandboxes.yaml", "tasks.yaml", "pods.yaml", "events.yaml"] {
        assert!(names.contains(&format!("arl-report/{name}\n")), "{name}: {names}");
    }
    let content = String::from_utf8(tar("-xzOf").unwrap().stdout).unwrap();
    assert!(content.contains("name: t\n") && !content.contains("SECRET"), "{content}");
}
