//! What the layout of `src/` promises, checked on its text. Every check is tried on a text that breaks it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod imports;
mod mutants;
mod source;

use std::{collections::BTreeMap, fs};

use imports::{Crate, circles, floors};
use source::{Source, arguments, is_word, line_of, occurrences, root, squeezed};

const KINDS: [&str; 3] = ["warmpool", "sandbox", "task"];
const MAX_LINES: usize = 300;
/// Of all crates.
const ALL: [&str; 7] = ["src", "crds/src", "agent/src", "bench/src", "client/src", "python/src", "cli/src"];

/// The operator's and the API's.
fn sources() -> Vec<Source> {
    source::sources(&ALL[..2])
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
    let tight: String = squeezed(code).replace(" ::", "::").replace(":: ", "::");
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

/// Names that people of the field would have to look up: an event, a command, an error, statistics have these names in code too.
fn coinages(source: &Source) -> Vec<String> {
    let names = ["Said", "Heard", "Told", "Mention", "Wish", "Trouble", "Look", "Left", "Load", "passed_on", "heeded"];
    let found = names.into_iter().filter(|name| !occurrences(&source.code, name).is_empty());
    found.map(|name| format!("{}: {name}", source.path)).collect()
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
fn no_modules_import_each_other_in_a_circle() {
    for folder in ALL {
        let found = circles(&Crate::new(folder, &source::sources(&ALL)).imports());
        assert_none(&format!("{folder}: what two modules need of each other is a module below both"), &found);
    }
}

#[test]
fn modules_import_only_what_is_on_a_lower_floor() {
    let floors = floors(&fs::read_to_string(root().join("src/lib.rs")).unwrap());
    let floor = |module: &[String]| floors.iter().position(|floor| floor.contains(&module[0]));
    let operator = Crate::new("src", &sources());
    let imports = operator.imports();
    assert!(imports.len() > 100, "only {} imports were found", imports.len());
    let top = |path: &[String]| path[0] != "main";
    let between = imports.iter().filter(|(from, to)| from[0] != to[0] && top(from));
    let wrong = between.filter(|(from, to)| floor(to).zip(floor(from)).is_none_or(|(to, from)| to >= from));
    let found: Vec<_> = wrong.map(|(from, to)| format!("{} imports {}", from.join("::"), to.join("::"))).collect();
    assert_none("the floors are in src/lib.rs", &found);
}

#[test]
fn the_files_that_the_crates_root_names_are_there() {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let named: Vec<_> =
        text.split('`').skip(1).step_by(2).filter(|name| name.rsplit('.').next() == Some("rs")).collect();
    assert!(named.len() > 10, "{named:?}");
    let missing: Vec<_> =
        named.into_iter().filter(|name| !root().join("src").join(name).is_file()).map(str::to_owned).collect();
    assert_none("files that src/lib.rs names", &missing);
}

/// Code that a row of a table names beside files, and that is in none of these.
fn named_in_vain(root: &str, code_of: impl Fn(&str) -> String) -> Vec<String> {
    let mut found = Vec::new();
    for row in root.lines().filter(|line| line.starts_with("//! |")) {
        let (files, names): (Vec<_>, Vec<_>) =
            row.split('`').skip(1).step_by(2).partition(|name| name.rsplit('.').next() == Some("rs"));
        let code: String = files.iter().map(|file| code_of(file)).collect();
        let missing = names.iter().filter(|name| !files.is_empty() && occurrences(&code, name).is_empty());
        found.extend(missing.map(|name| format!("{name} in {}", files.join(", "))));
    }
    found
}

#[test]
fn the_functions_that_the_crates_root_names_are_where_it_says() {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let code_of = |file: &str| fs::read_to_string(root().join("src").join(file)).unwrap();
    assert_none("what src/lib.rs names", &named_in_vain(&text, code_of));
    let row = "//! | who? | `f` in `a.rs`, `g` |";
    assert_eq!(named_in_vain(row, |_| "fn f() { h() }".to_owned()), ["g in a.rs"]);
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

/// Crates of the workspace that a build of the image would not find: cargo wants all of them.
fn left_out(manifest: &str, context: &str) -> Vec<String> {
    let members = manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']')).unwrap().0;
    let is_there = |path: String| context.lines().any(|line| line == format!("!{path}"));
    let crates = members.split(',').map(|member| member.trim().trim_matches('"')).filter(|member| !member.is_empty());
    crates
        .filter(|of| !is_there((*of).to_owned()))
        .filter(|of| !is_there(format!("{of}/Cargo.toml")) || !is_there(format!("{of}/src")))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_image_is_built_with_every_crate() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    assert_none("left out by .dockerignore", &left_out(&read("Cargo.toml"), &read(".dockerignore")));
    let manifest = "members = [\"a\", \"b\", \"c\"]";
    assert_eq!(left_out(manifest, "!a\n!b/Cargo.toml\n!b/src\n!c/Cargo.toml"), ["c"]);
}

#[test]
fn no_file_is_too_long() {
    // The simulator is a program of its own.
    let folders = [&ALL[..], &["tests/sim"]].concat();
    let found: Vec<_> = source::sources(&folders).iter().filter_map(too_long).collect();
    assert_none(&format!("files with more than {MAX_LINES} lines, tests not counted, are two files"), &found);
}

#[test]
fn every_mutant_of_the_simulator_breaks_something() {
    let list = fs::read_to_string(root().join("dev/sim-mutants.list")).unwrap();
    let text = |source: Source| (fs::read_to_string(root().join(&source.path)).unwrap(), source.path);
    let texts = source::sources(&["src", "tests/sim"]).into_iter().map(text);
    let mut files: BTreeMap<_, _> = texts.map(|(text, path)| (path, squeezed(&text))).collect();
    assert_none("dev/sim-mutants.list is to be changed with the code", &mutants::stale(&list, &mut files));

    let of = |list| mutants::stale(list, &mut BTreeMap::from([("a".into(), "x y x".into()), ("b".into(), "z".into())]));
    assert_eq!(of("== m Rule\n- y\n- x\n+ q\n== n Rule\n- q\n+ r\n- z\n+ s\n"), [""; 0]);
    assert_eq!(
        of("== m Rule\n- x\n+ q\n- u\n+ z\n").join("; "),
        "m: `x` is there 2 times, and has to be once; m: `u` is there 0 times, and has to be once"
    );
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
fn names_are_those_of_the_field() {
    let folders = [&ALL[..], &["tests", "agent/tests", "client/tests"]].concat();
    let found: Vec<_> = source::sources(&folders).iter().flat_map(coinages).collect();
    assert_none("names that a reader has to look up", &found);
    assert_eq!(
        coinages(&Source::new("src/x.rs", "enum Said { Left(Lefty) } // Wish")),
        ["src/x.rs: Said", "src/x.rs: Left"]
    );
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
fn the_check_for_circles_can_fail() {
    let of = |files: &[(&str, &str)]| {
        let sources: Vec<_> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        circles(&Crate::new("src", &sources).imports())
    };
    let (a, b) = (("src/a.rs", "use crate::{c, b::{B as X, Y}};"), ("src/b/mod.rs", "fn f() -> crate::a::A { }"));
    assert_eq!(of(&[a, b]), ["a, b"]);
    assert_eq!(of(&[a, ("src/b/mod.rs", "#[cfg(test)] mod tests { use crate::a; } // crate::a::A")]), [""; 0]);
    let child = ("src/b/c.rs", "use super::B;");
    assert_eq!(of(&[child, ("src/b/mod.rs", "mod c; pub use c::C; struct B(C);")]), ["b, b::c"]);
    assert_eq!(of(&[child, ("src/b/mod.rs", "mod c; pub use c::C; struct B;")]), [""; 0], "it only hands on");
    let handed_on = [("src/b/mod.rs", "mod c; mod d; pub use d::D;"), ("src/b/d.rs", "struct D(super::c::E);")];
    assert_eq!(of(&[handed_on[0], handed_on[1], ("src/b/c.rs", "struct E(crate::b::D);")]), ["b::c, b::d"]);
    assert_eq!(of(&[("src/main.rs", "mod a; use a::A;"), ("src/a.rs", "use crate::a::A;")]), [""; 0]);
    assert_eq!(
        floors("//! | floor | modules |\n//! |---|---|\n//! | 1 | `a`, `b` |\n//! | 2 | `c` |\n//!\n"),
        [vec!["a", "b"], vec!["c"]]
    );
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
