//! Templates of all kinds take the agent, and stay what they are.

use arl_client::{Client, Command, Fault};
use arl_crds::{SandboxPhase, TaskState, WarmPool};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{IMAGE, command, file, manifest, shell, status, template};
use crate::harness::wait::state;

/// A Sandbox `s` on a pool `p` of a template; and its pod.
async fn with_template(world: &World, template: &Value) -> Pod {
    world.pool_of("p", 1, template).await;
    world.sandbox("s", "p").await;
    world.phase("s", SandboxPhase::Ready).await;
    world.api::<Pod>().get(&world.pod_of("s").await).await.unwrap()
}

/// Writes, reads and fails in the Sandbox `s`, as the user `uid`.
async fn assert_steps_work(world: &World, uid: &str) {
    let steps = json!([file("write", "/workspace/f", "content\n"), shell("read", "cat /workspace/f; id -u")]);
    let task = world.run("steps", "s", steps).await;
    assert_eq!(state(&task), Some(TaskState::Succeeded), "{:?}", task.status);
    assert_eq!(status(&task).stdout, Some(format!("content\n{uid}\n")));
}

/// What the pod security standard "restricted" asks for.
fn restricted(mut template: Value) -> Value {
    template["spec"]["securityContext"] =
        json!({"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}});
    template["spec"]["containers"][0]["securityContext"] =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true});
    template
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guaranteed_pod_without_root_stays_guaranteed() {
    let world = World::new("guaranteed").await;
    let mut python = restricted(template());
    let executor = &mut python["spec"]["containers"][0];
    executor["image"] = json!("python:3.9-slim");
    executor["resources"] = json!({"limits": {"cpu": "200m", "memory": "128Mi"}});
    let pod = with_template(&world, &python).await;
    assert_eq!(pod.status.unwrap().qos_class.as_deref(), Some("Guaranteed"));
    assert_steps_work(&world, "1000").await;
    let script = "import os; print(os.getuid()); open('/workspace/p', 'w').write('x'); open('/p', 'w')";
    let task = world.run("python", "s", json!([command("a", &["python3", "-c", script])])).await;
    assert_eq!((status(&task).stdout.as_deref(), status(&task).exit_code), (Some("1000\n"), Some(1)));
    assert!(status(&task).stderr.as_deref().unwrap().contains("Read-only file system"), "{:?}", task.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_root_stays_one() {
    let world = World::new("root").await;
    with_template(&world, &template()).await;
    assert_steps_work(&world, "0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restricted_namespace_takes_the_agent() {
    let world = World::without_operator("restricted").await;
    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces.patch(&world.ns, &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    let mut world = world;
    world.start_operator().await;
    world.pool("unfit", 1).await;
    let refused = |p: &WarmPool| p.status.iter().flat_map(|s| &s.conditions).any(|c| c.reason == "Refused");
    let pool = world.one("unfit", "Refused", refused).await;
    let said = pool.status.unwrap().conditions.into_iter().find(|c| c.type_ == "PodsFailing").unwrap().message;
    assert!(said.contains("executor") && !said.contains("arl-agent"), "only the template is at fault: {said}");

    with_template(&world, &restricted(template())).await;
    world.pool_is_ready("p", 1).await;
    assert_steps_work(&world, "1000").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_run_in_the_named_container_and_the_others_stay_as_they_are() {
    let world = World::new("second").await;
    let mut two = template();
    let mut named = two["spec"]["containers"][0].clone();
    named["name"] = json!("second");
    named["env"] = json!([{"name": "WHO", "value": "second"}]);
    two["spec"]["containers"].as_array_mut().unwrap().push(named);
    let spec = json!({"replicas": 1, "template": two, "executor": {"container": "second"}});
    world.create(&manifest("WarmPool", "p", &spec)).await;
    world.sandbox("s", "p").await;
    assert_eq!(world.output("who", "s", "echo $WHO; ls -d /.arl").await, "second\n/.arl\n");
    assert_steps_work(&world, "0").await;

    // The look goes to the container named executor.
    let pod = world.pod_of("s").await;
    assert_eq!(world.look_into(&pod, "echo $WHO; ls -d /.arl 2>/dev/null; cat /workspace/f").await, "\ncontent\n");
    let pod = world.api::<Pod>().get(&pod).await.unwrap();
    let mounts = |container: usize| {
        let mounts = pod.spec.as_ref().unwrap().containers[container].volume_mounts.clone().unwrap_or_default();
        mounts.into_iter().filter(|m| m.mount_path.starts_with("/.arl")).count()
    };
    assert_eq!((mounts(0), mounts(1)), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_templates_own_init_container_does_its_work() {
    let world = World::new("init").await;
    let mut prepared = template();
    prepared["spec"]["initContainers"] = json!([{
        "name": "prepare", "image": IMAGE, "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "echo prepared >/workspace/prepared"],
        "volumeMounts": [{"name": "workspace", "mountPath": "/workspace"}],
    }]);
    let pod = with_template(&world, &prepared).await;
    let names: Vec<_> = pod.spec.unwrap().init_containers.unwrap().into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["arl-agent", "prepare"]);
    assert_eq!(world.output("look", "s", "cat /workspace/prepared").await, "prepared\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_has_a_token_only_where_the_template_names_an_account() {
    let world = World::new("token").await;
    let mut named = template();
    named["spec"]["serviceAccountName"] = json!("default");
    for (name, template, expected) in [("without", template(), "none\n"), ("with", named, "a token\n")] {
        world.pool_of(name, 1, &template).await;
        world.sandbox(name, name).await;
        let look = "[ -e /var/run/secrets/kubernetes.io/serviceaccount/token ] && echo a token || echo none";
        assert_eq!(world.output(name, name, look).await, expected, "{name}");
    }
}

/// In place of OpenShift's default policy, which chooses the users itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_forbids_to_name_a_user_takes_the_agent() {
    let mut world = World::without_operator("no-uid").await;
    let rule = "object.spec.containers.all(c, !has(c.securityContext) || !has(c.securityContext.runAsUser)) && \
                (!has(object.spec.initContainers) || object.spec.initContainers.all(c, !has(c.securityContext) || \
                !has(c.securityContext.runAsUser)))";
    let policy = json!({"metadata": {"name": world.ns}, "spec": {
        "matchConstraints": {"resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
        ]},
        "validations": [{"expression": rule, "message": "users are not chosen here"}],
    }});
    let binding = json!({"metadata": {"name": world.ns}, "spec": {
        "policyName": world.ns, "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": world.ns}}},
    }});
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(world.client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(world.client.clone());
    policies.create(&PostParams::default(), &serde_json::from_value(policy).unwrap()).await.unwrap();
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    let mut fixed = template();
    fixed["metadata"] = json!({"name": "fixed"});
    fixed["spec"]["containers"][0]["securityContext"] = json!({"runAsUser": 1000});
    let fixed: Pod = serde_json::from_value(fixed).unwrap();
    let try_out = PostParams { dry_run: true, ..PostParams::default() };
    // It takes a moment until the policy holds.
    while world.api::<Pod>().create(&try_out, &fixed).await.is_ok() {
        world.pass(std::time::Duration::from_millis(100)).await;
    }
    world.start_operator().await;
    let mut group = template();
    group["spec"]["securityContext"] = json!({"fsGroup": 3000});
    with_template(&world, &group).await;
    assert_steps_work(&world, "0").await;
    bindings.delete(&world.ns, &DeleteParams::default()).await.unwrap();
    policies.delete(&world.ns, &DeleteParams::default()).await.unwrap();
}

/// Root of the pod is not the init container's user; neither is a user that no image knows.
#[tokio::test(flavor = "multi_thread")]
async fn any_user_of_a_pod_will_do() {
    let world = World::new("users").await;
    for (name, context) in [
        ("root", json!({"runAsUser": 0})),
        ("unknown", json!({"runAsUser": 1_234_567, "runAsGroup": 0, "fsGroup": 1_234_567, "runAsNonRoot": true})),
        ("nonroot", json!({"runAsUser": 65532})),
    ] {
        let mut template = template();
        template["spec"]["securityContext"] = context.clone();
        world.pool_of(name, 1, &template).await;
        world.sandbox(name, name).await;
        let look = world.output(name, name, "id -u; stat -c '%u %a' /.arl/state/$(id -u)").await;
        let uid = &context["runAsUser"];
        assert!(look.starts_with(&format!("{uid}\n{uid} ")) && look.ends_with("700\n"), "{name}: {look}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_runs_at_the_path_of_the_working_directory() {
    let world = World::new("home").await;
    let mut home = template();
    home["spec"]["containers"][0]["workingDir"] = json!("/home/work");
    with_template(&world, &home).await;
    let look = "pwd; echo new >f; ls /home";
    let steps = json!([shell("move", "mv /home/work /home/old && mkdir /home/work"), shell("look", look)]);
    let task = world.run("moved", "s", steps).await;
    assert_eq!(status(&task).stdout.as_deref(), Some("/home/work\nold\nwork\n"), "{:?}", task.status);
    let gone = world.run("gone", "s", json!([shell("a", "ls /home/old; rm -r /home/work"), shell("b", "true")])).await;
    assert_eq!((status(&gone).exit_code, status(&gone).steps[0].stdout.as_deref()), (Some(126), Some("")), "{gone:?}");
    assert!(crate::harness::make::message(&gone).contains("/home/work"), "{:?}", gone.status);
    let back = crate::harness::make::in_folder(shell("a", "mkdir /home/work"), "/");
    assert_eq!(state(&world.run("back", "s", json!([back, shell("b", "pwd")])).await), Some(TaskState::Succeeded));
}

/// As of a release that is switched by one link, in both modes.
#[tokio::test(flavor = "multi_thread")]
async fn a_working_directory_that_is_a_link_leads_where_the_link_does() {
    let world = World::new("home-link").await;
    let mut linked = template();
    linked["spec"]["volumes"] = json!([{"name": "app", "emptyDir": {}}]);
    linked["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "app", "mountPath": "/app"}]);
    linked["spec"]["containers"][0]["workingDir"] = json!("/app/current");
    let mut init = linked["spec"]["containers"][0].clone();
    init["name"] = json!("releases");
    init["workingDir"] = json!("/app");
    init["command"] = json!(["sh", "-c", "mkdir first second && ln -s first current"]);
    linked["spec"]["initContainers"] = json!([init]);
    for mode in ["Agent", "Exec"] {
        let spec = json!({"replicas": 1, "template": linked, "executor": {"mode": mode}});
        let name = mode.to_lowercase();
        world.create(&manifest("WarmPool", &name, &spec)).await;
        world.sandbox(&name, &name).await;
        let patch = json!({"name": "patch", "type": "FilePatch", "path": "f", "content": "new"});
        let steps =
            json!([shell("switch", "ln -sfn second /app/current"), patch, shell("look", "pwd -P; ls /app/second")]);
        let task = world.run(&name, &name, steps).await;
        let printed = status(&task).steps.last().and_then(|step| step.stdout.as_deref());
        assert_eq!(printed, Some("/app/second\nf\n"), "{mode}: {:?}", task.status);
    }
}

/// The container runtime starts nothing in a container without it, whatever is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_after_the_working_directory_is_told_that_it_is_gone() {
    let mut world = World::new("homeless").await;
    let mut home = template();
    home["spec"]["containers"][0]["workingDir"] = json!("/home/work");
    with_template(&world, &home).await;
    assert_eq!(world.output("gone", "s", "rmdir /home/work").await, "");
    world.kill();
    world.start_operator().await;
    let late = world.run("late", "s", json!([crate::harness::make::in_folder(shell("a", "true"), "/")])).await;
    let said = crate::harness::make::message(&late);
    assert_eq!(crate::harness::make::reason(&late), "StartError", "{:?}", late.status);
    assert!(said.contains("working directory is gone") && said.contains("use another Sandbox"), "{said}");
    let sandbox = Client::new(world.client.clone(), world.ns.as_str()).open("s").await;
    let error = match sandbox {
        Ok(sandbox) => sandbox.run(Command::new(["true"]).cwd("/")).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(error.to_string().contains("working directory is gone") && error.fault() == Fault::Task, "{error}");
}
