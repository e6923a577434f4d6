//! Files that go from one Sandbox to others, and Sandboxes that go by themselves.

use arl_client::{Archive, Client, Command, Fault, Sandbox, Snapshot, kind::Kind};
use arl_crds::Sandbox as SandboxObject;
use serde_json::json;

use crate::harness::World;

async fn served(name: &str, replicas: i32) -> (World, Client) {
    let world = World::new(name).await;
    world.pool("p", replicas).await;
    let client = Client::new(world.client.clone(), world.ns.as_str());
    (world, client)
}

const TREE: &str = "mkdir -p /workspace/a/b /workspace/other && cd /workspace && seq 200000 >a/b/numbers && ln -s b a/link && \
                    echo run >a/run && chmod 750 a/run && echo other >other/file";

/// Names, modes, links and contents.
async fn seen(sandbox: &Sandbox, directory: &str) -> String {
    let script = format!(
        "cd {directory} && find . | sort | while read f; do stat -c '%n %a %F' \"$f\"; [ -f \"$f\" ] && sha256sum \"$f\"; done; true"
    );
    sandbox.run(Command::shell(script)).await.unwrap().stdout_text().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_starts_from_the_files_of_a_snapshot() {
    let (world, client) = served("live-snapshot", 2).await;
    let first = client.claim("p").await.unwrap();
    assert!(first.run(Command::shell(TREE)).await.unwrap().exit.success());
    let (files, mut kept) = (first.files(), Vec::new());
    let snapshot = files.snapshot(["/workspace/a", "/workspace/other/file"], &mut kept).await.unwrap();
    assert_eq!(snapshot.bytes, kept.len() as u64);
    let again = files.snapshot(["/workspace/a", "/workspace/other/file"], &mut tokio::io::sink()).await.unwrap();
    assert_eq!(again, snapshot, "equal files are equal archives");
    let missing = files.snapshot(["/workspace/none"], &mut tokio::io::sink()).await.unwrap_err();
    assert_eq!(missing.kind(), Some(Kind::NotFound), "{missing}");

    let other = Snapshot { sha256: snapshot.sha256.replace(&snapshot.sha256[..1], "x"), ..snapshot.clone() };
    let refused = client.claim("p").name("refused").snapshot(other, kept.clone()).await.unwrap_err();
    assert_eq!(refused.fault(), Fault::Usage, "{refused}");
    assert!(refused.to_string().contains("not the archive"), "{refused}");
    let second = client.claim("p").snapshot(snapshot, Archive::from(kept)).await.unwrap();
    assert_eq!(seen(&first, "/workspace").await, seen(&second, "/workspace").await);
    world.all::<SandboxObject>("the claim that failed left nothing", |all| all.len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forks_have_the_same_files_and_say_why_there_are_none() {
    let (world, client) = served("live-fork", 4).await;
    let sandbox = client.claim("p").await.unwrap();
    assert!(sandbox.run(Command::shell(TREE)).await.unwrap().exit.success());
    let before = seen(&sandbox, "/workspace").await;
    for fork in sandbox.fork(3, "/workspace").await {
        let fork = fork.unwrap();
        assert_eq!(seen(&fork, "/workspace").await, before);
        fork.release().await.unwrap();
    }
    for fork in sandbox.fork(2, "/workspace/none").await {
        let error = fork.unwrap_err();
        assert_eq!((error.kind(), error.fault()), (Some(Kind::NotFound), Fault::Task), "{error}");
    }
    world.all::<SandboxObject>("a fork that failed left nothing", |all| all.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_unpacked_over_what_is_mounted_and_leaves_devices_alone() {
    let (_world, client) = served("live-mounted", 1).await;
    let sandbox = client.claim("p").await.unwrap();
    let made = "mkdir -p /workspace/etc /workspace/dev && echo 10.0.0.9 other >/workspace/etc/hosts && echo x >/workspace/dev/null";
    assert!(sandbox.run(Command::shell(made)).await.unwrap().exit.success());
    let (files, mut hosts, mut null) = (sandbox.files(), Vec::new(), Vec::new());
    files.pack("/workspace/etc", &mut hosts).await.unwrap();
    files.pack("/workspace/dev", &mut null).await.unwrap();
    files.unpack("/etc", &mut hosts.as_slice()).await.unwrap();
    let error = files.unpack("/dev", &mut null.as_slice()).await.unwrap_err();
    assert!(error.to_string().contains("null is a pipe, a socket or a device"), "{error}");
    let after = sandbox.run(Command::shell("cat /etc/hosts && echo x >/dev/null && [ -c /dev/null ]")).await.unwrap();
    assert_eq!((after.stdout_text().as_ref(), after.exit.success()), ("10.0.0.9 other\n", true), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_for_one_task_is_never_left() {
    let (world, client) = served("live-once", 1).await;
    let sandbox = client.claim("p").release_after_task().await.unwrap();
    let object = world.one::<SandboxObject>(sandbox.name(), "it is there", |_| true).await;
    assert_eq!(object.spec.ttl_seconds_after_finished, Some(3600), "where this program is killed");
    let steps = json!([{"name": "a", "type": "Command", "command": ["true"]}]);
    let status = sandbox.task(serde_json::from_value(steps).unwrap(), None).await.unwrap();
    assert_eq!(status.exit_code, Some(0));
    world.all::<SandboxObject>("it is released", <[_]>::is_empty).await;
}

/// 500 files with 20 MB, and what a copy can lose: links of both kinds, modes, empty directories, times, names of any bytes.
const MANY: &str = "mkdir -p /workspace/many && cd /workspace/many && for n in $(seq 500); do head -c 40000 /dev/urandom >file-$n; done && \
                    mkdir -p deep/er/empty odd && for n in 4 5 6 7; do mkdir d$n && ln file-$n d$n/hard && ln -s ../file-2 d$n/soft; done && \
                    ln file-1 odd/hard && ln -s /no/where odd/dangling && ln -s . odd/loop && echo x >\"odd/$(printf '\\377\\001\\n b')\" && \
                    echo y >'odd/ quoted \"$' && chmod 4750 file-1 && chmod 000 file-2 && chmod 1777 deep/er/empty && chmod 500 odd && \
                    touch -d '2001-02-03 04:05:06' file-3 deep; find . -type f | wc -l";

/// Of all that can be seen of a tree from inside, apart from our own archives.
const DIGEST: &str = "cd /workspace/many && { find . -print0 | sort -z | xargs -0 stat -c '%n|%a|%F|%h|%u|%g|%Y' && \
                      find . -type f -print0 | sort -z | xargs -0 sha256sum && find . -type l -print0 | sort -z | xargs -0 -n 1 readlink; } | sha256sum";

#[tokio::test(flavor = "multi_thread")]
async fn forks_of_many_files_have_the_same_digest() {
    let (_world, client) = served("live-forks", 5).await;
    let sandbox = client.claim("p").await.unwrap();
    let made = sandbox.run(Command::shell(MANY)).await.unwrap();
    let files: u32 = made.stdout_text().trim().parse().unwrap();
    assert!(made.exit.success() && files > 500, "{made:?}");
    let digest = async |sandbox: &Sandbox| {
        let seen = sandbox.run(Command::shell(DIGEST)).await.unwrap();
        assert!(seen.stderr.is_empty(), "{}", seen.stderr_text());
        let archive = sandbox.files().snapshot(["/workspace/many"], &mut tokio::io::sink()).await.unwrap();
        (seen.stdout_text().into_owned(), archive)
    };
    let before = digest(&sandbox).await;
    for fork in sandbox.fork(4, "/workspace/many").await {
        assert_eq!(digest(&fork.unwrap()).await, before);
    }
}
