//! `pool`: WarmPools without a manifest.

use arl_crds::WarmPool;
use clap::{Args, Subcommand};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::{connect::Connection, failure::Failure, failures::Failures, kind, print, table};

/// The annotation of a template that `roll` changes.
const ROLLED_AT: &str = "arl.infra.io/rolled-at";

/// Make, scale, roll and delete WarmPools.
#[derive(Args, Debug)]
pub struct Flags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(Create),
    /// Change how many idle pods a pool keeps.
    Scale {
        /// The pool.
        #[arg(value_parser = kind::pool)]
        pool: String,
        /// Idle pods.
        #[arg(value_parser = clap::value_parser!(i32).range(0..))]
        replicas: i32,
    },
    /// Replace the idle pods of a pool, one by one, such as for a newer image of the same tag.
    Roll {
        /// The pool.
        #[arg(value_parser = kind::pool)]
        pool: String,
    },
    /// Delete pools and their idle pods; Sandboxes keep theirs.
    Delete {
        /// The pools.
        #[arg(required = true, value_parser = kind::pool)]
        pool: Vec<String>,
    },
}

/// Make a pool of an image.
#[derive(Args, Debug)]
struct Create {
    /// The image.
    image: String,
    /// Name of the pool; unset: the image's.
    #[arg(long)]
    name: Option<String>,
    /// Idle pods to keep.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(0..))]
    replicas: i32,
    /// CPU that a pod gets at most, and is given room for, such as 500m.
    #[arg(long)]
    cpu: Option<String>,
    /// Memory that a pod gets at most, and is given room for, such as 512Mi.
    #[arg(long)]
    memory: Option<String>,
    /// Let the image's own command run; otherwise the container sleeps.
    #[arg(long)]
    own_command: bool,
}

/// Does it.
pub async fn pool(connection: &Connection, flags: Flags) -> Result<(), Failure> {
    let pools = connection.api::<WarmPool>();
    match flags.action {
        Action::Create(create) => {
            let name = create.name.clone().unwrap_or_else(|| named_for(&create.image));
            let pool: WarmPool = serde_json::from_value(manifest(&name, &create))
                .map_err(|error| Failure::ours(format!("the pool cannot be made: {error}")))?;
            let created = connection.create(&pool).await;
            created.map_err(|error| Failure::api(&format!("create WarmPool {name}"), &error))?;
            print::line(format!("warmpool/{name} created"))
        }
        Action::Scale { pool, replicas } => {
            change(connection, &pool, &json!({ "spec": { "replicas": replicas } })).await?;
            print::line(format!("warmpool/{pool} scaled"))
        }
        Action::Roll { pool } => {
            let annotations = json!({ ROLLED_AT: table::now().to_string() });
            let template = json!({ "metadata": { "annotations": annotations } });
            change(connection, &pool, &json!({ "spec": { "template": template } })).await?;
            print::line(format!("warmpool/{pool} rolled"))
        }
        Action::Delete { pool } => {
            let mut failures = Failures::default();
            for name in pool {
                let deleted = pools.delete(&name, &DeleteParams::default()).await;
                let deleted = deleted.map_err(|error| connection.failed::<WarmPool>("delete", &name, &error));
                if failures.take(deleted).is_some() {
                    print::line(format!("warmpool/{name} deleted"))?;
                }
            }
            failures.result()
        }
    }
}

async fn change(connection: &Connection, pool: &str, change: &Value) -> Result<(), Failure> {
    let changed = connection.api::<WarmPool>().patch(pool, &PatchParams::default(), &Patch::Merge(change)).await;
    changed.map(drop).map_err(|error| connection.failed::<WarmPool>("change", pool, &error))
}

fn manifest(name: &str, create: &Create) -> Value {
    let mut container = json!({
        "name": "executor", "image": create.image, "volumeMounts": [{ "name": "workspace", "mountPath": "/workspace" }],
    });
    if !create.own_command {
        container["command"] = json!(["sleep", "2147483647"]);
    }
    for (resource, amount) in [("cpu", &create.cpu), ("memory", &create.memory)] {
        if let Some(amount) = amount {
            container["resources"]["requests"][resource] = json!(amount);
            container["resources"]["limits"][resource] = json!(amount);
        }
    }
    let spec = json!({ "containers": [container], "volumes": [{ "name": "workspace", "emptyDir": {} }] });
    json!({
        "apiVersion": "arl.infra.io/v1alpha1", "kind": "WarmPool", "metadata": { "name": name },
        "spec": { "replicas": create.replicas, "template": { "spec": spec } },
    })
}

/// The last part of an image's name, without tag and digest.
fn named_for(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let name = last.split(['@', ':']).next().unwrap_or(last);
    name.to_lowercase().replace(['_', '.'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_named_for_its_image() {
        for (image, name) in [
            ("python:3.12-slim", "python"),
            ("registry.local:5000/a/My_Tool@sha256:00", "my-tool"),
            ("busybox", "busybox"),
        ] {
            assert_eq!(named_for(image), name);
        }
    }

    #[test]
    fn a_pod_gets_what_it_is_given_room_for() {
        let create = Create {
            image: "i".into(),
            name: None,
            replicas: 2,
            cpu: None,
            memory: Some("1Gi".into()),
            own_command: true,
        };
        let made = manifest("p", &create);
        let container = &made["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["resources"], json!({ "requests": { "memory": "1Gi" }, "limits": { "memory": "1Gi" } }));
        assert!(container["command"].is_null() && made["spec"]["replicas"] == 2);
    }
}
