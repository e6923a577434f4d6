//! What every status has: conditions, generations, counts, and the arrows of the diagrams.

use arl_crds::condition::STALLED;
use serde_json::Value;

use super::{Ledger, Rule};
use crate::{drawn, kind::Kind, store::Entry};

pub fn check(entry: &Entry, ledger: &mut Ledger) {
    if !entry.id.kind.is_ours() || !entry.by.is_operator() {
        return;
    }
    if let Some(follows) = drawn::follows(entry) {
        ledger.test(Rule::AsDrawn, follows.is_ok(), || follows.err().unwrap_or_default());
    }
    let (Some(before), Some(after)) = (entry.before.as_deref(), entry.after.as_deref()) else { return };
    if before["status"] == after["status"] {
        return;
    }
    let id = &entry.id;
    let of = |object: &Value| object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    for condition in of(after) {
        let text = |field: &str| condition[field].as_str().is_some_and(|text| !text.trim().is_empty());
        let explains = text("reason") && text("message") && text("lastTransitionTime");
        ledger.test(Rule::ConditionsExplain, explains, || format!("{id}: {condition}"));
        if let Some(was) = of(before).into_iter().find(|was| was["type"] == condition["type"]) {
            let same = was["status"] == condition["status"];
            let kept = was["lastTransitionTime"] == condition["lastTransitionTime"];
            // A value that changes twice within one second keeps its second.
            ledger.test(Rule::TransitionTime, kept || !same, || format!("{id}: {was} -> {condition}"));
        }
    }
    generations(entry, before, after, ledger);
    if id.kind == Kind::WarmPool {
        counts(entry, before, after, ledger);
    }
}

fn generations(entry: &Entry, before: &Value, after: &Value, ledger: &mut Ledger) {
    let generation = before["metadata"]["generation"].as_i64();
    let observed = |object: &Value| object["status"]["observedGeneration"].as_i64();
    let said = after["status"]["conditions"].as_array().into_iter().flatten();
    let ahead =
        said.filter_map(|c| c["observedGeneration"].as_i64()).chain(observed(after)).any(|g| Some(g) > generation);
    ledger.test(Rule::GenerationNotAhead, !ahead && observed(after) >= observed(before), || {
        format!("{} of generation {generation:?}: {} -> {}", entry.id, before["status"], after["status"])
    });
}

/// A pool's counts, where it is not only the conditions that were written.
fn counts(entry: &Entry, before: &Value, after: &Value, ledger: &mut Ledger) {
    let status = &after["status"];
    if status.get("phase").is_none()
        && status["conditions"].as_array().is_some_and(|c| c.iter().all(|c| c["type"] == STALLED))
    {
        return;
    }
    let count = |field: &str| status[field].as_i64();
    let counts = ["ready", "replicas", "allocated", "total"].map(count);
    let [Some(ready), Some(idle), Some(allocated), Some(total)] = counts else {
        return ledger.broken(Rule::CountsPossible, format!("{}: {status}", entry.id));
    };
    let selector = format!(
        "arl.infra.io/warmpool={},arl.infra.io/pod-state=ready",
        before["metadata"]["name"].as_str().unwrap_or_default()
    );
    let possible = (0..=idle).contains(&ready)
        && allocated >= 0
        && total == idle + allocated
        && status["selector"] == selector.as_str();
    let replicas = status["wanted"].as_i64().or(before["spec"]["replicas"].as_i64()).unwrap_or(0);
    let phase = match ready {
        _ if ready >= replicas => "Ready",
        0 => "Pending",
        _ => "Scaling",
    };
    // Conditions alone may be written of an older view.
    let is_present = status["observedGeneration"] == before["metadata"]["generation"];
    let fits = !is_present || status["phase"] == phase;
    ledger.test(Rule::CountsPossible, possible && fits, || format!("{} of {replicas}: {status}", entry.id));
}
