//! The state diagrams in docs/semantics.md.

use std::collections::BTreeSet;

/// Words with a capital letter that are no reason.
pub const KINDS: [&str; 3] = ["WarmPool", "Sandbox", "Task"];

/// What a diagram has in it.
#[derive(Debug, Default, PartialEq)]
pub struct Diagram {
    /// From and to, where `[*]` is the beginning and the end.
    pub arrows: BTreeSet<(String, String)>,
    /// The reasons in its labels and notes.
    pub reasons: BTreeSet<String>,
}

impl Diagram {
    /// Reads the lines of a `stateDiagram-v2` with arrows and notes.
    pub fn new(text: &str) -> Self {
        let mut found = Self::default();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        assert_eq!(lines.next(), Some("stateDiagram-v2"));
        while let Some(line) = lines.next() {
            if line.starts_with("note ") {
                lines.by_ref().take_while(|line| *line != "end note").for_each(|line| found.name(line));
                continue;
            }
            let (arrow, label) = line.split_once(':').unwrap_or((line, ""));
            let (from, to) = arrow.split_once("-->").unwrap_or_else(|| panic!("not understood: {line}"));
            found.arrows.insert((from.trim().to_owned(), to.trim().to_owned()));
            found.name(label);
        }
        found
    }

    fn name(&mut self, label: &str) {
        let words = label.split(|c: char| !c.is_alphanumeric()).filter(|w| w.starts_with(|c: char| c.is_uppercase()));
        self.reasons.extend(words.filter(|w| !KINDS.contains(w)).map(str::to_owned));
    }

    /// The diagram under the heading of a kind in the text of docs/semantics.md.
    pub fn of(kind: &str, page: &str) -> Self {
        let section = page.split(&format!("\n## {kind}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
        Self::new(section.split("```mermaid\n").nth(1).unwrap().split("```").next().unwrap())
    }
}
