//! `observedGeneration` says which spec a status is about: it follows every change, of whatever kind and in whatever state.

use arl_crds::{Sandbox, SandboxPhase, Task, TaskState, WarmPool};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{reason, shell};
use crate::harness::wait::{Kind, state};

/// What of a status is about generations.
trait Observed: Kind {
    fn observed(&self) -> Option<(Option<i64>, &[Condition])>;
}

macro_rules! observed {
    ($($kind:ident),+) => {$(
        impl Observed for $kind {
            fn observed(&self) -> Option<(Option<i64>, &[Condition])> {
                self.status.as_ref().map(|s| (s.observed_generation, s.conditions.as_slice()))
            }
        }
    )+};
}
observed!(WarmPool, Sandbox, Task);

fn is_current<K: Observed>(object: &K) -> bool {
    let generation = Resource::meta(object).generation;
    object.observed().is_some_and(|(observed, conditions)| {
        observed == generation
            && !conditions.is_empty()
            && conditions.iter().all(|c| c.observed_generation == generation)
    })
}

impl World {
    /// Changes a spec and waits until the status, and each condition in it, is about what it is now.
    async fn changed<K: Observed>(&self, name: &str, spec: &Value) -> K {
        let changed: K = self.merge(name, &json!({"spec": spec})).await;
        let (wanted, kind) = (changed.meta().generation, K::kind(&()));
        assert!(wanted > Some(1), "{kind} {name} is another one: {wanted:?}");
        self.one(name, &format!("generation {wanted:?} is observed"), |object: &K| {
            Resource::meta(object).generation == wanted && is_current(object)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_follows_its_spec_idle_and_in_trouble() {
    let world = World::new("generation-pool").await;
    world.pool("p", 1).await;
    world.pool_is_ready("p", 1).await;
    world.changed::<WarmPool>("p", &json!({"replicas": 2})).await;
    world.pool_is_ready("p", 2).await;
    // What changes nothing about the pods is observed too, also where nothing else is left to do.
    world.changed::<WarmPool>("p", &json!({"executor": {"mode": "Exec"}})).await;
    world.changed::<WarmPool>("p", &json!({"executor": {"container": "nosuch"}})).await;
    world.changed::<WarmPool>("p", &json!({"executor": {"container": "executor"}})).await;
    world.changed::<WarmPool>("p", &json!({"template": {"spec": {"restartPolicy": "Sometimes"}}})).await;
    world.changed::<WarmPool>("p", &json!({"replicas": 0})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_follows_its_spec_in_every_phase() {
    let world = World::new("generation-sandbox").await;
    let ttl = |seconds: i32| json!({"ttlSecondsAfterFinished": seconds});
    world.sandbox("s", "p").await;
    world.sandbox_reason("s", "PoolNotFound").await;
    world.changed::<Sandbox>("s", &ttl(1_000)).await;
    world.pool("p", 1).await;
    world.phase("s", SandboxPhase::Ready).await;
    world.changed::<Sandbox>("s", &ttl(1_001)).await;
    world.task_with("t", &json!({"sandboxRef": "s", "timeout": "10m", "steps": [shell("a", "sleep 600")]})).await;
    world.phase("s", SandboxPhase::Bound).await;
    let bound = world.changed::<Sandbox>("s", &ttl(1_002)).await;
    assert_eq!(bound.status.unwrap().phase, Some(SandboxPhase::Bound));
    world.changed::<Sandbox>("s", &json!({"keepAlive": false, "ttlSecondsAfterFinished": null})).await;
    world.merge::<Task>("t", &json!({"spec": {"cancel": true}})).await;
    world.phase("s", SandboxPhase::Released).await;
    let released = world.changed::<Sandbox>("s", &ttl(1_003)).await;
    assert_eq!(released.status.unwrap().phase, Some(SandboxPhase::Released));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_follows_its_spec_in_every_state() {
    let world = World::new("generation-task").await;
    let ttl = |seconds: i32| json!({"ttlSecondsAfterFinished": seconds});
    let spec = json!({"sandboxRef": "s", "timeout": "10m", "steps": [shell("a", "sleep 600")]});
    world.task_with("t", &spec).await;
    world.one("t", "it waits for the Sandbox", |t: &Task| t.status.is_some() && reason(t) == "SandboxNotFound").await;
    world.changed::<Task>("t", &ttl(1_000)).await;
    world.pool("p", 1).await;
    world.sandbox("s", "p").await;
    world.running("t").await;
    let running = world.changed::<Task>("t", &ttl(1_001)).await;
    assert_eq!(state(&running), Some(TaskState::Running));
    world.task_with("next", &spec).await;
    world.one("next", "it is queued", |t: &Task| t.status.is_some() && reason(t) == "Queued").await;
    world.changed::<Task>("next", &ttl(1_002)).await;
    let cancelled = world.changed::<Task>("next", &json!({"cancel": true})).await;
    assert_eq!(reason(&cancelled), "Cancelled");
    world.changed::<Task>("t", &json!({"cancel": true})).await;
    assert_eq!(reason(&world.finished("t").await), "Cancelled");
    let finished = world.changed::<Task>("t", &ttl(1_003)).await;
    assert_eq!(reason(&finished), "Cancelled");
}
