//! What one namespace holds does not take the operator from the others: it lives within the memory that the chart gives it, whatever
//! somebody makes many or large. The rows of the table in docs/operations.md name the tests.
//!
//! Every operator of these tests runs under the chart's limit, see [`crate::harness::operator`].

mod soak;

use arl_crds::{Sandbox, StepState, Task, TaskState, WarmPool};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::harness::World;
use crate::harness::make::{command, file, manifest, reason, shell, status, template};
use crate::harness::operator::METRICS;
use crate::harness::setup;
use crate::harness::wait::state;
use crate::hostile::STOP_THE_AGENT;

/// What is promised, under a limit of 256 MiB.
const MEMORY_MAX: u64 = 160 << 20;
/// What outputs are to take at most with everything else there is: blocks that fit nothing any more would be beyond it.
const WITH_OUTPUTS: u64 = 120 << 20;
/// As much as all annotations of an object may have, or nearly.
const LARGE: usize = 200_000;

/// Each of these tests alone is as much as an API server on two cores bears: beside six others, none is done in time.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Does it for all numbers up to `count`, some at a time.
async fn many(count: usize, make: impl AsyncFn(usize)) {
    futures::stream::iter(0..count).map(|i| make(i)).buffer_unordered(8).collect::<()>().await;
}

/// A template whose pods no node takes, so that they cost next to nothing.
fn nowhere() -> Value {
    let mut template = template();
    template["spec"]["nodeSelector"] = json!({"arl.infra.io/test": "nowhere"});
    template
}

fn annotated(mut object: Value) -> Value {
    object["metadata"]["annotations"] = json!({
        "kubectl.kubernetes.io/last-applied-configuration": "x".repeat(LARGE),
    });
    object
}

/// Three files of 480 KB: more than a Task may write, and as much as the API server stores.
fn largest_steps() -> Value {
    let content = "x".repeat(480_000);
    json!([
        file("a", "/workspace/a", &content),
        file("b", "/workspace/b", &content),
        file("c", "/workspace/c", &content)
    ])
}

/// As much as a Task may carry, or nearly.
fn large(sandbox: &str, timeout: &str) -> Value {
    let mut noop = command("c", &["true"]);
    noop["command"] = json!(["true", "x".repeat(120_000), "x".repeat(120_000), "x".repeat(120_000)]);
    let steps = json!([file("f", "/workspace/f", &"x".repeat(480_000)), noop]);
    json!({"sandboxRef": sandbox, "timeout": timeout, "steps": steps})
}

/// What a step by plain exec prints.
const PRINT_MUCH: &str = "head -c 20000000 /dev/zero | tr '\\0' x; head -c 20000000 /dev/zero | tr '\\0' y >&2";

/// Prints more than is kept of both streams in all steps but the last, which waits.
fn chatty_steps(last: &str) -> Value {
    let print = "head -c 70000 /dev/zero | tr '\\0' x; head -c 70000 /dev/zero | tr '\\0' y >&2";
    let steps = (0..63).map(|i| shell(&format!("s{i}"), print)).chain([shell("last", last)]);
    steps.collect()
}

impl World {
    fn assert_bounded(&mut self, what: &str) {
        assert!(self.operator_is_alive(), "{what}: the operator has ended");
        let peak = self.peak_memory();
        eprintln!("{what}: {} MiB at most", peak >> 20);
        assert!(peak < MEMORY_MAX, "{what}: {peak} bytes");
    }

    /// What others would notice: a Task goes on.
    async fn assert_at_work(&mut self, task: &str, what: &str) {
        assert_eq!(self.output(task, "s", "echo fine").await, "fine\n");
        self.assert_bounded(what);
    }

    async fn restart(&mut self) {
        self.kill();
        self.start_operator().await;
    }

    async fn largest_tasks(&self, count: usize) {
        let spec = json!({"sandboxRef": "nobody", "steps": largest_steps()});
        many(count, async |i| self.create(&manifest("Task", &format!("largest{i}"), &spec)).await).await;
    }

    /// Tasks, Sandboxes, pools and pods that cost whoever makes them nothing, with much on them that nobody reads.
    async fn laden(&self, each: usize) {
        let task = json!({"sandboxRef": "nobody", "steps": [file("a", "/workspace/a", &"x".repeat(LARGE))]});
        let mut heavy = nowhere();
        heavy["metadata"] = json!({"annotations": {"a": "x".repeat(2 * LARGE)}});
        let pool = json!({"replicas": 0, "template": heavy});
        many(each, async |i| {
            self.create(&annotated(manifest("Task", &format!("laden{i}"), &task))).await;
            self.create(&annotated(manifest("Sandbox", &format!("laden{i}"), &json!({"poolRef": "nowhere"})))).await;
            if i % 4 == 0 {
                self.create(&annotated(manifest("WarmPool", &format!("laden{i}"), &pool))).await;
                let mut pod = annotated(nowhere());
                pod["metadata"]["name"] = json!(format!("laden{i}"));
                pod["metadata"]["labels"] =
                    json!({"arl.infra.io/warmpool": "p", "arl.infra.io/pod-state": "allocated", "arl.infra.io/sandbox": "s"});
                let pod: Pod = serde_json::from_value(pod).unwrap();
                self.api::<Pod>().create(&PostParams::default(), &pod).await.unwrap();
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_of_a_test_has_the_memory_that_the_chart_gives() {
    let world = World::new("tenant-limit").await;
    world.operator().address(METRICS).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", world.operator().pid())).unwrap();
    let limit = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
    assert!(limit.split_whitespace().any(|word| word == setup::memory_limit().to_string()), "{limit}");
}

/// Each Sandbox with a pod takes one.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_has_as_many_files_open_as_it_may() {
    let world = World::new("tenant-files").await;
    let metrics = world.operator().metrics().await;
    let value = |line: &str| line.strip_prefix("process_max_fds ").map(|value| value.parse::<f64>().unwrap());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", world.operator().pid())).unwrap();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let [soft, hard] = [0, 1].map(|at| limit.split_whitespace().nth(at).unwrap());
    assert!(soft == hard && metrics.lines().find_map(value) > Some(64.0), "{limit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_the_largest_size_are_survived_by_each_start() {
    const TASKS: usize = 120;
    let _turn = TURNS.acquire().await;
    let mut world = World::with_sandbox("tenant-tasks").await;
    world.assert_at_work("first", "before").await;
    world.kill();
    world.largest_tasks(TASKS).await;
    world.start_operator().await;
    assert_eq!(world.output("second", "s", "echo fine").await, "fine\n");
    let ended = format!("arl_tasks_finished_total{{namespace=\"{}\",reason=\"InvalidSpec\"}} {TASKS}", world.ns);
    world.operator().metrics_with(&[&ended]).await;
    world.assert_bounded("120 Tasks of 1.4 MiB");
    world.restart().await;
    world.assert_at_work("third", "120 Tasks of 1.4 MiB that have ended").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reads_of_objects_is_not_kept() {
    const EACH: usize = 200;
    let _turn = TURNS.acquire().await;
    let mut world = World::with_sandbox("tenant-laden").await;
    world.assert_at_work("first", "before").await;
    world.laden(EACH).await;
    world.sandbox_reason("laden0", "PoolNotFound").await;
    world.assert_at_work("second", "600 objects of 200 to 600 KB").await;
    world.restart().await;
    world.assert_at_work("third", "600 objects of 200 to 600 KB at the start").await;
}

/// In memory such a value has up to a hundred times its text.
#[tokio::test(flavor = "multi_thread")]
async fn many_small_values_in_one_object_take_no_more_than_a_few_large_ones() {
    let _turn = TURNS.acquire().await;
    let mut world = World::with_sandbox("tenant-small").await;
    world.assert_at_work("first", "before").await;
    let mut bomb = nowhere();
    bomb["spec"]["x"] = json!(vec![json!({"a": 1}); 150_000]);
    world.create(&manifest("WarmPool", "bomb", &json!({"replicas": 0, "template": bomb}))).await;
    let mut small = nowhere();
    small["spec"]["x"] = json!(vec![json!({"a": 1}); 2_000]);
    let small = json!({"replicas": 0, "template": small});
    many(100, async |i| world.create(&manifest("WarmPool", &format!("small{i}"), &small)).await).await;
    let mut pod = nowhere();
    pod["metadata"] = json!({"name": "bomb", "labels": {"arl.infra.io/warmpool": "p"}});
    pod["spec"]["containers"][0]["env"] = json!(vec![json!({"name": "A"}); 80_000]);
    let pod: Pod = serde_json::from_value(pod).unwrap();
    world.api::<Pod>().create(&PostParams::default(), &pod).await.unwrap();
    world.assert_at_work("second", "objects of many small values").await;
    world.restart().await;
    world.assert_at_work("third", "objects of many small values at the start").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_whose_tasks_have_many_labels_expires() {
    let _turn = TURNS.acquire().await;
    let mut world = World::with_sandbox("tenant-labels").await;
    world.sandbox_with("expires", &json!({"poolRef": "p", "keepAlive": true, "ttlSecondsAfterFinished": 20})).await;
    let labels: Value = (0..15_000).map(|i| (format!("l{i}"), json!(""))).collect::<serde_json::Map<_, _>>().into();
    let cancelled = json!({"sandboxRef": "expires", "cancel": true, "steps": [command("a", &["true"])]});
    many(32, async |i| {
        let mut task = manifest("Task", &format!("labelled{i}"), &cancelled);
        task["metadata"]["labels"] = labels.clone();
        world.create(&task).await;
    })
    .await;
    world.gone::<Sandbox>("expires").await;
    world.assert_at_work("after", "Tasks with many labels").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_template_is_read_when_pods_are_made() {
    let world = World::new("tenant-template").await;
    let with = |color: &str| {
        let mut large = template();
        large["metadata"] = json!({"annotations": {"large": "x".repeat(100_000), "color": color}});
        large
    };
    world.pool_of("p", 1, &with("red")).await;
    world.sandbox("s", "p").await;
    assert_eq!(world.output("t", "s", "echo fine").await, "fine\n");
    world.pool_is_ready("p", 1).await;
    world.merge::<WarmPool>("p", &json!({"spec": {"template": with("blue")}})).await;
    let is = |pod: &Pod, color: &str| pod.metadata.annotations.iter().flatten().any(|(_, value)| value == color);
    world
        .pods("a new idle pod beside the one in use", |pods| {
            pods.len() == 2 && pods.iter().any(|pod| is(pod, "red")) && pods.iter().any(|pod| is(pod, "blue"))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_with_a_thousand_tasks_expire_without_reading_them() {
    const SANDBOXES: usize = 10;
    const TASKS: usize = 1000;
    let _turn = TURNS.acquire().await;
    let mut world = World::new("tenant-expire").await;
    world.pool("p", 10).await;
    many(SANDBOXES, async |i| world.sandbox(&format!("s{i}"), "p").await).await;
    many(SANDBOXES, async |i| drop(world.pod_of(&format!("s{i}")).await)).await;
    world.kill();
    let ended = json!({"status": {"state": "Succeeded", "completedAt": "2026-01-01T00:00:00.000000Z", "observedGeneration": 1}});
    many(TASKS, async |i| {
        let (name, sandbox) = (format!("t{i}"), format!("s{}", i % SANDBOXES));
        world.task(&name, &sandbox, json!([file("a", "/workspace/a", &"x".repeat(120_000))])).await;
        world.api::<Task>().patch_status(&name, &PatchParams::default(), &Patch::Merge(&ended)).await.unwrap();
    })
    .await;
    many(SANDBOXES, async |i| {
        world.merge::<Sandbox>(&format!("s{i}"), &json!({"spec": {"ttlSecondsAfterFinished": 1}})).await;
    })
    .await;
    world.start_operator().await;
    many(SANDBOXES, async |i| world.gone::<Sandbox>(&format!("s{i}")).await).await;
    world.assert_bounded("ten Sandboxes with 1,000 Tasks of 120 KB expire");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outputs_of_many_long_tasks_are_bounded_as_they_arrive() {
    const TASKS: usize = 32;
    let _turn = TURNS.acquire().await;
    let mut world = World::new("tenant-chatty").await;
    world.pool("p", 32).await;
    let name = |i: usize| format!("s{i}");
    many(TASKS, async |i| world.sandbox(&name(i), "p").await).await;
    many(TASKS, async |i| drop(world.pod_of(&name(i)).await)).await;
    let spec = |i| json!({"sandboxRef": name(i), "timeout": "1h", "steps": chatty_steps("sleep 3000")});
    many(TASKS, async |i| world.task_with(&name(i), &spec(i)).await).await;
    let at_last = |task: &Task| task.status.as_ref().is_some_and(|status| status.step.as_deref() == Some("last"));
    world
        .all("each waits in its last step", |tasks: &[Task]| tasks.iter().filter(|task| at_last(task)).count() == TASKS)
        .await;
    world.assert_bounded("32 Tasks that have printed 8 MiB each");
    assert!(world.peak_memory() < WITH_OUTPUTS, "{} bytes", world.peak_memory());
    world.restart().await;
    many(TASKS, async |i| drop(world.merge::<Task>(&name(i), &json!({"spec": {"cancel": true}})).await)).await;
    for task in world.all_finished(TASKS).await {
        assert_eq!((state(&task), reason(&task)), (Some(TaskState::Failed), "Cancelled"));
        let steps = &status(&task).steps;
        let kept = |i: usize| steps[i].stdout.as_deref().unwrap_or_default().len();
        assert!(steps[..63].iter().all(|step| step.state == StepState::Succeeded && step.truncated == Some(true)));
        assert!(kept(0) < 2000 && kept(62) > 40_000, "{} of the first, {} of the last but one", kept(0), kept(62));
    }
    world.assert_bounded("the same by an operator that comes later");
    assert!(world.peak_memory() < WITH_OUTPUTS, "{} bytes", world.peak_memory());
}

/// Code in the pods sees to it that they never take what they are to run.
#[tokio::test(flavor = "multi_thread")]
async fn what_pods_do_not_take_is_little_and_makes_nobody_else_wait() {
    const STUCK: usize = 12;
    let _turn = TURNS.acquire().await;
    let mut world = World::new("tenant-stuck").await;
    world.pool("p", 14).await;
    let name = |i: usize| format!("stuck{i}");
    many(STUCK, async |i| world.sandbox(&name(i), "p").await).await;
    world.sandbox("s", "p").await;
    many(STUCK, async |i| {
        let (sandbox, first) = (name(i), format!("first{i}"));
        assert_eq!(world.output(&first, &sandbox, "echo fine").await, "fine\n");
        world.look_into(&world.pod_of(&sandbox).await, STOP_THE_AGENT).await;
        world.task_with(&sandbox, &large(&sandbox, "1h")).await;
    })
    .await;
    let waits = |task: &&Task| {
        let conditions = task.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|c| c.reason == "Queued" && c.message.contains("on its way into their pods"))
    };
    world.all("those beyond 8 MiB wait", |tasks: &[Task]| tasks.iter().filter(waits).count() == STUCK - 9).await;
    world.assert_at_work("small", "12 Tasks of 840 KB that no pod takes").await;
    world.task_with("large", &large("s", "1h")).await;
    world.one("large", "it waits too", |task: &Task| waits(&task)).await;
    many(STUCK, async |i| drop(world.merge::<Task>(&name(i), &json!({"spec": {"cancel": true}})).await)).await;
    assert_eq!(state(&world.finished("large").await), Some(TaskState::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_plain_exec_carries_is_bounded_as_it_arrives() {
    const TASKS: usize = 6;
    let _turn = TURNS.acquire().await;
    let mut world = World::new("tenant-exec").await;
    world.exec_pool("p", &template()).await;
    let name = |i: usize| format!("s{i}");
    many(TASKS, async |i| world.sandbox(&name(i), "p").await).await;
    many(TASKS, async |i| drop(world.pod_of(&name(i)).await)).await;
    let spec = |i| json!({"sandboxRef": name(i), "timeout": "10m", "steps": [shell("a", PRINT_MUCH)]});
    many(TASKS, async |i| world.task_with(&name(i), &spec(i)).await).await;
    for task in world.all_finished(TASKS).await {
        let step = &status(&task).steps[0];
        assert_eq!((reason(&task), step.truncated), ("Succeeded", Some(true)));
        let kept = [&step.stdout, &step.stderr].map(|output| output.as_deref().unwrap_or_default().len());
        assert!(kept.iter().all(|kept| (60_000..70_000).contains(kept)), "{kept:?}");
    }
    world.assert_bounded("six steps that print 40 MB each by plain exec");
}
