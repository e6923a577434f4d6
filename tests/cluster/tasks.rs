//! What a Task reports is what its commands did.

use std::time::Duration;

use arl_crds::{SandboxPhase, StepState, Task, TaskState};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{command, file, in_folder, message, reason, shell, status, template};
use crate::harness::wait::state;

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_say_what_became_of_the_command() {
    let world = World::with_sandbox("exit-codes").await;
    for (name, step, code, why) in [
        ("zero", shell("a", "exit 0"), 0, "Succeeded"),
        ("three", shell("a", "echo out; echo err >&2; exit 3"), 3, "StepFailed"),
        ("absent", command("a", &["nosuch"]), 127, "StepFailed"),
        ("absent-path", command("a", &["/nosuch/program"]), 127, "StepFailed"),
        ("absent-in-folder", in_folder(command("a", &["nosuch"]), "/"), 127, "StepFailed"),
        ("no-program", command("a", &["/etc/passwd"]), 126, "StepFailed"),
        ("a-folder", command("a", &["/etc"]), 126, "StepFailed"),
        ("no-folder", in_folder(command("a", &["true"]), "/nosuch"), 126, "StepFailed"),
        ("killed", shell("a", "kill -9 $$"), 137, "StepFailed"),
        ("terminated", shell("a", "kill -15 $$"), 143, "StepFailed"),
        ("own-124", shell("a", "exit 124"), 124, "StepFailed"),
        ("own-255", shell("a", "exit 255"), 255, "StepFailed"),
    ] {
        let task = world.run(name, "s", json!([step])).await;
        assert_eq!((status(&task).exit_code, reason(&task)), (Some(code), why), "{name}: {:?}", task.status);
        assert_eq!(status(&task).steps[0].exit_code, Some(code), "{name}");
        let expected = if code == 0 { TaskState::Succeeded } else { TaskState::Failed };
        assert_eq!(state(&task), Some(expected), "{name}");
        let finished = status(&task).conditions.iter().find(|c| c.type_ == "Finished").unwrap();
        assert_eq!(finished.status, "True", "{name}");
        if code == 127 {
            let words = ": not found in the container: the program is missing";
            assert!(message(&task).contains(words) && !message(&task).contains("neither"), "{}", message(&task));
        }
        if name == "three" {
            let (out, err) = (status(&task).stdout.as_deref(), status(&task).stderr.as_deref());
            assert_eq!((out, err), (Some("out\n"), Some("err\n")));
        }
    }
}

/// An image that holds nothing but one static program.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_needed_of_the_image() {
    let world = World::new("bare").await;
    let mut bare = template();
    let executor = &mut bare["spec"]["containers"][0];
    executor["image"] = json!("arl.local/pause:1");
    executor["command"] = json!(["/pause"]);
    world.pool_of("p", 1, &bare).await;
    world.sandbox("s", "p").await;

    let mut elsewhere = in_folder(command("relative", &["./agent", "version"]), "/.arl");
    elsewhere["env"] = json!({"A": "b"});
    let steps = json!([
        in_folder(file("file", "in/f", "content"), "/workspace"),
        command("absolute", &["/.arl/agent", "version"]),
        elsewhere,
    ]);
    let task = world.run("t", "s", steps).await;
    assert_eq!((state(&task), reason(&task)), (Some(TaskState::Succeeded), "Succeeded"), "{:?}", task.status);
    for step in &status(&task).steps[1..] {
        assert!(step.stdout.as_deref().unwrap().starts_with("arl-agent "), "{step:?}");
    }
    let absent = world.run("absent", "s", json!([command("a", &["sh", "-c", "true"])])).await;
    assert_eq!((status(&absent).exit_code, reason(&absent)), (Some(127), "StepFailed"), "the user's own sh");
    assert!(message(&absent).contains("sh: not found"), "{}", message(&absent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_ends_the_task_and_keeps_the_output() {
    let world = World::with_sandbox("timeout").await;
    let steps = json!([shell("a", "echo early; (setsid sleep 7771 &); sleep 7771"), shell("b", "true")]);
    world.task_with("t", &json!({"sandboxRef": "s", "timeout": "2s", "steps": steps})).await;
    let task = world.finished("t").await;
    let status = status(&task);
    assert_eq!((status.exit_code, reason(&task)), (Some(124), "TimedOut"), "{status:?}");
    assert_eq!(status.stdout.as_deref(), Some("early\n"));
    assert_eq!((status.steps[0].state, status.steps[1].state), (StepState::Failed, StepState::Skipped));
    let (started, completed) = (status.started_at.as_ref().unwrap().0, status.completed_at.as_ref().unwrap().0);
    let took = completed.duration_since(started).as_secs_f64();
    assert!((2.0..30.0).contains(&took), "a timeout of 2 s took {took} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_arrive_unchanged() {
    let world = World::with_sandbox("arguments").await;
    let nasty = [
        "",
        " ",
        "two words",
        "'single'",
        "\"double\"",
        "back\\slash\\n",
        "line\nline\n",
        "a=b",
        "=",
        "-n",
        "--",
        "$HOME",
        "$(id)",
        "`id`",
        "*",
        "~",
        "\u{fc}\u{4e2d}\u{1f980}",
        "tab\t",
        "%s",
        "#",
        "{}",
        "a&b|c;d",
        "\u{1}\u{7f}",
    ];
    let show = r#"for a in "$@"; do printf '[%s]' "$a"; done"#;
    let mut argv = vec!["sh", "-c", show, "sh"];
    argv.extend(nasty);
    let expected = format!("[{}]", nasty.join("]["));
    let task = world.run("argv", "s", json!([command("a", &argv)])).await;
    assert_eq!(status(&task).stdout.as_deref(), Some(expected.as_str()), "{:?}", task.status);

    for (index, value) in nasty.iter().enumerate() {
        let mut step = shell("a", r#"printf '[%s]' "$VALUE""#);
        step["env"] = json!({"VALUE": value});
        let task = world.run(&format!("env-{index}"), "s", json!([step])).await;
        assert_eq!(status(&task).stdout, Some(format!("[{value}]")), "{value:?}: {:?}", task.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_has_its_folder_its_variables_and_an_empty_input() {
    let world = World::with_sandbox("folder").await;
    let folder = "/workspace/a 'b'\n\u{fc}";
    let mut step = shell("a", "cat; pwd; echo $A-$B; echo ${PATH:+path}");
    step["workDir"] = json!(folder);
    step["env"] = json!({"A": "$B", "B": "b"});
    let task = world.run("t", "s", json!([command("make", &["mkdir", folder]), step])).await;
    assert_eq!(status(&task).stdout, Some(format!("{folder}\n$B-b\npath\n")), "{:?}", task.status);

    let again = world.output("later", "s", "echo [$A]").await;
    assert_eq!(again, "[]\n", "variables are of one step only");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_stop_at_the_first_that_fails() {
    let world = World::with_sandbox("steps").await;
    let steps =
        json!([shell("one", "echo 1"), shell("two", "echo 2; exit 5"), shell("three", "echo 3 >/workspace/three"),]);
    let task = world.run("t", "s", steps).await;
    let seen: Vec<_> = status(&task).steps.iter().map(|s| (s.name.as_str(), s.state, s.exit_code)).collect();
    assert_eq!(
        seen,
        [
            ("one", StepState::Succeeded, Some(0)),
            ("two", StepState::Failed, Some(5)),
            ("three", StepState::Skipped, None),
        ]
    );
    assert_eq!((status(&task).stdout.as_deref(), status(&task).exit_code), (Some("2\n"), Some(5)));
    assert_eq!(status(&task).steps[0].stdout.as_deref(), Some("1\n"));
    assert!(message(&task).contains("two"), "the message names the step: {}", message(&task));
    let ran = world.output("look", "s", "ls /workspace").await;
    assert_eq!(ran, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_output_keeps_its_head_and_tail() {
    let world = World::with_sandbox("output").await;
    let task = world.run("numbers", "s", json!([shell("a", "seq 1 200000; seq 1 10 >&2")])).await;
    let step = &status(&task).steps[0];
    let out = step.stdout.as_deref().unwrap();
    assert!(out.starts_with("1\n2\n3\n") && out.ends_with("199999\n200000\n"), "{} bytes", out.len());
    assert!((60 * 1024..66 * 1024).contains(&out.len()), "{} bytes", out.len());
    assert_eq!((step.truncated, status(&task).exit_code), (Some(true), Some(0)));
    assert_eq!((status(&task).truncated, &status(&task).stdout), (Some(true), &step.stdout), "where people look first");
    assert!(step.stderr.as_deref().unwrap().ends_with("10\n"));

    // Three bytes a character: no boundary of 16 or 48 KiB falls between two of them.
    let script = "yes \u{20ac} | tr -d '\\n' | head -c 300000";
    let task = world.run("characters", "s", json!([shell("a", script)])).await;
    let out = status(&task).stdout.as_deref().unwrap();
    assert!(!out.contains('\u{fffd}') && out.starts_with('\u{20ac}') && out.ends_with('\u{20ac}'));

    let task = world.run("bytes", "s", json!([shell("a", r"printf 'a\377b'")])).await;
    assert_eq!(status(&task).stdout.as_deref(), Some("a\u{fffd}b"));

    // 32 chatty steps would be 4 MiB: more than an object may have.
    let chatty: Vec<Value> = (0..32).map(|i| shell(&format!("s{i}"), "seq 1 100000 | tee /dev/stderr")).collect();
    let task = world.run("chatty", "s", json!(chatty)).await;
    assert_eq!(state(&task), Some(TaskState::Succeeded), "{}", message(&task));
    let size = serde_json::to_string(&task.status).unwrap().len();
    assert!(size < 600 * 1024, "the status has {size} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_tasks_run_one_at_a_time_in_order_of_creation() {
    let world = World::with_sandbox("hundred").await;
    // Names sort the other way round, so that an order by name would be seen.
    let names: Vec<String> = (0..100).map(|i| format!("t-{:03}", 999 - i)).collect();
    for name in &names {
        world.task(name, "s", json!([shell("a", &format!("echo {name} >>/workspace/log"))])).await;
    }
    let mut tasks: Vec<Task> = world.all_finished(100).await;
    for task in &tasks {
        assert_eq!(state(task), Some(TaskState::Succeeded), "{}: {}", task.name_any(), message(task));
    }
    tasks.sort_by_key(|t| status(t).started_at.clone().unwrap().0);
    let order: Vec<String> = tasks.iter().map(ResourceExt::name_any).collect();
    assert_eq!(order, names);
    for pair in tasks.windows(2) {
        let (first, second) = (status(&pair[0]), status(&pair[1]));
        let (end, start) = (first.completed_at.as_ref().unwrap().0, second.started_at.as_ref().unwrap().0);
        assert!(end <= start, "{} overlaps {}", pair[0].name_any(), pair[1].name_any());
    }
    let log = world.output("look", "s", "cat /workspace/log").await;
    assert_eq!(log.lines().collect::<Vec<_>>(), names);
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_do_not_wait_for_one_another() {
    let world = World::new("parallel").await;
    world.pool("p", 10).await;
    for i in 0..10 {
        world.sandbox(&format!("s{i}"), "p").await;
        let steps = json!([command("a", &["sleep", "600"])]);
        world
            .task_with(&format!("t{i}"), &json!({"sandboxRef": format!("s{i}"), "timeout": "10m", "steps": steps}))
            .await;
    }
    world
        .all("10 Tasks run at once", |tasks: &[Task]| {
            tasks.iter().filter(|t| state(t) == Some(TaskState::Running)).count() == 10
        })
        .await;
    world.phase("s0", SandboxPhase::Bound).await;
    for i in 0..10 {
        let _cancelled: Task = world.merge(&format!("t{i}"), &json!({"spec": {"cancel": true}})).await;
    }
    let tasks = world.all_finished(10).await;
    assert!(tasks.iter().all(|t| reason(t) == "Cancelled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_waits_for_its_sandbox_and_goes_when_its_ttl_is_over() {
    let world = World::new("waits").await;
    world.task_with("t", &json!({"sandboxRef": "s", "timeout": "20s", "steps": [shell("a", "echo done")]})).await;
    let waits =
        |reason: &'static str| move |t: &Task| t.status.iter().flat_map(|s| &s.conditions).any(|c| c.reason == reason);
    world.one("t", "SandboxNotFound", waits("SandboxNotFound")).await;
    world.sandbox("s", "p").await;
    world.one("t", "SandboxNotReady", waits("SandboxNotReady")).await;
    world.sandbox_reason("s", "PoolNotFound").await;
    world.pool("p", 1).await;
    let task = world.finished("t").await;
    assert_eq!((state(&task), status(&task).stdout.as_deref()), (Some(TaskState::Succeeded), Some("done\n")));
    world.pass(Duration::from_secs(2)).await;
    world.finished("t").await;
    let _changed: Task = world.merge("t", &json!({"spec": {"ttlSecondsAfterFinished": 1}})).await;
    world.gone::<Task>("t").await;
}
