//! Other users in the container of a Sandbox: they do not get at the agent, nor at what runs as its user.

use arl_crds::TaskState;
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{command, message, reason, shell, status, template};
use crate::harness::wait::state;

/// A world with a Sandbox `s` whose executor has Python.
async fn with_python(name: &str) -> World {
    let world = World::new(name).await;
    let mut python = template();
    python["spec"]["containers"][0]["image"] = json!("python:3.9-slim");
    world.pool_of("p", 1, &python).await;
    world.sandbox("s", "p").await;
    assert_eq!(world.output("first", "s", "id -u").await, "0\n");
    world
}

/// A step that does this as another user.
fn as_user(uid: u32, script: &str) -> Value {
    command(
        "other",
        &["python3", "-c", &format!("import os; os.setgroups([]); os.setgid({uid}); os.setuid({uid})\n{script}")],
    )
}

const TRY: &str = r##"
import socket, subprocess
def attempt(name, do):
    try:
        do()
        print(name, "done")
    except OSError as error:
        print(name, "refused")
def write(path): open(path, "w").write("#!/bin/sh\nid >/workspace/taken\n")
attempt("overwrite", lambda: write("/.arl/agent"))
attempt("replace", lambda: os.rename("/tmp", "/.arl/agent"))
attempt("add", lambda: write("/.arl/other"))
attempt("list", lambda: os.listdir("/.arl/state/0"))
attempt("record", lambda: os.symlink("/etc/passwd", "/.arl/state/0/runs/x"))
attempt("move", lambda: os.rename("/.arl/state/0", "/.arl/state/gone"))
attempt("connect", lambda: socket.socket(socket.AF_UNIX).connect("/.arl/state/0/socket"))
ended = subprocess.run(["/.arl/agent", "connect", "/.arl"], stdin=subprocess.DEVNULL)
print("own", ended.returncode, os.stat("/.arl/state/65534").st_uid)
"##;

#[tokio::test(flavor = "multi_thread")]
async fn another_user_does_not_become_the_containers() {
    let mut world = with_python("other-user").await;
    let task = world.run("t", "s", json!([as_user(65534, TRY)])).await;
    let attempts = ["overwrite", "replace", "add", "list", "record", "move", "connect"];
    let out = status(&task).stdout.as_deref().unwrap_or_default();
    assert_eq!(out.matches("refused").count(), attempts.len(), "{out} {:?}", task.status);
    assert!(out.ends_with("own 0 65534\n") && attempts.iter().all(|attempt| out.contains(attempt)), "{out}");
    world.kill();
    world.start_operator().await;
    assert_eq!(world.output("late", "s", "id -u; ls /workspace").await, "0\n", "the next stream is the agent's");
}

/// The folder above belongs to the user that the init container had: its owner can move what is in it, and no more than that.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_puts_in_the_agents_way_is_named_and_not_followed() {
    let mut world = with_python("in-the-way").await;
    let script = r#"
os.rename("/.arl/state/0", "/.arl/state/gone")
os.mkdir("/.arl/state/0")
os.mkdir("/.arl/state/0/runs")
print(sorted(os.listdir("/.arl/state")))
"#;
    let task = world.run("t", "s", json!([as_user(65532, script)])).await;
    assert_eq!(status(&task).stdout.as_deref(), Some("['0', 'gone']\n"), "{:?}", task.status);
    assert_eq!(world.output("same", "s", "ls -A /.arl/state/0/runs").await, "", "what is in use is used on");
    world.kill();
    world.start_operator().await;
    let task = world.run("late", "s", json!([shell("a", "true")])).await;
    assert_eq!((state(&task), reason(&task)), (Some(TaskState::Failed), "StartError"), "{:?}", task.status);
    let said = message(&task);
    assert!(said.contains("/.arl/state/0 is of uid 65532") && said.contains("in the way"), "{said}");
}
