//! Who must not notice what happens in another Sandbox.

use arl_crds::TaskState;
use serde_json::json;

use super::{
    World,
    make::{shell, status},
    wait::state,
};

/// A Task that runs in a Sandbox of its own.
pub struct Bystander {
    pod: String,
}

impl World {
    /// A world with a Sandbox `s`, in this pod, and a bystander.
    pub async fn beside_a_bystander(name: &str) -> (Self, String, Bystander) {
        let world = Self::new(name).await;
        world.pool("p", 2).await;
        world.sandbox("bystander", "p").await;
        world.sandbox("s", "p").await;
        let ticks = "while ! [ -e /workspace/go ]; do echo tick; sleep 0.2; done; echo end";
        let spec = json!({"sandboxRef": "bystander", "timeout": "10m", "steps": [shell("a", ticks)]});
        world.task_with("beside", &spec).await;
        world.running("beside").await;
        let (pod, beside) = (world.pod_of("s").await, world.pod_of("bystander").await);
        assert_ne!(pod, beside);
        (world, pod, Bystander { pod: beside })
    }

    /// Another Sandbox, `next`, can be used, the bystander's Task has gone on, and so has the operator.
    pub async fn assert_unnoticed(&mut self, bystander: &Bystander) {
        self.sandbox("next", "p").await;
        assert_eq!(self.output("next", "next", "echo fine").await, "fine\n");
        assert_eq!(state(&self.running("beside").await), Some(TaskState::Running));
        self.look_into(&bystander.pod, "touch /workspace/go").await;
        let beside = self.finished("beside").await;
        let out = status(&beside).stdout.as_deref().unwrap_or_default();
        assert_eq!(state(&beside), Some(TaskState::Succeeded), "{:?}", beside.status);
        assert!(out.starts_with("tick\n") && out.ends_with("tick\nend\n"), "{out:?}");
        assert!(self.operator_is_alive());
    }
}
