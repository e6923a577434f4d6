//! What the operator does with the states of the three kinds is what docs/semantics.md draws.

use std::{collections::BTreeMap, sync::LazyLock};

use arl_crds::{condition::STALLED, reason::StalledReason};
use serde_json::Value;

use crate::{
    diagram::{Diagram, KINDS},
    store::Entry,
};

static DRAWN: LazyLock<BTreeMap<&str, Diagram>> = LazyLock::new(|| {
    let page = include_str!("../../docs/semantics.md");
    KINDS.into_iter().map(|kind| (kind, Diagram::of(kind, page))).collect()
});

fn state(object: &Value) -> &str {
    let status = &object["status"];
    status["phase"].as_str().or(status["state"].as_str()).unwrap_or("Pending")
}

/// Whether the operator did what the diagram has, or what it has not; nothing where it did what the diagram is not about.
pub fn follows(entry: &Entry) -> Option<Result<(), String>> {
    let before = entry.before.as_ref().filter(|_| entry.by.is_operator())?;
    let drawn = DRAWN.get(entry.id.kind.name())?;
    Some(surprise(entry, before, drawn).map_or(Ok(()), Err))
}

fn surprise(entry: &Entry, before: &Value, drawn: &Diagram) -> Option<String> {
    let after = entry.after.as_deref();
    let (from, to) = (state(before), after.map_or("[*]", state));
    if from != to && !drawn.arrows.contains(&(from.to_owned(), to.to_owned())) {
        return Some(format!("{}: {from} --> {to} is not drawn", entry.id));
    }
    let conditions = after?["status"]["conditions"].as_array()?;
    let is_known = |condition: &&Value| {
        let reason = condition["reason"].as_str().unwrap_or_default();
        // Stalled is the same on all kinds, and no state of any.
        if condition["type"] == STALLED {
            StalledReason::parse(reason).is_some()
        } else {
            drawn.reasons.contains(reason)
        }
    };
    let missing = &conditions.iter().find(|condition| !is_known(condition))?["reason"];
    Some(format!("{}: the reason {missing} is not in the diagram", entry.id))
}
