//! However a Task is ended from outside, it ends, its status says why, and its Sandbox works on.

use arl_crds::{Sandbox, SandboxPhase, StepState, Task, TaskState};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{reason, shell, status, template};
use crate::harness::wait::state;

/// A world whose Sandbox `s` runs the Task `t`, with its processes started; and the name of the pod.
async fn with_a_running_task(name: &str) -> (World, String) {
    with_a_running_task_in(name, &template()).await
}

async fn with_a_running_task_in(name: &str, template: &Value) -> (World, String) {
    let world = World::new(name).await;
    world.pool_of("p", 1, template).await;
    world.sandbox("s", "p").await;
    let script = "echo early; (sleep 7772 &); echo started >/workspace/started; sleep 7772";
    let steps = json!([shell("a", script), shell("b", "true")]);
    world.task_with("t", &json!({"sandboxRef": "s", "timeout": "10m", "steps": steps})).await;
    world.running("t").await;
    let sandbox = world.phase("s", SandboxPhase::Bound).await;
    let pod = sandbox.status.unwrap().pod_name.unwrap();
    world.content_of(&pod, "/workspace/started").await;
    (world, pod)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_and_a_running_task_can_be_cancelled() {
    let (world, _) = with_a_running_task("cancel").await;
    world.task("queued", "s", json!([shell("a", "echo ran >/workspace/ran")])).await;
    let _cancelled: Task = world.merge("queued", &json!({"spec": {"cancel": true}})).await;
    let queued = world.finished("queued").await;
    assert_eq!((reason(&queued), status(&queued).exit_code), ("Cancelled", None));
    assert_eq!(status(&queued).steps[0].state, StepState::Skipped);
    world.running("t").await;

    let _cancelled: Task = world.merge("t", &json!({"spec": {"cancel": true}})).await;
    let task = world.finished("t").await;
    let steps = &status(&task).steps;
    assert_eq!((reason(&task), status(&task).exit_code), ("Cancelled", None));
    assert_eq!((steps[0].state, steps[1].state), (StepState::Failed, StepState::Skipped));
    assert_eq!(status(&task).stdout.as_deref(), Some("early\n"), "partial output is kept");
    let after = world.output("after", "s", "ls /workspace").await;
    assert_eq!(after, "started\n", "the Sandbox works on, and the queued Task never ran");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_running_task_frees_its_sandbox() {
    let (world, _) = with_a_running_task("delete-task").await;
    world.delete::<Task>("t").await;
    world.gone::<Task>("t").await;
    let after = world.output("after", "s", "echo works").await;
    assert_eq!(after, "works\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_the_sandbox_fails_its_tasks() {
    let (world, pod) = with_a_running_task("delete-sandbox").await;
    world.task("queued", "s", json!([shell("a", "true")])).await;
    world.one("queued", "Pending", |t: &Task| state(t) == Some(TaskState::Pending)).await;
    world.delete::<Sandbox>("s").await;
    for name in ["t", "queued"] {
        let task = world.finished(name).await;
        assert_eq!(reason(&task), "SandboxDeleted", "{name}: {:?}", task.status);
    }
    world.gone::<Pod>(&pod).await;
}

/// As an operator leaves it that has heard of the Task, and not yet of what became of the Sandbox.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_came_after_its_sandbox_was_made_anew_runs_in_the_new_one() {
    let mut world = World::with_sandbox("made-anew").await;
    let old = world.phase("s", SandboxPhase::Ready).await.uid().unwrap();
    world.kill();
    let late = |name: &str| json!([shell("a", &format!("echo {name}"))]);
    world.task("before", "s", late("before")).await;
    world.delete::<Sandbox>("s").await;
    world.gone::<Sandbox>("s").await;
    world.sandbox("s", "p").await;
    world.task("after", "s", late("after")).await;
    for name in ["before", "after"] {
        let came = world.api::<Task>().get(name).await.unwrap().resource_version().unwrap();
        let said = json!({"status": {"state": "Pending", "sandboxUID": old, "arrival": came.parse::<i64>().unwrap()}});
        world.api::<Task>().patch_status(name, &PatchParams::default(), &Patch::Merge(said)).await.unwrap();
    }
    world.start_operator().await;
    let after = world.finished("after").await;
    assert_eq!((reason(&after), status(&after).stdout.as_deref()), ("Succeeded", Some("after\n")), "{after:?}");
    assert_eq!(reason(&world.finished("before").await), "SandboxDeleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn losing_the_pod_fails_the_task_and_releases_the_sandbox() {
    let (world, pod) = with_a_running_task("pod-lost").await;
    world.delete::<Pod>(&pod).await;
    let task = world.finished("t").await;
    assert_eq!((reason(&task), status(&task).exit_code), ("PodLost", None), "{:?}", task.status);
    world.phase("s", SandboxPhase::Released).await;
    world.sandbox_reason("s", "PodLost").await;
    let late = world.run("late", "s", json!([shell("a", "true")])).await;
    assert_eq!(reason(&late), "SandboxReleased", "an empty workspace never stands in for the lost one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_container_fails_the_running_task_and_keeps_the_sandbox() {
    let mut mortal = template();
    // Inside its own pod a process with the id 1 dies of nothing that it does not handle.
    mortal["spec"]["containers"][0]["command"] = json!(["sh", "-c", "trap 'exit 1' TERM; while :; do sleep 1; done"]);
    let (world, pod) = with_a_running_task_in("restart", &mortal).await;
    world.look_into(&pod, "kill -TERM 1").await;
    let task = world.finished("t").await;
    assert_eq!(reason(&task), "ContainerRestarted", "{:?}", task.status);
    let after = world.output("after", "s", "cat /workspace/started").await;
    assert_eq!(after, "started\n", "a volume outlives its container");
    let counted = |s: &Sandbox| s.status.as_ref().is_some_and(|s| s.restarts == Some(1));
    let sandbox = world.one("s", "the restart is counted", counted).await;
    assert_eq!(sandbox.status.unwrap().pod_name.as_deref(), Some(pod.as_str()));
}

/// The kubelet takes its time before a container is started again for the second time.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_printed_is_kept_however_long_its_container_takes_to_come_back() {
    let world = World::new("restart-late").await;
    let mut mortal = template();
    mortal["spec"]["containers"][0]["command"] = json!(["sh", "-c", "trap 'exit 1' TERM; while :; do sleep 1; done"]);
    world.pool_of("p", 1, &mortal).await;
    world.sandbox("s", "p").await;
    for n in 1..=2 {
        let name = format!("t{n}");
        let task = world.run(&name, "s", json!([shell("a", "echo printed; sleep 1; kill -TERM 1; sleep 600")])).await;
        assert_eq!(reason(&task), "ContainerRestarted", "{:?}", task.status);
        assert_eq!(status(&task).stdout.as_deref(), Some("printed\n"), "{n}: {:?}", task.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_over_its_memory_limit_fails_the_running_task_and_keeps_the_sandbox() {
    let mut hungry = template();
    let executor = &mut hungry["spec"]["containers"][0];
    executor["resources"] = json!({"limits": {"memory": "32Mi"}});
    // The process with the id 1 grows: where only the largest process is killed, that still ends the container.
    let eat = "a=0123456789; while :; do a=$a$a; done";
    let script = format!("while :; do if rm /workspace/eat 2>/dev/null; then {eat}; fi; sleep 0.2; done");
    executor["command"] = json!(["sh", "-c", script]);
    let (world, pod) = with_a_running_task_in("oom", &hungry).await;
    world.look_into(&pod, "touch /workspace/eat").await;
    let task = world.finished("t").await;
    assert_eq!((state(&task), reason(&task)), (Some(TaskState::Failed), "OOMKilled"), "{:?}", task.status);

    let recovered = |s: &Sandbox| {
        let status = s.status.as_ref().unwrap();
        let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
        let is_idle = status.phase == Some(SandboxPhase::Ready);
        is_idle
            && status.restarts == Some(1)
            && ready.is_some_and(|c| c.status == "True" && c.message.contains("started again"))
    };
    let sandbox = world.one("s", "the restart is counted and the condition recovers", recovered).await;
    assert_eq!(sandbox.status.unwrap().pod_name, Some(pod));
    assert_eq!(world.output("after", "s", "cat /workspace/started").await, "started\n");
}

/// Says what it does when it is asked to end; one of its processes has a session of its own.
const TIDY: &str = "trap 'echo outer >>/workspace/log; exit' TERM; \
                    setsid sh -c 'trap \"echo inner >>/workspace/log; exit\" TERM; while :; do sleep 0.1; done' & \
                    sleep 0.3; echo up >/workspace/up; while :; do sleep 0.1; done";

async fn asked_to_end(world: &World, pod: &str) {
    let log = world.output("look", "s", "sort /workspace/log; rm /workspace/log /workspace/up").await;
    assert_eq!(log, "inner\nouter\n", "each process could tidy up");
    assert_eq!(world.processes(pod).await, ["sleep 2147483647"], "and is gone");
    world.delete::<Task>("look").await;
    world.gone::<Task>("look").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_can_tidy_up_at_a_timeout_a_cancel_and_a_deletion() {
    let world = World::with_sandbox("tidy").await;
    let pod = world.pod_of("s").await;
    let spec = |timeout: &str| json!({"sandboxRef": "s", "timeout": timeout, "steps": [shell("a", TIDY)]});
    world.task_with("times-out", &spec("3s")).await;
    assert_eq!(reason(&world.finished("times-out").await), "TimedOut");
    asked_to_end(&world, &pod).await;

    world.task_with("cancelled", &spec("10m")).await;
    world.running("cancelled").await;
    world.content_of(&pod, "/workspace/up").await;
    let _cancelled: Task = world.merge("cancelled", &json!({"spec": {"cancel": true}})).await;
    assert_eq!(reason(&world.finished("cancelled").await), "Cancelled");
    asked_to_end(&world, &pod).await;

    world.task_with("deleted", &spec("10m")).await;
    world.running("deleted").await;
    world.content_of(&pod, "/workspace/up").await;
    world.delete::<Task>("deleted").await;
    world.gone::<Task>("deleted").await;
    asked_to_end(&world, &pod).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_words_of_a_step_that_fails_are_kept() {
    let world = World::with_sandbox("late-words").await;
    let task = world.run("t", "s", json!([shell("a", "(sleep 0.2; echo LATE) & exit 1")])).await;
    assert_eq!((status(&task).stdout.as_deref(), status(&task).exit_code), (Some("LATE\n"), Some(1)));
}

/// The shell itself is not killed, only its child.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_over_the_memory_limit_is_named_and_the_exit_code_stays() {
    let world = World::new("oom-child").await;
    let mut small = template();
    small["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "48Mi"}});
    world.pool_of("p", 1, &small).await;
    world.sandbox("s", "p").await;
    let eat = "sh -c 'a=0123456789; while :; do a=$a$a; done'; echo $?; exit 7";
    let task = world.run("t", "s", json!([shell("a", eat)])).await;
    // Where the whole container is killed, it is the same reason with another code.
    assert_eq!((state(&task), reason(&task)), (Some(TaskState::Failed), "OOMKilled"), "{:?}", task.status);
    let code = status(&task).exit_code;
    assert!(code == Some(7) || code.is_none() || code == Some(137), "{:?}", task.status);
}
