//! Tasks that are so large that the API server cannot store their result beside them.

use std::time::Duration;

use arl_crds::{Sandbox, Task, WarmPool};
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{manifest, reason, shell, status, template};
use crate::harness::wait::Kind;
use crate::refusals::event;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_with_no_room_for_its_result_is_invalid_and_holds_nobody_up() {
    let world = World::with_sandbox("no-room").await;
    let steps: Vec<Value> = (0..12)
        .map(|n| json!({"name": format!("s{n}"), "type": "Command", "command": ["true", "x".repeat(128 * 1024 - 500)]}))
        .collect();
    world.task("huge", "s", json!(steps)).await;
    world.task("next", "s", json!([shell("a", "true")])).await;
    assert_eq!(reason(&world.finished("next").await), "Succeeded");
    // Whether there is room even for that depends on etcd's limit.
    let huge = world.api::<Task>().get("huge").await.unwrap();
    assert_ne!(huge.status.as_ref().map(|_| reason(&huge)), Some("Succeeded"));
}

/// A Task of 64 steps with so many bytes of arguments.
fn task(bytes: usize) -> Value {
    let step = |n: usize| {
        let argument = "x".repeat(bytes / 64 + usize::from(n < bytes % 64));
        json!({"name": format!("{n:063}"), "type": "Command", "command": ["true", argument]})
    };
    manifest("Task", "huge", &json!({"sandboxRef": "s", "steps": (0..64).map(step).collect::<Vec<_>>()}))
}

/// A Sandbox whose setup has so many bytes of arguments.
fn sandbox(bytes: usize) -> Value {
    let steps = task(bytes)["spec"]["steps"].take();
    manifest("Sandbox", "huge-sandbox", &json!({"poolRef": "p", "keepAlive": true, "setup": {"steps": steps}}))
}

/// A pool whose template has so many bytes of arguments.
fn pool(bytes: usize) -> Value {
    let mut template = template();
    template["spec"]["containers"][0]["args"] = json!(["x".repeat(bytes)]);
    manifest("WarmPool", "huge-pool", &json!({"replicas": 1, "template": template}))
}

impl World {
    async fn remove<K: Kind>(&self, name: &str) {
        self.delete::<K>(name).await;
        self.gone::<K>(name).await;
    }

    /// The most bytes of arguments that the API server stores.
    async fn most<K: Kind>(&self, name: &str, huge: fn(usize) -> Value) -> usize {
        let (mut fits, mut refused) = (1 << 20, 2 << 20);
        while refused - fits > 16 {
            let middle = usize::midpoint(fits, refused);
            match self.try_create(&huge(middle), false).await {
                Ok(_) => {
                    fits = middle;
                    self.remove::<K>(name).await;
                }
                Err(error) => {
                    assert!(error.to_string().contains("too large"), "{error}");
                    refused = middle;
                }
            }
        }
        fits
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_leaves_no_room_for_its_steps_still_ends_with_a_reason_and_one_that_leaves_none_is_told_by_an_event()
 {
    let mut world = World::without_operator("no-status").await;
    world.pool("p", 1).await;
    world.sandbox("s", "p").await;
    let most = world.most::<Task>("huge", task).await;
    world.create(&task(most - 4096)).await;
    world.start_operator().await;
    let ended = world.finished("huge").await;
    assert_eq!((reason(&ended), status(&ended).steps.len()), ("InvalidSpec", 0), "{:?}", ended.status);
    world.remove::<Task>("huge").await;

    world.create(&task(most)).await;
    event(&world, "huge", "Stalled", "leaves no room for its status").await;
    world.task("next", "s", json!([shell("a", "true")])).await;
    assert_eq!(reason(&world.finished("next").await), "Succeeded");
    let writes = async || {
        let requests = world.requests().await?;
        Some(requests.iter().filter(|r| r.is("patch", "tasks/status") && r.object_ref.name == "huge").count())
    };
    let before = writes().await;
    world.pass(Duration::from_secs(20)).await;
    let after = writes().await;
    if let Some((before, after)) = before.zip(after) {
        assert!(after - before <= 20, "{} writes in 20 s", after - before);
    }
    let huge = world.api::<Task>().get("huge").await.unwrap();
    assert_eq!(huge.status, None);
    world.remove::<Task>("huge").await;
    assert!(world.operator_is_alive());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_and_a_pool_that_leave_no_room_for_their_status_are_told_by_an_event_and_hold_nobody_up() {
    let mut world = World::without_operator("no-room-two").await;
    let most = world.most::<Sandbox>("huge-sandbox", sandbox).await;
    world.create(&sandbox(most)).await;
    let most = world.most::<WarmPool>("huge-pool", pool).await;
    world.create(&pool(most)).await;
    world.pool("p", 1).await;
    world.start_operator().await;
    for huge in ["huge-sandbox", "huge-pool"] {
        event(&world, huge, "Stalled", "leaves no room for its status").await;
    }
    world.sandbox("s", "p").await;
    world.task("t", "s", json!([shell("a", "true")])).await;
    assert_eq!(reason(&world.finished("t").await), "Succeeded");
    assert!(world.operator_is_alive());
}
