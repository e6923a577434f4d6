//! Variables of a Sandbox, in its steps and its live processes, by both ways to run steps.

use arl_client::{Client, Command};
use arl_crds::Sandbox;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{manifest, shell, status, template};

const SHOW: &str = "echo $OF $BOTH $OWN";

fn with_env(mut step: Value, env: Value) -> Value {
    step["env"] = env;
    step
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_and_live_processes_get_the_variables_of_their_sandbox_and_their_own_win() {
    let world = World::new("variables").await;
    world.pool("agent", 2).await;
    world.exec_pool("plain", &template()).await;
    for pool in ["agent", "plain"] {
        let spec = json!({"poolRef": pool, "keepAlive": true, "env": {"OF": "the sandbox\u{2019}s", "BOTH": "x"}});
        world.sandbox_with(pool, &spec).await;
        let own = with_env(shell("own", SHOW), json!({"BOTH": "the step's", "OWN": "too"}));
        let task = world.run(&format!("task-{pool}"), pool, json!([shell("plain", SHOW), own])).await;
        let printed: Vec<_> = status(&task).steps.iter().map(|step| step.stdout.clone().unwrap_or_default()).collect();
        assert_eq!(printed, ["the sandbox\u{2019}s x\n", "the sandbox\u{2019}s the step's too\n"], "{pool}: {task:?}");
    }
    let client = Client::new(world.client.clone(), world.ns.as_str());
    let sandbox = client.open("agent").await.unwrap();
    let copy = sandbox.fork(1, "/workspace").await.remove(0).unwrap();
    for sandbox in [sandbox, copy] {
        let printed = sandbox.run(Command::shell(SHOW).env("OWN", "live")).await.unwrap();
        assert_eq!(printed.stdout_text(), "the sandbox\u{2019}s x live\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_of_a_sandbox_are_bounded_and_cannot_be_changed() {
    let world = World::without_operator("variables-fixed").await;
    let sandbox = |env: Value| manifest("Sandbox", "s", &json!({"poolRef": "p", "env": env}));
    let many: Value = (0..33).map(|n| (format!("A{n}"), json!("x"))).collect::<serde_json::Map<_, _>>().into();
    for (env, said) in [
        (json!({"1A": "x"}), "names of variables are letters"),
        (json!({"A".repeat(65): "x"}), "at most 64 characters"),
        (json!({"A": "x".repeat(1025)}), "may not be more than 1024"),
        (json!({"A": "x\u{0}"}), "should match"),
        (
            ["A", "B", "C", "D"].map(|name| (name.to_owned(), json!("x".repeat(1024)))).into_iter().collect(),
            "4096 characters",
        ),
        (many, "must have at most 32 items"),
    ] {
        let refused = world.try_create(&sandbox(env), true).await.unwrap_err().to_string();
        assert!(refused.contains(said), "{said}: {refused}");
    }
    world.create(&sandbox(json!({"A": "x"}))).await;
    for env in [json!({"A": "y"}), json!({"B": "x"}), Value::Null] {
        let change = Patch::Merge(json!({"spec": {"env": env}}));
        let refused =
            world.api::<Sandbox>().patch("s", &PatchParams::default(), &change).await.unwrap_err().to_string();
        assert!(refused.contains("env cannot be changed"), "{refused}");
    }
    let _kept: Sandbox = world.merge("s", &json!({"spec": {"keepAlive": true}})).await;
}
