//! Pods: whom they serve, what they are made of, and who may end them.

use std::collections::BTreeMap;

use arl_crds::labels;
use serde_json::Value;

use super::{Facts, Ledger, Rule, is_alive};
use crate::{
    kind::{Actor, Kind},
    store::{Entry, Store, controller, is_deleting, label, uid_of},
};

#[derive(Debug, Default)]
pub struct Pods {
    /// The Sandbox each pod has served, by uid.
    serves: BTreeMap<String, String>,
    /// The pod each Sandbox has used, by uid.
    uses: BTreeMap<String, String>,
    /// When each pool was last seen without a deletionTimestamp, by uid.
    present: BTreeMap<String, tokio::time::Instant>,
    /// The specs that each pool ever had, by its uid.
    specs: BTreeMap<String, Vec<Value>>,
}

impl Pods {
    pub fn check(&mut self, entry: &Entry, store: &Store, facts: &Facts, ledger: &mut Ledger) {
        match (entry.id.kind, &entry.after) {
            (Kind::Pod, Some(pod)) => self.pod(entry, pod, store, facts, ledger),
            (Kind::Sandbox, Some(sandbox)) => self.sandbox(entry, sandbox, ledger),
            (Kind::WarmPool, _) => {
                let pool = entry.before.as_ref().or(entry.after.as_ref());
                if let Some(pool) = pool.filter(|pool| !is_deleting(pool)) {
                    self.present.insert(uid_of(pool).to_owned(), entry.at);
                }
                if let Some(pool) = &entry.after {
                    let specs = self.specs.entry(uid_of(pool).to_owned()).or_default();
                    if specs.last() != Some(&pool["spec"]) {
                        specs.push(pool["spec"].clone());
                    }
                }
            }
            _ => {}
        }
        if entry.id.kind == Kind::Pod {
            deletion(entry, store, ledger);
        }
        if let (true, Some(after)) = (entry.by.is_operator(), &entry.after) {
            let finalizers = |object: Option<&Value>| object.map(|o| o["metadata"]["finalizers"].clone());
            let before = finalizers(entry.before.as_deref()).unwrap_or_default();
            ledger.test(Rule::NoFinalizers, finalizers(Some(after)) == Some(before), || format!("{}", entry.id));
        }
    }

    /// Whether a pool ever asked for streams to its idle pods.
    pub fn asked_for_streams(&self, pool: &str) -> bool {
        self.specs.get(pool).is_some_and(|specs| specs.iter().any(|spec| spec["executor"]["connect"] == "Idle"))
    }

    /// A pod serves one Sandbox at most, ever.
    fn served(&mut self, pod: &str, sandbox: &str, how: &str, ledger: &mut Ledger) {
        let served = self.serves.entry(pod.to_owned()).or_insert_with(|| sandbox.to_owned());
        ledger.test(Rule::PodServesOne, *served == sandbox, || {
            format!("pod {pod} served Sandbox {served} and now {sandbox} ({how})")
        });
    }

    fn pod(&mut self, entry: &Entry, pod: &Value, store: &Store, facts: &Facts, ledger: &mut Ledger) {
        if let Some(("Sandbox", owner)) = controller(pod) {
            self.served(uid_of(pod), owner, "its owner", ledger);
        }
        if !entry.by.is_operator() {
            return;
        }
        match entry.before.as_deref() {
            None => self.created(entry, pod, store, facts, ledger),
            Some(before) if matches!(controller(before), Some(("Sandbox", _))) => {
                let deletion = !is_deleting(before) && is_deleting(pod);
                ledger.test(Rule::BoundPodUntouched, deletion || before == pod, || {
                    format!("{} changes {}, which is a Sandbox's", entry.by, entry.id)
                });
            }
            Some(_) => {}
        }
    }

    fn created(&self, entry: &Entry, pod: &Value, store: &Store, facts: &Facts, ledger: &mut Ledger) {
        let Some(("WarmPool", owner)) = controller(pod) else {
            return ledger.broken(Rule::PodAsTemplate, format!("{} was created without a pool that owns it", entry.id));
        };
        let pool = store.by_uid(Kind::WarmPool, owner).map(|(_, pool)| pool);
        let stale = if facts.is_plain() { facts.stale } else { facts.oldest };
        let late = |at: &tokio::time::Instant| facts.is_alone() && entry.at - *at > stale;
        let gone = pool.is_none_or(|pool| is_deleting(pool));
        if facts.is_alone() {
            let since = self.present.get(owner);
            ledger.test(Rule::NoPodsForGonePool, !gone || !since.is_some_and(late), || {
                format!("{} is made for a pool that has gone, or is going", entry.id)
            });
        }
        let Some(pool) = pool else { return };
        let hash = pod["metadata"]["annotations"][labels::TEMPLATE_HASH].is_string();
        let labelled = label(pod, labels::WARMPOOL) == pool["metadata"]["name"].as_str()
            && label(pod, labels::POD_STATE) == Some("ready")
            && label(pod, labels::SANDBOX).is_none();
        // A template that was changed a moment ago may still be made.
        let is_made = self.specs.get(owner).is_some_and(|specs| specs.iter().any(|spec| is_of(pod, spec)));
        let owners = pod["metadata"]["ownerReferences"].as_array().is_some_and(|o| {
            o.len() == 1 && o[0].get("blockOwnerDeletion").is_none() && o[0]["name"] == pool["metadata"]["name"]
        });
        let grace = pod["spec"]["terminationGracePeriodSeconds"] == 1;
        ledger.test(Rule::PodAsTemplate, hash && labelled && is_made && owners && grace, || {
            format!("{}: {} {}", entry.id, pod["metadata"], pod["spec"])
        });
    }

    /// A Sandbox uses one pod at most, ever, and what it has on record stays.
    fn sandbox(&mut self, entry: &Entry, sandbox: &Value, ledger: &mut Ledger) {
        let uid = uid_of(sandbox);
        let pod = sandbox["status"]["podUID"].as_str();
        if let Some(pod) = pod {
            let used = self.uses.entry(uid.to_owned()).or_insert_with(|| pod.to_owned()).clone();
            ledger.test(Rule::SandboxUsesOne, used == pod, || format!("{} used pod {used} and now {pod}", entry.id));
            self.served(pod, uid, "a Sandbox's status", ledger);
        }
        let Some(before) = entry.before.as_deref().map(|b| &b["status"]) else { return };
        if before["podUID"].is_string() {
            let kept = ["podUID", "podName", "allocatedAt"].iter().all(|f| before[f] == sandbox["status"][f]);
            ledger.test(Rule::RecordStays, kept, || format!("{}: {before} -> {}", entry.id, sandbox["status"]));
        }
        if before["phase"] == "Released" {
            ledger.test(Rule::RecordStays, sandbox["status"]["phase"] == "Released", || {
                format!("{} was Released and is {}", entry.id, sandbox["status"]["phase"])
            });
        }
    }
}

/// Whether a pod is as this spec of a pool has it: nothing of the template is lost, and its executor and the way into it are chosen.
fn is_of(pod: &Value, spec: &Value) -> bool {
    let template = &spec["template"];
    let has = |of: &Value, all: &Value| {
        all.as_object().into_iter().flatten().all(|(key, value)| key == "volumeMounts" || of.get(key) == Some(value))
    };
    let containers = |spec: &Value| spec["containers"].as_array().cloned().unwrap_or_default();
    let (made, asked) = (containers(&pod["spec"]), containers(&template["spec"]));
    let typed: arl_crds::WarmPoolSpec = serde_json::from_value(spec.clone()).expect("a pool has a spec");
    let annotations = &pod["metadata"]["annotations"];
    has(&pod["metadata"]["labels"], &template["metadata"]["labels"])
        && has(annotations, &template["metadata"]["annotations"])
        && made.len() == asked.len()
        && made.iter().zip(&asked).all(|(made, asked)| has(made, asked))
        && annotations.get(labels::EXECUTOR).and_then(Value::as_str) == typed.executor_container().ok()
        && annotations.get(labels::AGENT).is_some() == (typed.executor.mode == arl_crds::ExecutorMode::Agent)
}

/// The operator never deletes a pod that a Sandbox holds, and nor does the garbage collector while the Sandbox is there.
fn deletion(entry: &Entry, store: &Store, ledger: &mut Ledger) {
    let Some(pod) = entry.before.as_deref() else { return };
    let begins = !is_deleting(pod) && entry.after.as_deref().is_none_or(is_deleting);
    if !begins || !is_alive(pod) || !(entry.by.is_operator() || entry.by == Actor::Controllers) {
        return;
    }
    let uid = uid_of(pod);
    let living = || {
        store.of(Kind::Sandbox).filter(|(id, s)| {
            id.namespace == entry.id.namespace && !is_deleting(s) && s["status"]["phase"] != "Released"
        })
    };
    if entry.by == Actor::Controllers {
        // With its namespace everything goes.
        let namespace = crate::kind::Id::new(Kind::Namespace, "", &entry.id.namespace);
        if label(pod, labels::SANDBOX).is_some() && store.get(&namespace).is_some_and(|n| !is_deleting(n)) {
            let held = living().find(|(_, s)| s["status"]["podUID"] == uid);
            ledger.test(Rule::AllocatedOutlivesPool, held.is_none(), || format!("{} goes with its pool", entry.id));
        }
        return;
    }
    let holder = living().find(|(_, s)| s["status"]["podUID"] == uid).map(|(id, _)| id.clone());
    ledger.test(Rule::HeldPodStays, holder.is_none(), || {
        format!("{} deletes {}, which {holder:?} holds", entry.by, entry.id)
    });
    let Some(("Sandbox", owner)) = controller(pod) else { return };
    let claimed_only = living().find(|(_, s)| uid_of(s) == owner && s["status"].get("podUID").is_none());
    let others = store
        .of(Kind::Pod)
        .filter(|(_, p)| controller(p) == Some(("Sandbox", owner)) && uid_of(p) != uid && is_alive(p));
    if let (Some((id, _)), 0) = (claimed_only, others.count()) {
        ledger.broken(Rule::HeldPodStays, format!("{} deletes {}, which {id} has just claimed", entry.by, entry.id));
    }
}
