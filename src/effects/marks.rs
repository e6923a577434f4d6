//! What marks a pod as its pool's. Where an admission webhook takes it away, the pool would not find the pod, and would make another.

use arl_crds::GROUP;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

/// What is in words of every refusal for a mark.
pub const NOT_AS_ASKED: &str = "is not as it was asked for: an admission webhook or policy changes it";

/// The first mark of the pod that is made differently from what was sent, in words.
pub(super) fn changed(sent: &Value, made: &ObjectMeta) -> Option<String> {
    let sent = &sent["metadata"];
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
        changed(&json!({ "metadata": metadata() }), &serde_json::from_value(made).unwrap())
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
