//! As much of Markdown as the documentation uses.

use std::path::{Path, PathBuf};

use crate::{read, root};

/// Folders without documentation of ours.
const SKIPPED: [&str; 2] = ["target", "node_modules"];

/// A page.
pub struct Page {
    /// Its path in the repository.
    pub path: String,
    /// Blocks of code: the language, where one is named, and the text.
    pub blocks: Vec<(String, String)>,
    /// What is written between backticks.
    pub spans: Vec<String>,
    /// Addresses of links.
    pub links: Vec<String>,
    /// Anchors of the headings, as GitHub makes them.
    pub anchors: Vec<String>,
}

impl Page {
    pub fn new(path: &str, text: &str) -> Self {
        let (prose, blocks) = without_blocks(text);
        let (mut spans, mut links, mut anchors) = (Vec::new(), Vec::new(), Vec::new());
        for paragraph in prose.split("\n\n") {
            // Every other piece is between two backticks.
            let pieces: Vec<_> = paragraph.split('`').collect();
            assert!(pieces.len() % 2 == 1, "{path}: a backtick has no partner in: {paragraph}");
            spans.extend(
                pieces.iter().skip(1).step_by(2).map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")),
            );
            let text: String = pieces.iter().step_by(2).copied().collect();
            links.extend(text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned()));
        }
        for line in prose.lines().filter(|line| line.starts_with('#')) {
            let anchor = anchor(line.trim_start_matches('#').trim());
            let same =
                anchors.iter().filter(|a: &&String| **a == anchor || a.starts_with(&format!("{anchor}-"))).count();
            let is_new = !anchors.contains(&anchor);
            anchors.push(if is_new { anchor } else { format!("{anchor}-{same}") });
        }
        Self { path: path.to_owned(), blocks, spans, links, anchors }
    }

    /// All that is written as code.
    pub fn code(&self) -> impl Iterator<Item = &str> {
        self.blocks.iter().map(|(_, text)| text).chain(&self.spans).map(String::as_str)
    }
}

/// The text without its blocks of code, fenced or indented, and the blocks.
fn without_blocks(text: &str) -> (String, Vec<(String, String)>) {
    let (mut prose, mut blocks) = (String::new(), Vec::new());
    let mut lines = text.lines().peekable();
    let mut after_blank = true;
    while let Some(line) = lines.next() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let inside: String = lines.by_ref().take_while(|l| l.trim() != "```").flat_map(|l| [l, "\n"]).collect();
            blocks.push((language.to_owned(), inside));
            prose.push('\n');
        } else if after_blank && line.starts_with("    ") {
            let mut inside = format!("{}\n", line.trim_start());
            while let Some(next) = lines.next_if(|l| l.starts_with("    ")) {
                inside.extend([next.trim_start(), "\n"]);
            }
            blocks.push((String::new(), inside));
            prose.push('\n');
        } else {
            prose.push_str(line);
            prose.push('\n');
        }
        after_blank = line.trim().is_empty();
    }
    (prose, blocks)
}

/// <https://docs.github.com/en/get-started/writing-on-github/getting-started-with-writing-and-formatting-on-github/basic-writing-and-formatting-syntax#section-links>
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// Every page of the repository.
pub fn pages() -> Vec<Page> {
    let mut files = Vec::new();
    collect(root(), &mut files);
    files.sort();
    assert!(files.len() > 15, "{files:?}");
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| Page::new(&name(path), &read(path))).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !name.starts_with('.') && !SKIPPED.contains(&name) {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "md") {
            found.push(path);
        }
    }
}

#[test]
fn a_page_is_taken_apart() {
    let text = "# A `b` c.d!\n\nSee [x](y.md#z) and `code\nspan`.\n\n    make it\n    so\n\n```yaml\na: [b](c)\n```\n\n## E\n### E\n";
    let page = Page::new("p.md", text);
    assert_eq!(page.anchors, ["a-b-cd", "e", "e-1"]);
    assert_eq!(page.links, ["y.md#z"]);
    assert_eq!(page.spans, ["b", "code span"]);
    let blocks: Vec<_> = page.blocks.iter().map(|(l, t)| (l.as_str(), t.as_str())).collect();
    assert_eq!(blocks, [("", "make it\nso\n"), ("yaml", "a: [b](c)\n")]);
}
