//! Claims: what they write, and whose turn it is.

use std::collections::BTreeMap;

use arl_crds::labels;
use serde_json::Value;
use tokio::time::Instant;

use super::{Facts, Ledger, Rule, STALE, idle_of, is_alive, is_ready};
use crate::{
    kind::{Id, Kind},
    store::{Entry, Store, controller, is_deleting, label, uid_of},
};

#[derive(Debug, Default)]
pub struct Claims {
    /// When a pool last lost an idle pod, or was changed, by uid: the operator may still be about to use what is no more.
    disturbed: BTreeMap<String, Instant>,
}

impl Claims {
    pub fn check(&mut self, entry: &Entry, store: &Store, facts: &Facts, ledger: &mut Ledger) {
        let (before, after) = (entry.before.as_deref(), entry.after.as_deref());
        if let (Kind::WarmPool, Some(was)) = (entry.id.kind, before)
            && after.is_none_or(|pool| pool["spec"] != was["spec"] || is_deleting(pool))
        {
            self.disturbed.insert(uid_of(was).to_owned(), entry.at);
        }
        let (Kind::Pod, Some(was)) = (entry.id.kind, before) else { return };
        let Some(("WarmPool", pool)) = controller(was) else { return };
        let claimed = after.filter(|pod| matches!(controller(pod), Some(("Sandbox", _))));
        match claimed {
            Some(pod) => {
                whole(entry, was, pod, store, ledger);
                let quiet = self.disturbed.get(pool).is_none_or(|at| entry.at - *at > STALE);
                if facts.is_orderly && facts.is_alone() && quiet {
                    in_order(entry, pod, pool, store, facts, ledger);
                }
            }
            None if is_ready(was) && is_alive(was) && !after.is_some_and(|pod| is_alive(pod) && is_ready(pod)) => {
                self.disturbed.insert(pool.to_owned(), entry.at);
            }
            None => {}
        }
    }
}

fn whole(entry: &Entry, was: &Value, pod: &Value, store: &Store, ledger: &mut Ledger) {
    ledger.test(Rule::ClaimOfReadyPod, is_ready(was) && is_alive(was), || format!("{} was not ready", entry.id));
    let Some(("Sandbox", uid)) = controller(pod) else { return };
    let owners = pod["metadata"]["ownerReferences"].as_array().map_or(0, Vec::len);
    let owner = &pod["metadata"]["ownerReferences"][0];
    let annotations = &pod["metadata"]["annotations"];
    let is_whole = owners == 1
        && owner.get("blockOwnerDeletion").is_none()
        && label(pod, labels::POD_STATE) == Some("allocated")
        && label(pod, labels::SANDBOX) == owner["name"].as_str()
        && annotations[labels::SAFE_TO_EVICT] == "false"
        && annotations[labels::DO_NOT_DISRUPT] == "true"
        && pod["spec"] == was["spec"];
    ledger.test(Rule::ClaimIsWhole, is_whole, || format!("{}: {}", entry.id, pod["metadata"]));
    if let Some((id, sandbox)) = store.by_uid(Kind::Sandbox, uid) {
        let own = sandbox["spec"]["poolRef"].as_str() == label(was, labels::WARMPOOL);
        ledger.test(Rule::ClaimOfReadyPod, own, || format!("{id} claims {} of another pool", entry.id));
    }
}

/// Those who came before the claimer still have a pod each, if they wait.
fn in_order(entry: &Entry, pod: &Value, pool: &str, store: &Store, facts: &Facts, ledger: &mut Ledger) {
    let Some(("Sandbox", uid)) = controller(pod) else { return };
    let Some((_, claimer)) = store.by_uid(Kind::Sandbox, uid) else { return };
    let place = |sandbox: &Value| facts.created.get(uid_of(sandbox)).copied();
    let holds =
        |sandbox: &Value| store.of(Kind::Pod).any(|(_, pod)| controller(pod) == Some(("Sandbox", uid_of(sandbox))));
    let earlier = |(id, other): &(&Id, &std::sync::Arc<Value>)| {
        id.namespace == entry.id.namespace
            && other["spec"]["poolRef"] == claimer["spec"]["poolRef"]
            && place(other) < place(claimer)
            && other["status"].get("podUID").is_none()
            && !facts.touched.contains(uid_of(other))
            && !is_deleting(other)
    };
    let waiting: Vec<_> = store.of(Kind::Sandbox).filter(earlier).filter(|(_, other)| !holds(other)).collect();
    let free = idle_of(pool, store).filter(|(_, pod)| is_ready(pod)).count();
    ledger.test(Rule::ClaimInOrder, waiting.len() <= free, || {
        let names: Vec<_> = waiting.iter().map(|(id, _)| id.name.as_str()).collect();
        format!("{} has {} before {names:?}, and {free} pods are left", claimer["metadata"]["name"], entry.id)
    });
}
