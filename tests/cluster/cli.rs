//! `kubectl arl`: each verb against the cluster, as a person or a script calls it.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use arl_crds::{Sandbox, SandboxPhase, WarmPool};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    sync::OnceCell,
};

use crate::harness::{
    World,
    make::{manifest, shell},
    setup::root,
    wait::DEADLINE,
};

/// The binary, built from this tree.
pub async fn binary() -> PathBuf {
    static BUILT: OnceCell<()> = OnceCell::const_new();
    let build = async || {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // What cargo tells a test of its package: build scripts that read it would run again, and all that depends on them.
        let of_this_test =
            |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_", "OUT_DIR"].iter().any(|prefix| name.starts_with(prefix));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_this_test)) {
            cargo.env_remove(name);
        }
        let built =
            cargo.args(["build", "--quiet", "--package", "arl-cli"]).current_dir(root()).status().await.unwrap();
        assert!(built.success());
    };
    BUILT.get_or_init(build).await;
    PathBuf::from(env!("CARGO_BIN_EXE_arl-operator")).with_file_name("kubectl-arl")
}

/// How a call ended.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Done {
    /// Whether it ended with this code and these words.
    pub fn says(&self, code: i32, words: &str) -> bool {
        self.code == Some(code) && self.out.contains(words)
    }

    /// What it printed, where it went well.
    pub fn out(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }
}

pub async fn command(world: &World, arguments: &[&str]) -> Command {
    command_as(&root().join(".cluster/kubeconfig"), world, arguments).await
}

/// As whoever this kubeconfig says.
pub async fn command_as(kubeconfig: &Path, world: &World, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary().await);
    command.arg("--kubeconfig").arg(kubeconfig).args(["--namespace", &world.ns]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

pub async fn arl(world: &World, arguments: &[&str]) -> Done {
    ended(command(world, arguments).await).await
}

/// Runs it to its end.
pub async fn ended(mut command: Command) -> Done {
    finished(command.spawn().unwrap()).await
}

/// Waits for its end.
pub async fn finished(child: Child) -> Done {
    tokio::time::timeout(DEADLINE, child.wait_with_output()).await.expect("it ends").unwrap().into()
}

/// The same with standard input.
async fn fed(world: &World, arguments: &[&str], input: &[u8]) -> Done {
    let mut child = command(world, arguments).await.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeding = async move {
        stdin.write_all(input).await.unwrap();
        drop(stdin);
    };
    let ((), done) = tokio::join!(feeding, finished(child));
    done
}

/// Starts it and waits for its first line.
pub async fn begun(world: &World, arguments: &[&str]) -> Child {
    has_begun(command(world, arguments).await.spawn().unwrap()).await
}

/// Waits for its first line.
pub async fn has_begun(mut child: Child) -> Child {
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    tokio::time::timeout(DEADLINE, out.read_line(&mut line)).await.expect("it prints").unwrap();
    assert_eq!(line, "begun\n");
    tokio::spawn(async move { while out.read_line(&mut String::new()).await.is_ok_and(|count| count > 0) {} });
    child
}

pub async fn signalled(mut child: Child, signal: &str) -> Option<i32> {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
    tokio::time::timeout(DEADLINE, child.wait()).await.expect("it ends").unwrap().code()
}

pub async fn served(name: &str, replicas: i32) -> World {
    let world = World::new(name).await;
    world.pool("p", replicas).await;
    world
}

pub async fn nothing_is_claimed(world: &World) {
    world.all::<Sandbox>("no Sandbox is there", <[_]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_gives_back_what_the_command_did_and_the_sandbox() {
    let world = served("cli-run", 3).await;
    let script = "cat; echo $A; pwd; echo err >&2; exit 7";
    let done = fed(&world, &["run", "p", "-e", "A=b", "-w", "/workspace", "--", "sh", "-c", script], b"in\n").await;
    assert_eq!((done.code, done.out.as_str()), (Some(7), "in\nb\n/workspace\n"));
    assert!(done.err.contains("is ready after") && done.err.ends_with("err\n"), "{done:?}");
    let input: Vec<u8> = (0..3_000_000_u32).map(|n| b'a' + u8::try_from(n % 26).unwrap()).collect();
    assert!(fed(&world, &["run", "p", "--", "cat"], &input).await.out().as_bytes() == input);
    let task = arl(&world, &["run", "p", "--task", "--", "sh", "-c", "echo out; echo err >&2; exit 3"]).await;
    assert_eq!((task.code, task.out.as_str()), (Some(3), "out\n"));
    for (code, words, arguments) in [
        (127, "nosuch: not found", &["run", "p", "--", "nosuch"][..]),
        (126, "/etc", &["run", "p", "--", "/etc"]),
        (124, "--timeout", &["run", "p", "--timeout", "300ms", "--", "sleep", "1000"]),
        (137, "", &["run", "p", "--", "sh", "-c", "kill -9 $$"]),
        (125, "PoolNotFound", &["run", "none", "--", "true"]),
        (125, "; there is the pool p\n", &["run", "none", "--", "true"]),
        (125, "needs a terminal", &["run", "p", "-t", "--", "true"]),
        (125, "required arguments", &["run", "p"]),
    ] {
        let done = arl(&world, arguments).await;
        assert_eq!(done.code, Some(code), "{arguments:?}: {done:?}");
        assert!(done.out.is_empty() && done.err.contains(words), "{arguments:?}: {done:?}");
    }
    nothing_is_claimed(&world).await;
    assert_eq!(arl(&world, &["run", "p", "--name", "kept", "--keep", "--", "echo", "1"]).await.out(), "1\n");
    assert_eq!(arl(&world, &["exec", "kept", "--", "echo", "2"]).await.out(), "2\n");
    let taken = arl(&world, &["run", "p", "--name", "kept", "--", "true"]).await;
    assert_eq!(taken.code, Some(125), "{taken:?}");
    world.phase("kept", SandboxPhase::Ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_command_and_releases_what_was_claimed() {
    let world = served("cli-signals", 2).await;
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let child = begun(&world, &["run", "p", "--", "sh", "-c", "echo begun; sleep 1000"]).await;
        assert_eq!(signalled(child, signal).await, Some(code));
        nothing_is_claimed(&world).await;
    }
    let name = arl(&world, &["claim", "p", "--name", "s"]).await.out();
    assert_eq!(name, "s\n");
    let child = begun(&world, &["exec", "s", "--", "sh", "-c", "echo begun; sleep 1000 & sleep 1000"]).await;
    assert_eq!(signalled(child, "-INT").await, Some(130));
    let running = arl(&world, &["exec", "s", "--", "sh", "-c", "ps | grep -c '[s]leep 1000'; true"]).await;
    assert_eq!(running.out(), "0\n", "what the command started ends with it");
    assert_eq!(arl(&world, &["release", "s"]).await.out(), "sandbox/s released\n");

    world.pool("empty", 0).await;
    let child = command(&world, &["run", "empty", "--", "true"]).await.spawn().unwrap();
    world.all::<Sandbox>("it waits", |all| all.first().is_some_and(|sandbox| sandbox.status.is_some())).await;
    assert_eq!(signalled(child, "-INT").await, Some(130));
    nothing_is_claimed(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_ends_the_command_quietly() {
    let world = served("cli-pipe", 1).await;
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    let mut child = command(&world, &["exec", "s", "--", "yes"]).await.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    let done = finished(child).await;
    assert_eq!((line.as_str(), done.code, done.err.as_str()), ("y\n", Some(141), ""));
    assert_eq!(arl(&world, &["ps", "s", "--no-headers"]).await.out(), "", "it was ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_trees_are_copied_both_ways() {
    let world = served("cli-cp", 1).await;
    arl(&world, &["claim", "p", "--name", "s", "-e", "TREE=/workspace/tree"]).await.out();
    let here = tempfile::tempdir().unwrap();
    let at = |name: &str| here.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir_all(here.path().join("tree/deep")).unwrap();
    let content: Vec<u8> = (0..5_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    std::fs::write(at("tree/deep/large"), &content).unwrap();
    std::os::unix::fs::symlink("deep/large", at("tree/link")).unwrap();
    arl(&world, &["cp", &at("tree"), "s:/workspace"]).await.out();
    let sum = "cd $TREE && cmp link deep/large && readlink link && wc -c <deep/large";
    assert_eq!(arl(&world, &["exec", "s", "--", "sh", "-c", sum]).await.out(), "deep/large\n5000000\n");
    arl(&world, &["cp", "s:/workspace/tree", &at("back")]).await.out();
    assert!(std::fs::read(at("back/deep/large")).unwrap() == content);
    assert_eq!(std::fs::read_link(at("back/link")).unwrap(), PathBuf::from("deep/large"));
    fed(&world, &["cp", "-", "s:/workspace/in"], b"abc\n").await.out();
    assert_eq!(arl(&world, &["cp", "s:/workspace/in", "-"]).await.out(), "abc\n");
    arl(&world, &["exec", "s", "--", "chmod", "750", "/workspace/in"]).await.out();
    arl(&world, &["cp", "s:/workspace/in", here.path().to_str().unwrap()]).await.out();
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(at("in")).unwrap());
    assert_eq!((std::fs::read(at("in")).unwrap().as_slice(), mode & 0o777), (&b"abc\n"[..], 0o750));
    for (words, from, to) in [
        ("no /none in the Sandbox", "s:/none".to_owned(), at("x")),
        ("No such file", at("none"), "s:/x".to_owned()),
        ("SANDBOX:PATH", at("in"), at("x")),
        ("no Sandbox", "other:/x".to_owned(), at("x")),
        ("is no directory", at("tree"), "s:/workspace/in".to_owned()),
    ] {
        let done = arl(&world, &["cp", &from, &to]).await;
        assert!(done.code == Some(125) && done.err.contains(words) && done.out.is_empty(), "{words}: {done:?}");
    }
    let both = [
        "run",
        "p",
        "--cp-in",
        &format!("{}:/workspace", at("in")),
        "--cp-out",
        &format!("/workspace/out:{}", at("out")),
    ];
    arl(&world, &[&both[..], &["--", "sh", "-c", "cat /workspace/in /workspace/in >/workspace/out"]].concat())
        .await
        .out();
    assert_eq!(std::fs::read(at("out")).unwrap(), b"abc\nabc\n");
    let late = ["run", "p", "--task", "--timeout", "1s", "--cp-out", &format!("/workspace/late:{}", at("late")), "--"];
    let done = arl(&world, &[&late[..], &["sh", "-c", "echo x >/workspace/late; exec sleep 1000"]].concat()).await;
    assert_eq!((done.code, std::fs::read(at("late")).unwrap().as_slice()), (Some(124), &b"x\n"[..]), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_are_listed_and_ended() {
    let world = served("cli-ps", 1).await;
    let broken = "- {name: broken, type: Command, command: [sh, -c, echo WHY >&2; exit 3]}";
    let failed = fed(&world, &["claim", "p", "--setup", "-"], broken.as_bytes()).await;
    assert!(failed.code == Some(125) && failed.err.contains("it printed: WHY"), "{failed:?}");
    let is_told = failed.err.contains("step broken, exit code 3") && !failed.err.contains("-setup-");
    assert!(is_told, "its Task is gone: {failed:?}");
    let missing = arl(&world, &["claim", "nopool", "--from", "/nosuch"]).await;
    assert!(missing.code == Some(125) && missing.err.contains("/nosuch"), "nothing is claimed before: {missing:?}");
    let setup = "- {name: made, type: FilePatch, path: /workspace/made, content: by the setup}";
    fed(&world, &["claim", "p", "--name", "s", "--setup", "-"], setup.as_bytes()).await.out();
    assert_eq!(arl(&world, &["exec", "s", "--", "cat", "/workspace/made"]).await.out(), "by the setup");
    let child =
        begun(&world, &["exec", "s", "--", "sh", "-c", "trap 'exit 5' USR1; echo begun; while :; do sleep 0.1; done"])
            .await;
    let listed = arl(&world, &["ps", "s"]).await.out();
    assert!(listed.starts_with("PID") && listed.contains("Running") && listed.contains("echo begun"), "{listed}");
    let ids = arl(&world, &["ps", "s", "-o", "name"]).await.out();
    let json: Value = serde_json::from_str(&arl(&world, &["ps", "s", "-o", "json"]).await.out()).unwrap();
    assert_eq!(json[0]["id"].as_str().unwrap(), ids.trim());
    let pid = json[0]["pid"].to_string();
    let signalled = arl(&world, &["kill", "s", "-s", "USR1", &pid]).await.out();
    assert!(signalled.ends_with("signalled\n"), "{signalled}");
    let done = finished(child).await;
    assert_eq!(done.code, Some(5), "{done:?}");
    let late = arl(&world, &["kill", "s", "-s", "USR1", ids.trim()]).await;
    assert!(late.out.ends_with("had ended\n") || late.err.contains("there is no live process"), "{late:?}");
    let child = begun(&world, &["exec", "s", "--", "sh", "-c", "echo begun; sleep 1000"]).await;
    assert!(arl(&world, &["kill", "s", "--all"]).await.out().ends_with("ended\n"));
    let done = finished(child).await;
    assert!(done.code == Some(143) && done.err.contains("another client"), "{done:?}");
    let none = arl(&world, &["kill", "s", "1"]).await;
    assert!(none.code == Some(125) && none.err.contains("no live process 1"), "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_shown_to_people_and_programs() {
    let world = served("cli-get", 1).await;
    let empty = World::served("cli-get-none").await;
    let none = arl(&empty, &["get"]).await;
    assert!(none.code == Some(0) && none.out.is_empty() && none.err.contains("there are no pools"), "{none:?}");
    world.pool_is_ready("p", 1).await;
    arl(&world, &["run", "p", "--task", "--keep", "--name", "s", "--", "echo", "1"]).await.out();
    world.sandbox("waits", "none").await;
    world.sandbox_reason("waits", "PoolNotFound").await;
    world.pool_is_ready("p", 1).await;
    let screen = arl(&world, &["get"]).await.out();
    for words in
        ["POOL ", "p      1       1        0         1           Ready", "SANDBOX", "PoolNotFound", "TASK", "Succeeded"]
    {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    let names = arl(&world, &["get", "sandboxes", "-o", "name"]).await.out();
    assert_eq!(names, "sandbox.arl.infra.io/s\nsandbox.arl.infra.io/waits\n");
    let list: Value = serde_json::from_str(&arl(&world, &["get", "-o", "json"]).await.out()).unwrap();
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&"List".into(), 4));
    let pool = arl(&world, &["get", "pool", "p", "-o", "yaml"]).await.out();
    assert!(pool.contains("kind: WarmPool") && pool.contains("replicas: 1"), "{pool}");
    let everywhere = arl(&world, &["get", "sandboxes", "-A", "--no-headers", "-l", "arl.infra.io/run-id"]).await.out();
    assert!(everywhere.contains(&world.ns) && !everywhere.contains("waits"), "{everywhere}");
    let missing = arl(&world, &["get", "task", "none"]).await;
    assert!(missing.code == Some(125) && missing.err.contains("there is no Task none"), "{missing:?}");
    let done = arl(&world, &["release", "s", "none", "waits"]).await;
    assert_eq!((done.code, done.out.as_str()), (Some(125), "sandbox/s released\nsandbox/waits released\n"));
    assert!(done.err.contains("there is no Sandbox none"), "{done:?}");
    arl(&world, &["claim", "p"]).await.out();
    assert!(arl(&world, &["release", "--all"]).await.out().ends_with("released\n"));
    nothing_is_claimed(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_and_tasks_need_no_manifest_and_tell_why_they_wait() {
    let world = World::new("cli-why").await;
    assert_eq!(
        arl(&world, &["pool", "create", "busybox:1", "--memory", "32Mi"]).await.out(),
        "warmpool/busybox created\n"
    );
    world.pool_is_ready("busybox", 1).await;
    assert!(arl(&world, &["why", "busybox"]).await.out().ends_with("What to do: nothing; it is as it should be\n"));
    arl(&world, &["claim", "busybox", "--name", "s"]).await.out();
    let task = manifest(
        "Task",
        "t",
        &json!({"sandboxRef": "s", "steps": [shell("a", "echo one"), shell("b", "echo two; exit 9")]}),
    );
    let ran = fed(&world, &["task", "run", "-f", "-"], task.to_string().as_bytes()).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(9), "one\ntwo\n"), "{ran:?}");
    assert_eq!(arl(&world, &["logs", "t", "--step", "b", "--prefix"]).await.out(), "[b] two\n");
    assert_eq!(arl(&world, &["logs", "-f", "t"]).await.out(), "one\ntwo\n");
    assert_eq!(arl(&world, &["task", "wait", "t"]).await.code, Some(9));
    let why = arl(&world, &["why", "task/t"]).await.out();
    assert!(
        why.starts_with("Task t: StepFailed") && why.contains("Sandbox s: Allocated") && why.contains("arl logs"),
        "{why}"
    );
    world.task("long", "s", json!([shell("a", "sleep 1000")])).await;
    world.running("long").await;
    arl(&world, &["task", "cancel", "long"]).await.out();
    let cancelled = arl(&world, &["task", "wait", "long"]).await;
    assert!(cancelled.code == Some(125) && cancelled.err.contains("Cancelled"), "{cancelled:?}");

    arl(&world, &["pool", "create", "127.0.0.1:1/image:1", "--name", "broken"]).await.out();
    world.sandbox("waits", "broken").await;
    world.sandbox_reason("waits", "PoolEmpty").await;
    let failing =
        |pool: &WarmPool| pool.status.iter().flat_map(|s| &s.conditions).any(|c| c.reason == "ImagePullBackOff");
    world.one("broken", "its image cannot be pulled", failing).await;
    let why = arl(&world, &["why", "waits"]).await.out();
    for words in [
        "Sandbox waits: PoolEmpty",
        "WarmPool broken: ImagePullBackOff",
        "127.0.0.1:1/image:1",
        "correct the image's name",
    ] {
        assert!(why.contains(words), "{words}: {why}");
    }
    let none = arl(&world, &["why", "nobody"]).await;
    assert!(none.code == Some(125) && none.err.contains("there is no pool, Sandbox, Task or pod nobody"), "{none:?}");
    assert_eq!(arl(&world, &["pool", "delete", "broken"]).await.out(), "warmpool/broken deleted\n");
    let before = world.pool_is_ready("busybox", 1).await;
    arl(&world, &["pool", "roll", "busybox"]).await.out();
    arl(&world, &["pool", "scale", "busybox", "2"]).await.out();
    assert_eq!(arl(&world, &["wait", "pool/busybox"]).await.out(), "warmpool/busybox ready\n");
    let after = world.pool_is_ready("busybox", 2).await;
    assert_ne!(before.spec.fingerprint(), after.spec.fingerprint());
    assert_eq!(after.status.map(|status| status.outdated), Some(0), "it has rolled");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_kept_and_given_to_further_sandboxes_and_a_run_is_reaped() {
    let world = served("cli-fork", 3).await;
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    arl(&world, &["exec", "s", "--", "sh", "-c", "mkdir /workspace/a; echo kept >/workspace/a/b"]).await.out();
    let kept = tempfile::NamedTempFile::new().unwrap();
    let mut snapshot = command(&world, &["snapshot", "s"]).await;
    assert!(snapshot.stdout(kept.reopen().unwrap()).status().await.unwrap().success());
    arl(&world, &["claim", "p", "--name", "again", "--from", kept.path().to_str().unwrap()]).await.out();
    assert_eq!(arl(&world, &["exec", "again", "--", "cat", "/workspace/a/b"]).await.out(), "kept\n");
    let forked = arl(&world, &["fork", "s", "/workspace", "-c", "1"]).await.out();
    assert_eq!(arl(&world, &["exec", forked.trim(), "--", "cat", "/workspace/a/b"]).await.out(), "kept\n");
    let sandbox: Value =
        serde_json::from_str(&arl(&world, &["get", "sandbox", "again", "-o", "json"]).await.out()).unwrap();
    let run = sandbox["metadata"]["labels"]["arl.infra.io/run-id"].as_str().unwrap().to_owned();
    assert_eq!(arl(&world, &["reap", &run]).await.out(), "1 Sandbox released\n");
    world.gone::<Sandbox>("again").await;
}
