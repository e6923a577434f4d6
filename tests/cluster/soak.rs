//! Many Tasks while the operator is killed again and again: whatever the moment, every step runs once and every end is told.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arl_crds::{StepState, Task, TaskState};
use futures::future::join_all;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{file, reason, shell, status};
use crate::harness::wait::state;

const SANDBOXES: usize = 8;

/// A number from the environment.
fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Numbers that are the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// One Task of so many has a second step that fails.
const FAILS_EVERY: usize = 5;

fn fails(index: usize) -> bool {
    index % FAILS_EVERY == FAILS_EVERY - 1
}

fn name(index: usize) -> String {
    format!("t{index:03}")
}

fn sandbox(index: usize) -> String {
    format!("s{}", index % SANDBOXES)
}

/// Each step appends its own line to the log of its Sandbox and prints something before, while and after it waits.
fn steps(index: usize) -> Value {
    let task = name(index);
    let script = |step: &str, end: &str| {
        shell(
            step,
            &format!(
                "echo {task}-{step} >>/workspace/log; echo begin-{step}; sleep 0.4; echo middle-{step}; sleep 0.2; \
                 echo end-{step}{end}"
            ),
        )
    };
    let second = script("b", if fails(index) { "; exit 3" } else { "" });
    json!([script("a", ""), file("f", &format!("/workspace/{task}"), &task), second, script("c", "")])
}

fn printed(step: &str) -> String {
    format!("begin-{step}\nmiddle-{step}\nend-{step}\n")
}

/// What is wrong with the report on a Task; nothing where it is true and whole.
fn faults(index: usize, task: &Task) -> Vec<String> {
    let expected = if fails(index) { (TaskState::Failed, "StepFailed") } else { (TaskState::Succeeded, "Succeeded") };
    let mut faults = Vec::new();
    if (state(task), reason(task)) != (Some(expected.0), expected.1) {
        faults.push(format!("ended as {:?} {}", state(task), reason(task)));
    }
    let status = status(task);
    for (step, told) in ["a", "f", "b", "c"].iter().zip(&status.steps) {
        let (wanted, output) = match *step {
            "c" if fails(index) => (StepState::Skipped, None),
            "b" if fails(index) => (StepState::Failed, Some(printed(step))),
            "f" => (StepState::Succeeded, None),
            _ => (StepState::Succeeded, Some(printed(step))),
        };
        if (told.state, &told.stdout) != (wanted, &output) {
            faults.push(format!("step {step} is told as {told:?}"));
        }
    }
    faults
}

/// The lines that the Tasks of a Sandbox are to leave in its log, in order.
fn lines(tasks: usize, of: &str) -> Vec<String> {
    let indices = (0..tasks).filter(|index| sandbox(*index) == of);
    let of_task = |index| {
        let steps: &[&str] = if fails(index) { &["a", "b"] } else { &["a", "b", "c"] };
        steps.iter().map(move |step| format!("{}-{step}", name(index)))
    };
    indices.flat_map(of_task).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_runs_once_however_often_the_operator_is_killed() {
    let tasks: usize = setting("ARL_CRASH_TASKS").unwrap_or(40);
    let kills: usize = setting("ARL_CRASH_KILLS").unwrap_or(20);
    assert!(kills > 0, "Tasks are created between kills");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let seed = setting("ARL_CRASH_SEED").unwrap_or(u64::from(now) + 1);
    eprintln!("ARL_CRASH_SEED={seed} ARL_CRASH_TASKS={tasks} ARL_CRASH_KILLS={kills}");
    let mut random = Random(seed);

    let mut world = World::new("soak").await;
    world.pool("p", i32::try_from(SANDBOXES).unwrap()).await;
    let names: Vec<String> = (0..SANDBOXES.min(tasks)).map(sandbox).collect();
    join_all(names.iter().map(|name| world.sandbox(name, "p"))).await;
    let mut created = 0;
    for kill in 1..=kills {
        // Some at a time, so that there is work until the last kill.
        let due = tasks * kill / kills;
        for index in created..due {
            world
                .task_with(
                    &name(index),
                    &json!({"sandboxRef": sandbox(index), "timeout": "10m", "steps": steps(index)}),
                )
                .await;
        }
        created = due;
        world.pass(Duration::from_millis(random.below(1500))).await;
        world.kill();
        world.pass(Duration::from_millis(random.below(300))).await;
        world.start_operator().await;
    }

    let ended: BTreeMap<String, Task> =
        world.all_finished(tasks).await.into_iter().map(|task| (task.name_any(), task)).collect();
    let mut wrong = Vec::new();
    for index in 0..tasks {
        let task = &ended[&name(index)];
        wrong.extend(faults(index, task).into_iter().map(|fault| format!("{}: {fault}", name(index))));
    }
    for sandbox in &names {
        let pod = world.pod_of(sandbox).await;
        let log = world.look_into(&pod, "cat /workspace/log").await;
        let (log, wanted): (Vec<_>, _) = (log.lines().collect(), lines(tasks, sandbox));
        if log != wanted {
            wrong.push(format!("{sandbox} has the lines {log:?}, not {wanted:?}"));
        }
        let supervisors = world.look_into(&pod, "ps -o args | grep -c ' [s]upervise '").await;
        if supervisors != "1\n" {
            wrong.push(format!("{sandbox} has {supervisors} supervisors"));
        }
    }
    assert!(wrong.is_empty(), "ARL_CRASH_SEED={seed}\n{}", wrong.join("\n"));
    assert!(world.operator_is_alive());
}
