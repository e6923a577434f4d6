//! The state diagrams in docs/semantics.md have the states of the schemas and the reasons of the conditions; and
//! docs/troubleshooting.md has a heading for each reason.

use std::collections::BTreeSet;

use arl_crds::reason::{SandboxReason, StalledReason, TaskReason, WarmPoolReason};

use crate::{
    DEFINITIONS,
    diagram::{Diagram, KINDS},
    kind, read, schema,
};

/// The kinds with their reasons, in the order of the documentation.
fn reasons() -> [Vec<&'static str>; 3] {
    [
        WarmPoolReason::ALL.iter().map(|r| r.as_str()).collect(),
        SandboxReason::ALL.iter().map(|r| r.as_str()).collect(),
        TaskReason::ALL.iter().map(|r| r.as_str()).collect(),
    ]
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_diagrams_have_every_state_and_every_reason() {
    let page = read("docs/semantics.md");
    for (crd, reasons) in DEFINITIONS.iter().zip(reasons()) {
        let fields = &schema(crd)["properties"]["status"]["properties"];
        let states = fields.get("phase").or(fields.get("state")).unwrap()["enum"].as_array().unwrap();
        let drawn = Diagram::of(kind(crd), &page);
        let ends = drawn.arrows.iter().flat_map(|(from, to)| [from.as_str(), to.as_str()]);
        assert_eq!(set(ends), set(states.iter().map(|s| s.as_str().unwrap()).chain(["[*]"])), "{}: states", kind(crd));
        assert_eq!(drawn.reasons, set(reasons), "{}: reasons in the diagram (left) and in the types", kind(crd));
    }
}

#[test]
fn a_diagram_is_read() {
    let text = "stateDiagram-v2\n  [*] --> A\n  A --> B: a Task ended (Done, TimedOut)\n\n  note right of B\n    Waiting\n  end note\n";
    let arrow = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let expected =
        Diagram { arrows: [arrow("[*]", "A"), arrow("A", "B")].into(), reasons: set(["Done", "TimedOut", "Waiting"]) };
    assert_eq!(Diagram::new(text), expected);
}

/// The names of the `###` headings under each `##` heading.
fn headings(markdown: &str) -> Vec<(&str, Vec<&str>)> {
    let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in markdown.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push((title, Vec::new()));
        } else if let (Some(title), Some(section)) = (line.strip_prefix("### "), sections.last_mut()) {
            section.1.push(title);
        }
    }
    sections
}

/// The sections of the page that are not by kind and reason, but by what a user sees where there is none.
const BY_SYMPTOM: [&str; 2] = ["Nothing happens", "Applying"];

#[test]
fn every_reason_has_its_trouble_shooting() {
    let stalled = StalledReason::ALL.iter().map(|reason| reason.as_str()).collect();
    let expected: Vec<_> = KINDS.into_iter().zip(reasons()).chain([("Stalled", stalled)]).collect();
    let page = read("docs/troubleshooting.md");
    let (by_symptom, by_kind): (Vec<_>, Vec<_>) =
        headings(&page).into_iter().partition(|(title, _)| BY_SYMPTOM.contains(title));
    assert_eq!(by_kind, expected);
    assert_eq!(by_symptom.len(), BY_SYMPTOM.len());
}
