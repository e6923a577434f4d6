//! Live commands and files through the client library.

use std::time::{Duration, Instant};

use arl_client::{Client, Command, Error, Fault, ProcessEvent, Sandbox};
use arl_client::{kind::Kind, live::Output};
use arl_crds::Sandbox as SandboxObject;
use serde_json::json;

use crate::harness::World;
use crate::harness::audit::Request;

/// A namespace with a pool of so many pods, and a client.
async fn served(name: &str, replicas: i32) -> (World, Client) {
    let world = World::new(name).await;
    world.pool("p", replicas).await;
    let client = Client::new(world.client.clone(), world.ns.as_str());
    (world, client)
}

fn code(error: &Error) -> (Option<Kind>, Fault) {
    (error.kind(), error.fault())
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_as_they_are_told() {
    let (_world, client) = served("live-run", 1).await;
    let sandbox = client.claim("p").await.unwrap();
    let run = |command: Command| {
        let sandbox = sandbox.clone();
        async move { sandbox.run(command).await }
    };
    let done = run(Command::shell("echo out; echo err >&2; echo $V; pwd; exit 3").env("V", "v").cwd("/tmp")).await;
    let done = done.unwrap();
    assert_eq!((done.exit.code, &*done.stdout_text(), &*done.stderr_text()), (3, "out\nv\n/tmp\n", "err\n"));
    let killed = run(Command::shell("kill -9 $$")).await.unwrap();
    assert_eq!((killed.exit.code, killed.exit.signal), (137, Some(9)));
    let missing = run(Command::new(["/no/such/program"])).await.unwrap_err();
    assert_eq!(code(&missing), (Some(Kind::NotFound), Fault::Task), "{missing}");
    let nowhere = run(Command::new(["true"]).cwd("/no/such/directory")).await.unwrap_err();
    assert_eq!(code(&nowhere), (Some(Kind::NoWorkingDirectory), Fault::Task), "{nowhere}");
    let late = Command::shell("echo begun; sleep 1000").timeout(Duration::from_millis(300)).grace(Duration::ZERO);
    let late = run(late).await.unwrap();
    assert_eq!((late.exit.cause, &*late.stdout_text()), (Some(arl_client::live::Cause::TimedOut), "begun\n"));
    let mut content = vec![0_u8; 3_000_000];
    content.iter_mut().enumerate().for_each(|(i, byte)| *byte = u8::try_from(i % 251).unwrap());
    let echoed = run(Command::new(["cat"]).input(content.clone())).await.unwrap();
    assert!(echoed.stdout == content && echoed.exit.success() && !echoed.is_truncated());
    let kept = run(Command::shell("yes | head -c 1000000").keep(10)).await.unwrap();
    assert_eq!((kept.stdout.len(), kept.printed[0], kept.is_truncated()), (10, 1_000_000, true));
    let many = futures::future::join_all((0..40).map(|n| run(Command::shell(format!("echo {n}; exit {n}"))))).await;
    for (n, done) in (0..).zip(many) {
        let done = done.unwrap();
        assert_eq!((done.exit.code, done.stdout_text().into_owned()), (n, format!("{n}\n")));
    }
    assert!(sandbox.session().list().await.unwrap().is_empty(), "what has ended and was waited for is forgotten");
    sandbox.release().await.unwrap();
}

/// Kills the process of every stream to the pod.
async fn cut(killer: &Sandbox) {
    let script = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null | grep -q '^/.arl/agent connect' && kill -9 ${p#/proc/}; done; true";
    // Its own stream is cut with the others, and it goes on in the agent.
    killer.run(Command::shell(script)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_loses_nothing() {
    let (_world, client) = served("live-cut", 1).await;
    let sandbox = client.claim("p").await.unwrap();
    let lines = 400;
    let printers = (0..10).map(|_| {
        let sandbox = sandbox.clone();
        async move {
            let script = format!(
                "i=0; while [ $i -lt {lines} ]; do echo $i; i=$((i+1)); [ $((i%20)) = 0 ] && sleep 0.1; done; exit 7"
            );
            sandbox.run(Command::shell(script)).await.unwrap()
        }
    });
    let cutting = async {
        for _ in 0..8 {
            cut(&sandbox).await;
        }
    };
    let (printed, ()) = futures::join!(futures::future::join_all(printers), cutting);
    let all = (0..lines).map(|n| format!("{n}\n")).collect::<Vec<_>>().concat();
    for done in printed {
        assert_eq!((done.exit.code, done.gaps.len()), (7, 0));
        assert_eq!(done.stdout_text(), all, "each line once, in order");
    }
    assert!(sandbox.session().list().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_followed_written_to_and_ended() {
    let (_world, client) = served("live-process", 1).await;
    let sandbox = client.claim("p").await.unwrap();
    let mut cat = sandbox.start(Command::new(["cat"]).stdin()).await.unwrap();
    let mut stdin = cat.take_stdin().unwrap();
    stdin.write_all(b"hello\n").await.unwrap();
    assert_eq!(cat.next().await.unwrap(), ProcessEvent::Output(Output::Stdout, b"hello\n".to_vec()));
    stdin.close();
    let ProcessEvent::Ended(exit) = cat.next().await.unwrap() else { panic!("it ends with its input") };
    assert!(exit.success());

    let tree = sandbox.start(Command::shell("setsid sleep 1000 & sleep 1000").background()).await.unwrap();
    let id = tree.id();
    drop(tree);
    let again = sandbox.session().attach(id).await.unwrap();
    assert!(again.pid() > 0);
    again.kill(Duration::ZERO);
    let done = again.wait(0).await.unwrap();
    assert_eq!(done.exit.cause, Some(arl_client::live::Cause::Killed));
    let left = sandbox.run(Command::shell("ps | grep -c '[s]leep 1000'; true")).await.unwrap();
    assert_eq!(left.stdout_text(), "0\n", "what it started ends with it");

    let mut tty = sandbox.start(Command::shell("stty size; read line; echo got $line").tty(100, 40)).await.unwrap();
    let mut stdin = tty.take_stdin().unwrap();
    stdin.write_all(b"x\n").await.unwrap();
    let done = tty.wait(1000).await.unwrap();
    assert!(done.stdout_text().contains("40 100") && done.stdout_text().contains("got x"), "{}", done.stdout_text());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_both_ways_whole_and_a_sandbox_is_forked() {
    let (_world, client) = served("live-files", 3).await;
    let sandbox = client.claim("p").await.unwrap();
    let files = sandbox.files();
    let mut content = vec![7_u8; 20_000_000];
    content.iter_mut().step_by(4097).for_each(|byte| *byte = 8);
    files.write("/workspace/a/b/large", &content).await.unwrap();
    assert!(files.read("/workspace/a/b/large").await.unwrap() == content);
    let mut part = Vec::new();
    assert_eq!(files.read_to("/workspace/a/b/large", 4096, Some(3), &mut part).await.unwrap(), 3);
    assert_eq!(part, content[4096..4099]);
    files.append("/workspace/log", "one\n").await.unwrap();
    files.append("/workspace/log", "two\n").await.unwrap();
    assert_eq!(files.read("/workspace/log").await.unwrap(), b"one\ntwo\n");
    assert_eq!(files.stat("/workspace/log").await.unwrap().size, 8);
    files.chmod("/workspace/log", 0o600).await.unwrap();
    files.rename("/workspace/log", "/workspace/a/log").await.unwrap();
    files.make_dir("/workspace/empty").await.unwrap();
    let entries = files.list("/workspace", None).await.unwrap();
    let mut names: Vec<_> = entries.iter().map(|e| String::from_utf8_lossy(&e.path).into_owned()).collect();
    names.sort();
    assert_eq!(names, ["a", "a/b", "a/b/large", "a/log", "empty"]);
    for (result, kind) in [
        (files.read("/workspace/none").await.map(drop), Kind::NotFound),
        (files.read("/workspace/a").await.map(drop), Kind::IsDirectory),
        (files.write("/workspace/a/log/x", "").await, Kind::NotDirectory),
        (files.remove("/workspace/a", false).await, Kind::NotEmpty),
    ] {
        let error = result.unwrap_err();
        assert_eq!(code(&error), (Some(kind), Fault::Task), "{error}");
    }
    let forks = sandbox.fork(2, "/workspace").await;
    for fork in forks {
        let fork = fork.unwrap();
        let sums = "cd /workspace && find . | sort && sha256sum a/b/large && stat -c %a a/log";
        let [here, there] = [&sandbox, &fork].map(|sandbox| sandbox.run(Command::shell(sums)));
        let (here, there) = futures::join!(here, there);
        assert_eq!(here.unwrap().stdout_text(), there.unwrap().stdout_text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_cannot_succeed_says_why_and_leaves_nothing() {
    let (world, client) = served("live-claims", 0).await;
    let none = client.claim("none").await.unwrap_err();
    assert!(matches!(&none, Error::NotReady { reason, .. } if reason == "PoolNotFound"), "{none}");
    assert_eq!(none.fault(), Fault::Usage);
    let empty = client.claim("p").wait(Duration::from_secs(3)).await.unwrap_err();
    assert!(matches!(&empty, Error::NotReady { reason, .. } if reason == "PoolEmpty"), "{empty}");
    assert!(empty.to_string().contains("the pool says"), "{empty}");
    world.all::<SandboxObject>("nothing is left of the claims", <[_]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_uses_a_sandbox_an_item_and_a_run_is_reaped() {
    let (world, client) = served("live-map", 2).await;
    let squares = client
        .map("p", 1..=5, 2, 1, |sandbox, n| async move {
            let done = sandbox.run(Command::shell(format!("echo $(({n}*{n}))"))).await?;
            Ok(done.stdout_text().trim().parse::<i32>().unwrap())
        })
        .await;
    let squares: Vec<_> = squares.into_iter().map(Result::unwrap).collect();
    assert_eq!(squares, [1, 4, 9, 16, 25]);

    let sandbox = client.claim("p").await.unwrap();
    let steps = json!([{"name": "a", "type": "Command", "command": ["sh", "-c", "echo audited; exit 4"]}]);
    let status = sandbox.task(serde_json::from_value(steps).unwrap(), None).await.unwrap();
    assert_eq!((status.exit_code, status.stdout.as_deref()), (Some(4), Some("audited\n")));
    assert_eq!(Fault::of_task(&status), Some(Fault::Task));
    assert_eq!(client.reap(client.run_id()).await.unwrap(), 1);
    world.all::<SandboxObject>("the run is reaped", <[_]>::is_empty).await;
}

/// A Sandbox that may be idle for 5 s, with a background process that takes so many, followed by nobody; and when it was started.
async fn busy(name: &str, seconds: u32) -> (World, SandboxObject, Instant) {
    let (world, client) = served(name, 1).await;
    world.pool_is_ready("p", 1).await;
    let sandbox = client.claim("p").name("s").idle_ttl(Duration::from_secs(5)).await.unwrap();
    let started = Instant::now();
    drop(sandbox.start(Command::new(["sleep", &seconds.to_string()]).background()).await.unwrap());
    drop((sandbox, client));
    let object = world.api::<SandboxObject>().get("s").await.unwrap();
    (world, object, started)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_process_keeps_its_sandbox_and_costs_no_write() {
    let (world, before, started) = busy("live-idle", 15).await;
    world.pass(Duration::from_secs(9)).await;
    let after = world.api::<SandboxObject>().get("s").await.unwrap();
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version, "nothing was written meanwhile");
    world.operator().metrics_with(&[&format!("arl_sandboxes_live{{namespace=\"{}\"}} 1.0", world.ns)]).await;
    world.gone::<SandboxObject>("s").await;
    let lived = started.elapsed();
    assert!(lived >= Duration::from_secs(20), "gone {lived:?} after the start of 15 s of work, and 5 s of idleness");
    let Some(requests) = world.requests().await else { return };
    let of_sandbox = |r: &&Request| r.is_write() && r.object_ref.resource == "sandboxes" && r.object_ref.name == "s";
    let writes: Vec<_> = requests.iter().filter(of_sandbox).map(|r| (&*r.verb, &*r.object_ref.subresource)).collect();
    assert_eq!(writes, [("patch", "status"), ("delete", "")], "its claim and its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_operator_asks_before_it_ends_a_sandbox_and_knows_since_when_it_is_idle() {
    let (mut world, before, started) = busy("live-restart", 16).await;
    world.kill();
    world.pass(Duration::from_secs(7)).await;
    world.start_operator().await;
    world.pass(Duration::from_secs(4)).await;
    let after = world.api::<SandboxObject>().get("s").await.unwrap();
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version, "nothing was written meanwhile");
    // The process ends while nobody looks.
    world.kill();
    world.pass(Duration::from_secs(16).saturating_sub(started.elapsed())).await;
    world.start_operator().await;
    world.gone::<SandboxObject>("s").await;
    let lived = started.elapsed();
    assert!(lived >= Duration::from_secs(21), "gone {lived:?} after the start of 16 s of work, and 5 s of idleness");
}
