//! What the layout of `src/` promises, checked on its text. Every check is tried on a text that breaks it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

const KINDS: [&str; 3] = ["warmpool", "sandbox", "task"];
const MAX_LINES: usize = 300;

/// A source file without the text of comments, strings and tests.
struct Source {
    /// Relative to the repository, with `/`.
    path: String,
    code: String,
    /// Number of lines that are not tests.
    lines: usize,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let (code, lines_of_tests) = without_tests(&blank(text));
        Self { path: path.to_owned(), lines: code.lines().count() - lines_of_tests, code }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files of the two crates' `src/`, except modules that are tests as a whole.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["src", "crds/src"] {
        collect(&root().join(folder), &mut found);
    }
    assert!(found.len() > 10, "only {} files were found", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") && path.file_stem().is_some_and(|s| s != "tests") {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
            found.push(Source::new(&name, &fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Replaces the content of comments, strings and characters with spaces; lines stay where they are.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end > at {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// The end of the comment, string or character that starts at `at`; `at` where none does.
fn literal_end(chars: &[char], at: usize) -> usize {
    let is = |index: usize, c: char| chars.get(index) == Some(&c);
    let find =
        |from: usize, matches: &dyn Fn(usize) -> bool| (from..chars.len()).find(|i| matches(*i)).unwrap_or(chars.len());
    match chars[at] {
        '/' if is(at + 1, '/') => find(at, &|i| chars[i] == '\n'),
        '/' if is(at + 1, '*') => (find(at + 2, &|i| chars[i] == '*' && is(i + 1, '/')) + 2).min(chars.len()),
        '"' => {
            let mut i = at + 1;
            while i < chars.len() && chars[i] != '"' {
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            (i + 1).min(chars.len())
        }
        'r' if at == 0 || !is_word(chars[at - 1]) || chars[at - 1] == 'b' => {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            if !is(at + 1 + hashes, '"') {
                return at;
            }
            let closes = |i: usize| chars[i] == '"' && (1..=hashes).all(|h| is(i + h, '#'));
            (find(at + 2 + hashes, &closes) + 1 + hashes).min(chars.len())
        }
        // A character, not a lifetime.
        '\'' if is(at + 1, '\\') => find(at + 3, &|i| chars[i] == '\'') + 1,
        '\'' if is(at + 2, '\'') => at + 3,
        _ => at,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Empties every item under `#[cfg(test)]`; lines stay where they are. Also the number of lines that were emptied.
fn without_tests(code: &str) -> (String, usize) {
    const MARK: &str = "#[cfg(test)]";
    let mut rest = code;
    let mut out = String::new();
    let mut emptied = 0;
    while let Some(start) = rest.find(MARK) {
        out.push_str(&rest[..start]);
        let item = &rest[start..];
        let mut depth = 0_i32;
        let end = item.char_indices().find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth == 0 && matches!(c, '}' | ';')
        });
        let length = end.map_or(item.len(), |(index, c)| index + c.len_utf8());
        let newlines = item[..length].matches('\n').count();
        out.push_str(&"\n".repeat(newlines));
        emptied += newlines;
        rest = &item[length..];
    }
    (out + rest, emptied)
}

/// Where `word` stands in `code` as a whole word; ends that are no letters may touch anything.
fn occurrences(code: &str, word: &str) -> Vec<usize> {
    let starts_free = |at: usize| !word.starts_with(is_word) || !code[..at].ends_with(is_word);
    let ends_free = |at: usize| !word.ends_with(is_word) || !code[at + word.len()..].starts_with(is_word);
    code.match_indices(word).map(|(at, _)| at).filter(|at| starts_free(*at) && ends_free(*at)).collect()
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Number of arguments of the call whose `(` ends at `open`.
fn arguments(code: &str, open: usize) -> usize {
    let (mut depth, mut count, mut pending) = (0_i32, 0, false);
    for c in code[open..].chars() {
        match c {
            ')' | ']' | '}' if depth == 0 => break,
            '(' | '[' | '{' => (depth, pending) = (depth + 1, true),
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => (count, pending) = (count + 1, false),
            c if !c.is_whitespace() => pending = true,
            _ => {}
        }
    }
    count + usize::from(pending)
}

/// Calls of the Api's writing methods. Names that others have too are told by the number of their arguments.
fn writes(source: &Source) -> Vec<String> {
    let methods = [
        ("create", Some(2)),
        ("delete", Some(2)),
        ("replace", Some(3)),
        ("patch", Some(3)),
        ("exec", Some(3)),
        ("patch_status", None),
        ("patch_scale", None),
        ("patch_subresource", None),
        ("replace_status", None),
        ("replace_scale", None),
        ("replace_subresource", None),
        ("create_subresource", None),
        ("delete_collection", None),
        ("evict", None),
        ("attach", Some(2)),
    ];
    let may_exec = source.path.starts_with("src/runs/");
    let mut found = Vec::new();
    for (method, count) in methods {
        let call = format!(".{method}(");
        for (at, _) in source.code.match_indices(&call) {
            let is_write = count.is_none_or(|count| arguments(&source.code, at + call.len()) == count);
            if is_write && !source.path.starts_with("src/effects/") && !(may_exec && method == "exec") {
                found.push(format!("{}: {method}", source.path));
            }
        }
    }
    found
}

/// The modules of the crate's root that the code names, in paths and in `use crate::{..}`.
fn modules_named(code: &str) -> Vec<String> {
    let tight: String = code.split_whitespace().collect::<Vec<_>>().join(" ").replace(" ::", "::").replace(":: ", "::");
    let mut found = Vec::new();
    for prefix in ["crate::", "super::", "arl_operator::"] {
        for at in occurrences(&tight, prefix) {
            let rest = &tight[at + prefix.len()..];
            let Some(group) = rest.strip_prefix('{') else {
                found.push(leading_word(rest));
                continue;
            };
            let mut depth = 0_i32;
            let mut part_starts = true;
            for (index, c) in group.char_indices() {
                match c {
                    '}' if depth == 0 => break,
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => part_starts = true,
                    c if part_starts && is_word(c) => {
                        found.push(leading_word(&group[index..]));
                        part_starts = false;
                    }
                    _ => {}
                }
            }
        }
    }
    found
}

fn leading_word(text: &str) -> String {
    text.chars().take_while(|c| is_word(*c)).collect()
}

/// Names of one kind's modules in the code of another kind.
fn imports_of_other_kinds(source: &Source) -> Vec<String> {
    let Some(own) = KINDS
        .into_iter()
        .find(|kind| source.path.starts_with(&format!("src/{kind}/")) || source.path == format!("src/{kind}.rs"))
    else {
        return Vec::new();
    };
    let named = modules_named(&source.code).into_iter();
    named.filter(|m| KINDS.contains(&m.as_str()) && m != own).map(|m| format!("{}: {m}", source.path)).collect()
}

/// What may stand in tests only.
fn forbidden_calls(source: &Source) -> Vec<String> {
    let forbidden = ["sleep(", ".unwrap()", ".expect(", "panic!", "todo!", "unimplemented!", "dbg!"];
    let mut found = Vec::new();
    for word in forbidden {
        let places = occurrences(&source.code, word).into_iter();
        found.extend(places.map(|at| format!("{}:{}: {word}", source.path, line_of(&source.code, at))));
    }
    found
}

fn too_long(source: &Source) -> Option<String> {
    (source.lines > MAX_LINES).then(|| format!("{}: {} lines", source.path, source.lines))
}

fn says_nothing(source: &Source) -> Option<String> {
    let meaningless = ["util", "utils", "common", "helper", "helpers", "misc", "shared"];
    let by_path = source.path.trim_end_matches(".rs").split('/').any(|part| meaningless.contains(&part));
    let declares = |name: &&str| !occurrences(&source.code, &format!("mod {name}")).is_empty();
    (by_path || meaningless.iter().any(declares)).then(|| source.path.clone())
}

/// Lines of a Cargo manifest that give the API crate, or the agent, a runtime or a client.
fn heavy_dependencies(manifest: &str) -> Vec<String> {
    let is_heavy = |line: &&str| {
        let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
        let features: Vec<_> = line.split('"').skip(1).step_by(2).collect();
        name == "tokio" || (name == "kube" && features.iter().any(|f| ["client", "runtime", "ws"].contains(f)))
    };
    manifest.lines().map(str::trim).filter(is_heavy).map(str::to_owned).collect()
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn only_effects_write_to_the_api() {
    let found: Vec<_> = sources().iter().flat_map(writes).collect();
    assert_none("calls that write to the API outside src/effects/ (exec: src/runs/)", &found);
}

#[test]
fn the_kinds_do_not_know_one_another() {
    let found: Vec<_> = sources().iter().flat_map(imports_of_other_kinds).collect();
    assert_none("what two kinds need is a noun with a module of its own", &found);
}

#[test]
fn neither_the_api_crate_nor_the_agent_has_a_runtime_or_a_client() {
    assert_none("crds/Cargo.toml", &heavy_dependencies(&fs::read_to_string(root().join("crds/Cargo.toml")).unwrap()));
    assert_none("agent/Cargo.toml", &heavy_dependencies(&fs::read_to_string(root().join("agent/Cargo.toml")).unwrap()));
    // What the workspace says about kube is inherited.
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let inherited = workspace.split("[workspace.dependencies]").nth(1).and_then(|t| t.split("\n[").next()).unwrap();
    assert_none("[workspace.dependencies]", &heavy_dependencies(inherited));
}

#[test]
fn no_file_is_too_long() {
    let found: Vec<_> = sources().iter().filter(|s| s.path.starts_with("src/")).filter_map(too_long).collect();
    assert_none(&format!("files with more than {MAX_LINES} lines, tests not counted, are two files"), &found);
}

#[test]
fn nothing_sleeps_or_panics() {
    let found: Vec<_> = sources().iter().flat_map(forbidden_calls).collect();
    assert_none("only tests may do this", &found);
}

#[test]
fn every_module_is_named_for_what_it_is() {
    let found: Vec<_> = sources().iter().filter_map(says_nothing).collect();
    assert_none("names that say nothing", &found);
}

#[test]
fn the_scanner_sees_code_and_nothing_else() {
    let text = r##"
// panic! in a comment
/* todo!() */
fn a<'a>(x: &'a str) -> char { let _ = "x.unwrap() \" y"; let _ = r#"panic!"#; '"' }
fn b() { c.unwrap() }
#[cfg(test)]
mod tests {
    fn t() { if true { todo!() } }
}
fn d() { e.expect("f") }
#[cfg(test)]
mod more;
fn g() { tokio::time::sleep(h); sleep_until(i); j.unwrap_or(k); my_sleep(l) }
"##;
    let source = Source::new("src/x.rs", text);
    assert_eq!((text.lines().count(), source.lines), (13, 9));
    assert_eq!(forbidden_calls(&source), ["src/x.rs:13: sleep(", "src/x.rs:5: .unwrap()", "src/x.rs:10: .expect("]);
}

#[test]
fn the_write_check_can_fail() {
    let text = "
        api.create(&PostParams::default(), &object);
        OpenOptions::new().create(true);
        pods
            .patch_status(name, &params, &patch);
        text.replace('a', &f(b, c));
        tables.delete(key);
        self.api().delete(&name, &DeleteParams { a, ..b });
        api.exec(name, [\"a\", \"b\"], &params);
    ";
    let found = |path: &str| writes(&Source::new(path, text)).len();
    assert_eq!(found("src/task/plan.rs"), 4);
    assert_eq!(found("src/runs/exec.rs"), 3);
    assert_eq!(found("src/effects/pods.rs"), 0);
}

#[test]
fn the_import_check_can_fail() {
    let found = |path: &str, text: &str| imports_of_other_kinds(&Source::new(path, text)).len();
    assert_eq!(found("src/task/plan.rs", "use crate::sandbox::Phase;"), 1);
    assert_eq!(found("src/task/plan.rs", "use crate::{clock::Clock, runs::{a, b}, warmpool::plan};"), 1);
    assert_eq!(found("src/task/plan.rs", "fn f() { super::super::sandbox::g() }"), 1);
    assert_eq!(
        found(
            "src/task/plan.rs",
            "use crate::{clock, task}; use arl_crds::Sandbox; let sandbox = crate::pod::f(sandbox);"
        ),
        0
    );
    assert_eq!(found("src/triggers.rs", "use crate::{sandbox, task};"), 0);
}

#[test]
fn the_other_checks_can_fail() {
    let lines = "\n".repeat(MAX_LINES) + "fn a() {}\n";
    assert!(too_long(&Source::new("src/x.rs", &lines)).is_some());
    let tests = format!("fn a() {{}}\n#[cfg(test)]\nmod tests {{\n{lines}}}\n");
    assert!(too_long(&Source::new("src/x.rs", &tests)).is_none());

    assert!(says_nothing(&Source::new("src/task/utils.rs", "")).is_some());
    assert!(says_nothing(&Source::new("src/common/mod.rs", "")).is_some());
    assert!(says_nothing(&Source::new("src/x.rs", "mod helpers { }")).is_some());
    assert!(says_nothing(&Source::new("src/x.rs", "mod commons;")).is_none());

    assert_eq!(heavy_dependencies("tokio = \"1\"\nserde = \"1\"\n").len(), 1);
    assert_eq!(heavy_dependencies("tokio.workspace = true").len(), 1);
    assert_eq!(heavy_dependencies("kube = { version = \"5\", features = [\"derive\", \"client\"] }").len(), 1);
    assert_eq!(heavy_dependencies("kube = { workspace = true, features = [\"cel\", \"derive\"] }").len(), 0);
}
