//! Tasks that are so large that the API server cannot store their result beside them.

use std::time::Duration;

use arl_crds::Task;
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{manifest, reason, shell, status};
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

impl World {
    async fn remove(&self, name: &str) {
        self.delete::<Task>(name).await;
        self.gone::<Task>(name).await;
    }

    /// The most bytes of arguments that the API server stores.
    async fn most(&self) -> usize {
        let (mut fits, mut refused) = (1 << 20, 2 << 20);
        while refused - fits > 16 {
            let middle = usize::midpoint(fits, refused);
            match self.try_create(&task(middle), false).await {
                Ok(_) => {
                    fits = middle;
                    self.remove("huge").await;
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
    let most = world.most().await;
    world.create(&task(most - 4096)).await;
    world.start_operator().await;
    let ended = world.finished("huge").await;
    assert_eq!((reason(&ended), status(&ended).steps.len()), ("InvalidSpec", 0), "{:?}", ended.status);
    world.remove("huge").await;

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
    world.remove("huge").await;
    assert!(world.operator_is_alive());
}
