//! Which module of a crate imports which, as far as its text tells: paths in `use` and in code, names resolved to the module that
//! defines them where another only hands them on.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, is_word, occurrences};

/// The path of a module from the crate's root; of a binary's root, `["main"]`.
type Module = Vec<String>;

/// The modules of a crate.
pub struct Crate {
    code: BTreeMap<Module, String>,
    /// What a module hands on of its children: the path from it, by the name.
    handed_on: BTreeMap<(Module, String), Vec<String>>,
}

impl Crate {
    /// Of the sources in this folder.
    pub fn new(folder: &str, sources: &[Source]) -> Self {
        let prefix = format!("{folder}/");
        let files = sources.iter().filter_map(|source| Some((source.path.strip_prefix(&prefix)?, &source.code)));
        let code: BTreeMap<Module, String> = files.map(|(path, code)| (module(path), code.clone())).collect();
        let mut handed_on = BTreeMap::new();
        for (module, code) in &code {
            for path in statements(code, "pub use ").iter().flat_map(|tree| expand(tree)) {
                if let Some(name) = path.last().filter(|_| path[0] != "crate") {
                    handed_on.insert((module.clone(), name.clone()), path.clone());
                }
            }
        }
        Self { code, handed_on }
    }

    /// Each import, from whom to whom.
    pub fn imports(&self) -> BTreeSet<(Module, Module)> {
        let mut found = BTreeSet::new();
        for (from, code) in self.code.iter().filter(|(module, _)| !module.is_empty()) {
            let reexports = statements(code, "pub use ");
            let mut body = code.clone();
            for tree in &reexports {
                body = body.replace(&format!("pub use {tree};"), "");
            }
            let mut paths: Vec<Vec<String>> = statements(&body, "use ").iter().flat_map(|tree| expand(tree)).collect();
            for tree in statements(&body, "use ") {
                body = body.replace(&format!("use {tree};"), "");
            }
            paths.extend(paths_in(&body));
            // What is handed on is used only where the code names it too.
            let used = |path: &Vec<String>| path.last().is_some_and(|name| !occurrences(&body, name).is_empty());
            paths.extend(reexports.iter().flat_map(|tree| expand(tree)).filter(used));
            found.extend(paths.iter().filter_map(|path| self.resolve(from, path)).map(|to| (from.clone(), to)));
        }
        found
    }

    fn resolve(&self, from: &Module, path: &[String]) -> Option<Module> {
        let mut rest = path.to_vec();
        let mut at = match rest[0].as_str() {
            "crate" => {
                rest.remove(0);
                Vec::new()
            }
            "self" => {
                rest.remove(0);
                from.clone()
            }
            "super" => from.clone(),
            first if self.code.contains_key(&child(from, first)) => from.clone(),
            first if *from == ["main"] && self.code.contains_key(&vec![first.to_owned()]) => Vec::new(),
            _ => return None,
        };
        for _ in 0..8 {
            while rest.first().is_some_and(|part| part == "super") {
                at.pop();
                rest.remove(0);
            }
            while let Some(part) = rest.first().filter(|part| self.code.contains_key(&child(&at, part))) {
                at = child(&at, part);
                rest.remove(0);
            }
            let name = rest.first().cloned().unwrap_or_default();
            let Some(handed) = self.handed_on.get(&(at.clone(), name)) else { break };
            rest = handed.iter().filter(|part| *part != "self").cloned().chain(rest.into_iter().skip(1)).collect();
        }
        (at != *from && self.code.contains_key(&at) && !at.is_empty()).then_some(at)
    }
}

fn child(module: &Module, name: &str) -> Module {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

fn module(path: &str) -> Module {
    let mut parts: Module = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod") || parts == ["lib"] {
        parts.pop();
    }
    parts
}

/// The trees of the statements that begin so.
fn statements(code: &str, begin: &str) -> Vec<String> {
    let ends = |at: usize| code[at + begin.len()..].split(';').next().unwrap_or_default().to_owned();
    occurrences(code, begin.trim_end()).into_iter().filter(|at| code[*at..].starts_with(begin)).map(ends).collect()
}

/// `a::{b, c::d as e}` as `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![path.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()];
    };
    let (mut depth, mut parts, mut start) = (0, Vec::new(), open + 1);
    for (at, c) in tree.char_indices().skip(open + 1) {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                parts.push(&tree[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    let prefix = &tree[..open];
    parts
        .into_iter()
        .filter(|part| !part.trim().is_empty())
        .flat_map(|part| expand(&format!("{prefix}{part}")))
        .collect()
}

/// Paths in code: words joined by `::`.
fn paths_in(code: &str) -> Vec<Vec<String>> {
    let words = code.split(|c| !is_word(c) && c != ':').filter(|word| word.contains("::") && !word.starts_with(':'));
    words.map(|word| word.split("::").map(str::to_owned).collect()).collect()
}

/// The modules that import each other in a circle, each circle once.
pub fn circles(imports: &BTreeSet<(Module, Module)>) -> Vec<String> {
    let reached = |from: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(at) = next.pop() {
            for (_, to) in imports.iter().filter(|(from, _)| *from == at) {
                if seen.insert(to.clone()) {
                    next.push(to.clone());
                }
            }
        }
        seen
    };
    let all: BTreeMap<&Module, BTreeSet<Module>> = imports.iter().map(|(from, _)| (from, reached(from))).collect();
    let circle = |module: &Module| -> Vec<String> {
        let back = |other: &&Module| all[module].contains(*other) && all[*other].contains(module);
        all.keys().copied().filter(back).map(|module| module.join("::")).collect()
    };
    let found: BTreeSet<Vec<String>> = all.keys().map(|module| circle(module)).filter(|c| !c.is_empty()).collect();
    found.into_iter().map(|circle| circle.join(", ")).collect()
}

/// The floors that the text of a crate's root names, from the ground up: modules by the line that they stand in.
pub fn floors(root: &str) -> Vec<Vec<String>> {
    let rows = root.lines().skip_while(|line| !line.starts_with("//! | floor |")).skip(2);
    let names = |row: &str| row.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    rows.take_while(|line| line.starts_with("//! |"))
        .map(|row| names(row.split('|').nth(2).unwrap_or_default()))
        .collect()
}
