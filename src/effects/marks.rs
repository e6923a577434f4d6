//! What marks a pod as its pool's. Where an admission webhook takes it away, the pool would not find the pod, and would make another. And what its
//! agent needs: without, the pod would be ready, and no step could be started in it.

use arl_crds::{GROUP, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use crate::pod::AGENT;

/// What is in words of every refusal for a mark.
pub const NOT_AS_ASKED: &str = "is not as it was asked for: an admission webhook or policy changes it";

/// What is kept of the answer to a creation.
#[derive(Debug, Deserialize)]
pub(super) struct Made {
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    spec: MadeSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MadeSpec {
    containers: Option<Vec<MadeContainer>>,
    init_containers: Option<Vec<MadeContainer>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MadeContainer {
    name: String,
    volume_mounts: Option<Vec<MadeMount>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MadeMount {
    name: String,
    mount_path: String,
    sub_path: String,
}

impl MadeMount {
    fn is(&self, asked: &Value) -> bool {
        [("name", &self.name), ("mountPath", &self.mount_path), ("subPath", &self.sub_path)]
            .into_iter()
            .all(|(field, found)| asked[field].as_str().unwrap_or_default() == found)
    }
}

/// The first mark, or part of the agent, of the pod that is made differently from what was sent, in words.
pub(super) fn changed(sent: &Value, made: &Made) -> Option<String> {
    changed_mark(&sent["metadata"], &made.metadata).or_else(|| changed_agent(sent, &made.spec))
}

fn changed_agent(sent: &Value, made: &MadeSpec) -> Option<String> {
    sent["metadata"]["annotations"].get(labels::AGENT)?;
    let lists = [("initContainers", &made.init_containers), ("containers", &made.containers)];
    lists.into_iter().find_map(|(list, found)| {
        let found = || found.iter().flatten();
        sent["spec"][list].as_array().into_iter().flatten().find_map(|asked| {
            let mounts = asked["volumeMounts"].as_array().into_iter().flatten().filter(|mount| mount["name"] == AGENT);
            let name = asked["name"].as_str().unwrap_or_default();
            let container = found().find(|found| found.name == name);
            let mounted = || container.and_then(|found| found.volume_mounts.as_ref()).into_iter().flatten();
            let lacks = mounts.clone().any(|asked| !mounted().any(|mount| mount.is(asked)));
            match container {
                None if lacks => Some(format!("the container {name} of the pod {NOT_AS_ASKED}")),
                _ if lacks => Some(format!("a mount of {AGENT} in the container {name} of the pod {NOT_AS_ASKED}")),
                _ => None,
            }
        })
    })
}

fn changed_mark(sent: &Value, made: &ObjectMeta) -> Option<String> {
    let kinds = [("label", &sent["labels"], &made.labels), ("annotation", &sent["annotations"], &made.annotations)];
    for (kind, asked, found) in kinds {
        let ours = asked.as_object().into_iter().flatten().filter(|(name, _)| is_ours(name));
        for (name, value) in ours {
            if found.as_ref().and_then(|found| found.get(name)).map(String::as_str) != value.as_str() {
                return Some(format!("the {kind} {name} of the pod {NOT_AS_ASKED}"));
            }
        }
    }
    let owner = &sent["ownerReferences"][0]["uid"];
    let controls_it = |uid: &str, controls: Option<bool>| owner.as_str() == Some(uid) && controls == Some(true);
    let has_owner = made.owner_references.iter().flatten().any(|owner| controls_it(&owner.uid, owner.controller));
    (!has_owner).then(|| format!("the owner of the pod {NOT_AS_ASKED}"))
}

fn is_ours(name: &str) -> bool {
    name.strip_prefix(GROUP).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata() -> Value {
        json!({
            "name": "p-1",
            "labels": { "arl.infra.io/warmpool": "p", "arl.infra.io/pod-state": "ready", "app": "mine" },
            "annotations": { "arl.infra.io/executor": "executor" },
            "ownerReferences": [{ "apiVersion": "a/v1", "kind": "WarmPool", "name": "p", "uid": "u", "controller": true }],
        })
    }

    type Change = fn(&mut Value);

    fn changed_by(change: impl FnOnce(&mut Value)) -> Option<String> {
        let mut made = metadata();
        change(&mut made);
        changed(&json!({ "metadata": metadata() }), &serde_json::from_value(json!({ "metadata": made })).unwrap())
    }

    fn pod() -> Value {
        let mut pod = json!({ "metadata": metadata(), "spec": {
            "initContainers": [{ "name": "arl-agent", "volumeMounts": [{ "name": "arl-agent", "mountPath": "/.arl" }] }],
            "containers": [{ "name": "helper" }, { "name": "executor", "volumeMounts": [
                { "name": "data", "mountPath": "/data" },
                { "name": "arl-agent", "mountPath": "/.arl", "subPath": "bin", "readOnly": true },
                { "name": "arl-agent", "mountPath": "/.arl/state", "subPath": "state" },
            ] }],
        } });
        pod["metadata"]["annotations"]["arl.infra.io/agent"] = json!("2");
        pod
    }

    #[test]
    fn a_part_of_the_agent_that_admission_takes_away_is_named_and_nothing_else_of_the_spec() {
        let made_by = |change: Change| {
            let mut made = pod();
            change(&mut made["spec"]);
            serde_json::from_value::<Made>(made).unwrap()
        };
        let cases: [(Option<&str>, Change); 9] = [
            (None, |_| ()),
            (None, |spec| spec["initContainers"].as_array_mut().unwrap().insert(0, json!({ "name": "mesh" }))),
            (None, |spec| spec["containers"][1]["volumeMounts"][0] = json!({ "name": "token", "mountPath": "/t" })),
            (None, |spec| drop(spec["containers"].as_array_mut().unwrap().remove(0))),
            (Some("the container arl-agent"), |spec| spec["initContainers"] = json!(null)),
            (Some("a mount of arl-agent in the container arl-agent"), |spec| {
                spec["initContainers"][0]["volumeMounts"] = json!([]);
            }),
            (Some("a mount of arl-agent in the container executor"), |spec| {
                spec["containers"][1]["volumeMounts"] = json!(null);
            }),
            (Some("a mount of arl-agent in the container executor"), |spec| {
                spec["containers"][1]["volumeMounts"][2]["subPath"] = json!("other");
            }),
            (Some("the container executor"), |spec| drop(spec["containers"].as_array_mut().unwrap().remove(1))),
        ];
        for (words, change) in cases {
            let said = changed(&pod(), &made_by(change));
            assert_eq!(said.is_some(), words.is_some(), "{said:?}");
            let said = said.unwrap_or_default();
            assert!(said.contains(words.unwrap_or_default()), "{said}");
            let mut plain = pod();
            plain["metadata"]["annotations"] = metadata()["annotations"].clone();
            assert_eq!(
                changed(&plain, &made_by(change)),
                None,
                "a pod without the agent may have a volume of that name"
            );
        }
    }

    #[test]
    fn a_mark_that_admission_takes_away_is_named_and_what_it_adds_is_not() {
        assert_eq!(changed_by(|_| ()), None);
        assert_eq!(changed_by(|made| made["labels"]["team"] = json!("x")), None);
        assert_eq!(changed_by(|made| made["labels"]["app"] = json!("theirs")), None, "that one is the user's own");
        let cases: [(&str, Change); 5] = [
            ("label arl.infra.io/warmpool", |made| made["labels"]["arl.infra.io/warmpool"] = json!("")),
            ("label arl.infra.io/pod-state", |made| made["labels"]["arl.infra.io/pod-state"] = json!("other")),
            ("annotation arl.infra.io/executor", |made| made["annotations"] = json!(null)),
            ("the owner", |made| made["ownerReferences"] = json!([])),
            ("the owner", |made| made["ownerReferences"][0]["controller"] = json!(false)),
        ];
        for (words, change) in cases {
            let said = changed_by(change).unwrap();
            assert!(said.contains(words) && said.contains(NOT_AS_ASKED), "{said}");
        }
    }
}
