//! Setups: run once, before the Sandbox is ready and before its Tasks.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Ledger, Rule, condition};
use crate::{
    kind::{Id, Kind},
    store::{Entry, Store, controller, uid_of},
};

#[derive(Debug, Default)]
pub struct Setups {
    /// The Tasks that ever succeeded, by uid.
    succeeded: BTreeSet<String>,
    /// The Task that set up each Sandbox, by the Sandbox's uid.
    began: BTreeMap<String, String>,
}

/// The uid of the Sandbox that a Task sets up.
pub fn set_up_by(task: &Value) -> Option<&str> {
    controller(task).filter(|(kind, _)| *kind == "Sandbox").map(|(_, uid)| uid)
}

impl Setups {
    pub fn check(&mut self, entry: &Entry, ledger: &mut Ledger) {
        let Some(after) = entry.after.as_deref() else { return };
        match entry.id.kind {
            Kind::Task if after["status"]["state"] == "Succeeded" => {
                self.succeeded.insert(uid_of(after).to_owned());
            }
            Kind::Sandbox if after["spec"]["setup"].is_object() && entry.by.is_operator() => {
                let is_usable = ["Ready", "Bound"].iter().any(|phase| after["status"]["phase"] == *phase)
                    || condition(after, "Ready").is_some_and(|ready| ready["status"] == "True");
                ledger.test(Rule::SetUpBeforeReady, !is_usable || self.has_succeeded(after), || {
                    format!("{} is ready, and its setup is {}", entry.id, after["status"]["setup"])
                });
                if let Some(was) = entry.before.as_deref() {
                    let task = |sandbox: &Value| sandbox["status"]["setup"]["taskUID"].clone();
                    ledger.test(Rule::SetUpOnce, task(was).is_null() || task(was) == task(after), || {
                        format!("{} had another setup on record: {}", entry.id, was["status"]["setup"])
                    });
                }
            }
            _ => {}
        }
    }

    fn has_succeeded(&self, sandbox: &Value) -> bool {
        sandbox["status"]["setup"]["taskUID"].as_str().is_some_and(|task| self.succeeded.contains(task))
    }

    /// The first step of a run starts in a pod of this Sandbox.
    pub fn begins(&mut self, task: &str, sandbox: &str, store: &Store, ledger: &mut Ledger) {
        let Some((id, holder)) = store.by_uid(Kind::Sandbox, sandbox) else { return };
        if !holder["spec"]["setup"].is_object() {
            return;
        }
        let found = store.by_uid(Kind::Task, task);
        // A Task that was deleted a moment ago is not known any more.
        let Some((task_id, object)) = found else { return };
        if set_up_by(object).is_none() {
            return ledger.test(Rule::SetUpFirst, self.has_succeeded(holder), || {
                format!("{task_id} begins in {id}, whose setup is {}", holder["status"]["setup"])
            });
        }
        let began = self.began.entry(sandbox.to_owned()).or_insert_with(|| task.to_owned());
        let is_first = began == task && !self.succeeded.contains(task);
        ledger.test(Rule::SetUpOnce, is_first, || format!("{task_id} sets up {id} again, after {began}"));
    }
}

/// The Task on record that sets up a Sandbox.
pub fn task_of(sandbox: &Id, store: &Store) -> Option<Id> {
    let task = store.get(sandbox)?["status"]["setup"]["task"].as_str()?.to_owned();
    Some(Id::new(Kind::Task, &sandbox.namespace, &task))
}
