//! Steps that turn on their own pod harm that pod at most: their Task ends with a true reason, and nobody else notices.

use arl_agent::{frame, message::FromAgent};
use arl_crds::{SandboxPhase, Task, TaskState};
use k8s_openapi::api::events::v1::Event;
use serde_json::json;

use crate::harness::World;
use crate::harness::make::{message, reason, shell, status, template};
use crate::harness::wait::state;

const TIMEOUT_SECONDS: f64 = 20.0;
/// What is beyond the timeout until a hung agent is given up, and much more than that for a busy machine.
const GRACE_SECONDS: f64 = 60.0;

struct Hostile {
    world: World,
    /// The hostile Task when it is over.
    task: Task,
}

impl Hostile {
    fn assert_end(&self, reasons: &[&str]) {
        let task = &self.task;
        assert!(reasons.contains(&reason(task)), "{reasons:?}, not {}: {:?}", reason(task), task.status);
        let expected = if reason(task) == "Succeeded" { TaskState::Succeeded } else { TaskState::Failed };
        assert_eq!(state(task), Some(expected));
    }

    fn assert_says(&self, words: &str) {
        assert!(message(&self.task).contains(words), "{words:?} is not in {:?}", message(&self.task));
    }
}

/// Runs a script in a Sandbox of its own, beside a Task in another one, and then a Task in a third.
async fn hostile(name: &str, script: &str) -> Hostile {
    hostile_within(name, script, "20s").await
}

async fn hostile_within(name: &str, script: &str, timeout: &str) -> Hostile {
    let (mut world, _, bystander) = World::beside_a_bystander(name).await;

    let spec = json!({"sandboxRef": "s", "timeout": timeout, "steps": [shell("a", script)]});
    world.task_with("t", &spec).await;
    let task = world.finished("t").await;
    let (started, completed) =
        (status(&task).started_at.as_ref().unwrap().0, status(&task).completed_at.as_ref().unwrap().0);
    let took = completed.duration_since(started).as_secs_f64();
    assert!(took < TIMEOUT_SECONDS + GRACE_SECONDS, "it took {took} s: {:?}", task.status);

    world.assert_unnoticed(&bystander).await;
    Hostile { world, task }
}

/// The agent itself is out of reach, even for root; what it keeps is not.
#[tokio::test(flavor = "multi_thread")]
async fn removing_the_agents_files_harms_nothing_that_runs() {
    let script = "rm -rf /.arl/* 2>/workspace/said; grep -c Read-only /workspace/said; /.arl/agent version | cut -c1-9";
    let mut done = hostile("hostile-remove", script).await;
    done.assert_end(&["Succeeded"]);
    let out = status(&done.task).stdout.as_deref().unwrap_or_default();
    assert!(out.ends_with("arl-agent\n") && !out.starts_with('0'), "{out}");
    assert_eq!(done.world.output("same", "s", "echo same").await, "same\n", "the stream is open");
    // A new operator needs what was removed.
    done.world.kill();
    done.world.start_operator().await;
    assert_eq!(done.world.output("late", "s", "echo late").await, "late\n", "the agent makes it anew");
    assert_eq!(done.world.output("last", "next", "echo last").await, "last\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn overwriting_the_agents_files_harms_nothing_that_runs() {
    let script = "cd /.arl; for f in $(find . -type f); do echo garbage >$f; done 2>/dev/null; \
                  echo garbage >/workspace/bad; chmod 755 /workspace/bad; mv /workspace/bad agent 2>/dev/null; \
                  ./agent version | cut -c1-9";
    let mut done = hostile("hostile-overwrite", script).await;
    done.assert_end(&["Succeeded"]);
    assert_eq!(status(&done.task).stdout.as_deref(), Some("arl-agent\n"));
    assert_eq!(done.world.output("same", "s", "echo same").await, "same\n");
    done.world.kill();
    done.world.start_operator().await;
    assert_eq!(done.world.output("late", "s", "echo late").await, "late\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_everything_interrupts() {
    let done = hostile("hostile-kill", "echo begun; sleep 0.5; kill -9 -1; sleep 7791").await;
    done.assert_end(&["Interrupted"]);
    assert_eq!(status(&done.task).stdout.as_deref(), Some("begun\n"), "what was noted is kept");
    done.assert_says("killed");
    // The shell that asked for it is the one process that its own signal spares.
    let pod = done.world.pod_of("s").await;
    let left = done.world.processes(&pod).await;
    if left.iter().any(|line| line.contains("7791")) {
        done.assert_says("may still run");
    }
    assert_eq!(done.world.output("same", "s", "echo same").await, "same\n", "a new agent is at work");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_ends_at_its_time() {
    // The shell starts nothing more, which it could not.
    let script = "echo begun; bomb() { while :; do bomb & done; }; bomb & exec sleep 7792";
    let done = hostile_within("hostile-fork", script, "5s").await;
    done.assert_end(&["TimedOut"]);
    assert_eq!(status(&done.task).exit_code, Some(124));
    if message(&done.task).contains("given up") {
        return;
    }
    let pod = done.world.pod_of("s").await;
    assert_eq!(done.world.processes(&pod).await, ["sleep 2147483647"]);
    assert_eq!(done.world.output("same", "s", "echo same").await, "same\n");
}

/// The volume of a pool's pods can hold as much as the node; a smaller one is put in its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_volume_starts_nothing_more_and_is_told() {
    let world = World::new("hostile-full").await;
    let mut template = template();
    template["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
    world.pool_of("p", 1, &template).await;
    world.sandbox("s", "p").await;
    let fill = "mount -t tmpfs -o size=16k,nr_inodes=2 none /.arl/state/0/runs && cat /dev/zero >/.arl/state/0/runs/full; echo filled";
    assert_eq!(world.output("t", "s", fill).await, "filled\n", "what cannot be put on record is told all the same");
    let task = world.run("next", "s", json!([shell("a", "true")])).await;
    assert_eq!((state(&task), reason(&task)), (Some(TaskState::Failed), "StartError"), "{:?}", task.status);
    assert!(message(&task).contains("No space left"), "{}", message(&task));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_more_of_the_nodes_disk_than_allowed_loses_the_pod() {
    let world = World::new("hostile-disk").await;
    let mut template = template();
    template["spec"]["containers"][0]["resources"] = json!({"limits": {"ephemeral-storage": "16Mi"}});
    world.pool_of("p", 1, &template).await;
    world.sandbox("s", "p").await;
    let fill = "dd if=/dev/zero of=/.arl/state/full bs=1M count=64; echo filled; sleep 7797";
    // The kubelet looks at disks when it comes to it.
    world.task_with("t", &json!({"sandboxRef": "s", "timeout": "10m", "steps": [shell("a", fill)]})).await;
    let task = world.finished("t").await;
    assert_eq!((state(&task), reason(&task)), (Some(TaskState::Failed), "PodLost"), "{:?}", task.status);
    assert!(
        message(&task).contains("was evicted by its node") && message(&task).contains("16Mi;"),
        "{}",
        message(&task)
    );
    world.phase("s", SandboxPhase::Released).await;
    world.sandbox("next", "p").await;
    assert_eq!(world.output("fine", "next", "echo fine").await, "fine\n");
}

const TO_THE_STREAM: &str = "for p in /proc/[0-9]*; do if tr '\\0' ' ' <$p/cmdline | grep -q 'agent connect'; \
                             then relay=$p; fi; done; [ -e $relay/fd/1 ] || exit 9";

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_the_stream_breaks_only_the_stream() {
    let script = format!("{TO_THE_STREAM}; head -c 100000 /dev/urandom >$relay/fd/1; echo written");
    let done = hostile("hostile-garbage", &script).await;
    done.assert_end(&["Succeeded"]);
    assert_eq!(status(&done.task).stdout.as_deref(), Some("written\n"));
    assert_eq!(done.world.output("same", "s", "echo same").await, "same\n");
}

/// What the agent might say, and as often as nobody asked: in one write, so that what it says itself stays whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_good_messages_breaks_only_the_stream() {
    let pong = frame::encode(&FromAgent::Pong);
    let octal = pong.iter().map(|byte| format!("\\{byte:03o}")).collect::<Vec<_>>().concat();
    let many = 4096 / pong.len();
    let script = format!("{TO_THE_STREAM}; printf '{}' >$relay/fd/1; echo written", octal.repeat(many));
    let done = hostile("hostile-flood", &script).await;
    done.assert_end(&["Succeeded"]);
    assert_eq!(status(&done.task).stdout.as_deref(), Some("written\n"));
    assert_eq!(done.world.output("same", "s", "echo same").await, "same\n");
    done.world.operator().metrics_with(&["arl_run_streams_total{result=\"unfit\"} 1"]).await;
}

/// A frame that never ends swallows what the agent says next.
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_never_ends_only_delays() {
    let script = format!("{TO_THE_STREAM}; printf '\\000\\002\\000\\000' >$relay/fd/1; echo written");
    let done = hostile("hostile-frame", &script).await;
    done.assert_end(&["Succeeded"]);
    assert_eq!(status(&done.task).stdout.as_deref(), Some("written\n"));
}

/// Stops the agent, so that it neither takes nor says anything.
pub const STOP_THE_AGENT: &str = "for p in /proc/[0-9]*; do if tr '\\0' ' ' <$p/cmdline | grep -q ' [s]upervise '; \
                              then kill -STOP ${p#/proc/}; fi; done";

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_made_to_hang_is_given_up() {
    let done = hostile("hostile-hang", STOP_THE_AGENT).await;
    done.assert_end(&["TimedOut"]);
    done.assert_says("does not answer");
    done.assert_says("given up");
    let tells = |event: &Event| {
        event.regarding.as_ref().is_some_and(|about| about.name.as_deref() == Some("s"))
            && event.reason.as_deref() == Some("PodGivenUp")
            && event.note.as_ref().is_some_and(|note| note.contains("Task t: ") && note.contains("does not answer"))
    };
    done.world.all("its Sandbox has an Event that says why", |events: &[Event]| events.iter().any(tells)).await;
}

/// A new operator reaches the agent, which does not say a word.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_stopped_starts_nothing_and_is_told() {
    let mut world = World::with_sandbox("hostile-stopped").await;
    assert_eq!(world.output("first", "s", "echo first").await, "first\n");
    world.kill();
    world.look_into(&world.pod_of("s").await, STOP_THE_AGENT).await;
    world.start_operator().await;
    let task = world.run("t", "s", json!([shell("a", "true")])).await;
    assert_eq!((state(&task), reason(&task)), (Some(TaskState::Failed), "StartError"), "{:?}", task.status);
    assert!(message(&task).contains("does not greet"), "{}", message(&task));
}

/// A new operator has heard nothing of the run, and hears nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_hangs_before_a_crash_is_given_up_after_it() {
    let mut world = World::with_sandbox("hostile-crash").await;
    let script = "sleep 7796";
    world.task_with("t", &json!({"sandboxRef": "s", "timeout": "15s", "steps": [shell("a", script)]})).await;
    world.running("t").await;
    world.kill();
    world.look_into(&world.pod_of("s").await, STOP_THE_AGENT).await;
    world.start_operator().await;
    let task = world.finished("t").await;
    assert_eq!((state(&task), reason(&task)), (Some(TaskState::Failed), "TimedOut"), "{:?}", task.status);
    assert!(message(&task).contains("given up"), "{}", message(&task));
    world.phase("s", SandboxPhase::Released).await;
}
