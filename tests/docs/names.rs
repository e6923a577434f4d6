//! What the documentation names in its commands and between backticks exists: files, `make` targets and their variables, the
//! operator's flags and environment variables, the chart's values, metrics, labels, fields, and the objects of the
//! examples.

use std::collections::BTreeSet;

use arl_cli::command_line::Arguments;
use arl_operator::{collector::catalogue, flags::Flags};
use clap::CommandFactory;
use serde_json::Value;

use crate::{
    DEFINITIONS,
    markdown::{Page, pages},
    objects, read, root, schema,
};

/// Folders that are made, not kept.
const MADE: [&str; 3] = [".cluster", ".git", "target"];
/// Beginnings of the names of metrics.
const METRICS: [&str; 6] =
    ["arl_", "controller_runtime_", "leader_election_", "process_", "rest_client_", "workqueue_"];

/// All that a name can be compared with.
struct Known {
    top: BTreeSet<String>,
    makefile: String,
    cluster: String,
    flags: BTreeSet<String>,
    variables: BTreeSet<String>,
    values: Value,
    metrics: BTreeSet<String>,
    labels: String,
    schemas: Vec<Value>,
    /// `plural.group/name` of the objects in examples/ and in the pages.
    objects: BTreeSet<String>,
}

impl Known {
    fn new() -> Self {
        let top = std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let command = Flags::command();
        let suffixes = |kind: &str| if kind == "histogram" { vec!["", "_bucket", "_count", "_sum"] } else { vec![""] };
        let entries = catalogue();
        Self {
            top: top.filter(|name| !MADE.contains(&name.as_str())).collect(),
            makefile: read("Makefile"),
            cluster: read("dev/cluster/cluster"),
            flags: flags(&command).chain(flags_of_verbs(&Arguments::command())).collect(),
            variables: command.get_arguments().filter_map(|a| a.get_env()?.to_str().map(str::to_owned)).collect(),
            values: serde_json::from_str(&read("deploy/chart/values.schema.json")).unwrap(),
            metrics: entries
                .entries()
                .iter()
                .flat_map(|e| suffixes(e.kind).into_iter().map(move |suffix| format!("{}{suffix}", e.name)))
                .collect(),
            labels: read("crds/src/labels.rs"),
            objects: objects::all().iter().map(|(_, object)| objects::address(object)).collect(),
            schemas: DEFINITIONS.iter().map(|crd| schema(crd).clone()).collect(),
        }
    }

    /// What is wrong with the names in a piece of code.
    fn faults(&self, code: &str) -> Vec<String> {
        let mut found = Vec::new();
        for line in code.replace("\\\n", " ").lines() {
            let words: Vec<_> = words(line, "\"'()[]|;,").collect();
            let mut expect = |what: &str, names: Vec<&str>, exists: &dyn Fn(&str) -> bool| {
                found.extend(names.into_iter().filter(|name| !exists(name)).map(|name| format!("no {what} {name}")));
            };
            expect("file", words.clone(), &|path| self.has_file(path));
            expect("variable", beginning_with(&words, &["ARL_"], "="), &|name| self.has_variable(name));
            expect("metric", beginning_with(&words, &METRICS, "{="), &|name| {
                // A crate's own name may begin so too.
                ["arl_", "arl_operator", "arl_sandbox"].contains(&name)
                    || ["arl_client::", "arl_sandbox."].iter().any(|path| name.starts_with(path))
                    || self.metrics.contains(name)
            });
            expect("label", beginning_with(&words, &["arl.infra.io/"], "{}="), &|name| {
                name == "arl.infra.io/v1alpha1" || self.labels.contains(&format!("\"{name}\""))
            });
            let plurals = ["warmpools.arl.infra.io/", "sandboxes.arl.infra.io/", "tasks.arl.infra.io/"];
            expect("object", beginning_with(&words, &plurals, "="), &|name| {
                // Whoever reads NAME puts in their own.
                self.objects.contains(name) || name.ends_with(|c: char| c.is_uppercase())
            });
            expect("field", fields(line), &|path| self.schemas.iter().any(|schema| has_field(schema, path)));
            let (settings, targets) = arguments(line).partition(|argument| argument.contains('='));
            expect("make target", targets, &|name| self.makefile.contains(&format!("\n{name}: ")));
            expect("variable", beginning_with(&settings, &[""], "="), &|name| self.has_variable(name));
            expect("flag", operators_flags(line, &words), &|name| self.flags.contains(name));
            expect("value", values(line), &|key| has_value(&self.values, key));
        }
        found
    }

    /// Whether a word that begins like a path in the repository is one; of a pattern, the part before it is looked at.
    fn has_file(&self, word: &str) -> bool {
        let Some((first, _)) = word.split_once('/') else { return true };
        if !self.top.contains(first) {
            return true;
        }
        let certain = word.split(['*', '{', '$', '#', ':']).next().unwrap();
        let certain = if certain.len() < word.len() {
            certain.rsplit_once('/').map_or("", |(folder, _)| folder)
        } else {
            certain
        };
        root().join(certain).exists()
    }

    fn has_variable(&self, name: &str) -> bool {
        self.variables.contains(name) || [&self.makefile, &self.cluster].iter().any(|text| text.contains(name))
    }
}

/// The words of a line, without the full stop or colon of the sentence.
fn words<'a>(line: &'a str, separators: &'a str) -> impl Iterator<Item = &'a str> {
    line.split(|c: char| c.is_whitespace() || separators.contains(c)).map(|word| word.trim_end_matches(['.', ':']))
}

/// The words that begin so, up to one of the characters of `end`.
fn beginning_with<'a>(words: &[&'a str], beginnings: &[&str], end: &str) -> Vec<&'a str> {
    let found = words.iter().filter(|word| beginnings.iter().any(|b| word.starts_with(b)));
    found.map(|word| word.split(|c| end.contains(c)).next().unwrap()).collect()
}

/// The fields of our kinds in a line. What has `.[` is kustomize's.
fn fields(line: &str) -> Vec<&str> {
    let paths = words(line, "\"'(),;").map(|word| word.split('=').next().unwrap());
    paths.filter(|p| (p.starts_with("spec.") || p.starts_with("status.")) && !p.contains(".[")).collect()
}

/// The keys that `--set` is given.
fn values(line: &str) -> Vec<&str> {
    let sets = line.split("--set").skip(1).map(|rest| rest.trim_start_matches("-string"));
    let sets = sets.filter(|rest| rest.starts_with([' ', '=']));
    sets.map(|set| set.trim_start_matches([' ', '"', '=']).split('=').next().unwrap()).collect()
}

fn flags(command: &clap::Command) -> impl Iterator<Item = String> {
    command.get_arguments().filter_map(|a| a.get_long().map(str::to_owned))
}

/// Those of kubectl arl.
fn flags_of_verbs(command: &clap::Command) -> Vec<String> {
    flags(command).chain(command.get_subcommands().flat_map(flags_of_verbs)).collect()
}

/// The flags in a command of the operator. A flag alone is the operator's too, or a verb's of kubectl arl, unless it is Helm's `--set`.
fn operators_flags<'a>(line: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    let runs_it =
        words.iter().any(|w| w.ends_with("/arl-operator") && !w.contains("chart")) || line.contains("cargo run");
    if !runs_it && (!line.starts_with("--") || line.starts_with("--set")) {
        return Vec::new();
    }
    let after_separator = words.iter().position(|w| *w == "--").unwrap_or(0);
    let name = |w: &&'a str| w.strip_prefix("--").and_then(|w| w.split('=').next()).filter(|w| !w.is_empty());
    words[after_separator..].iter().filter_map(name).collect()
}

/// What a command of make is given: targets and variables.
fn arguments(line: &str) -> impl Iterator<Item = &str> {
    // Every other piece is in quotes, the value of a variable.
    let words = line.split('"').step_by(2).flat_map(str::split_whitespace).skip_while(|word| *word != "make").skip(1);
    words.take_while(|word| !word.starts_with(['#', '&', ';', '|'])).filter(|word| !word.starts_with('-'))
}

fn has_field(schema: &Value, path: &str) -> bool {
    let inside = path.split('.').try_fold(schema, |schema, part| {
        let (name, is_list) = part.split_once('[').map_or((part, false), |(name, _)| (name, true));
        let field = schema["properties"].get(name)?;
        Some(if is_list { &field["items"] } else { field })
    });
    inside.is_some()
}

fn has_value(schema: &Value, key: &str) -> bool {
    key.split('.').try_fold(schema, |schema, part| schema["properties"].get(part)).is_some()
}

fn faults(known: &Known, page: &Page) -> Vec<String> {
    page.code().flat_map(|code| known.faults(code)).map(|fault| format!("{}: {fault}", page.path)).collect()
}

#[test]
fn what_is_named_exists() {
    let known = Known::new();
    let found: Vec<_> = pages().iter().flat_map(|page| faults(&known, page)).collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn the_check_of_names_can_fail() {
    let known = Known::new();
    for good in [
        "make demo     # starts it",
        "make bench BENCH=--quick",
        "crds/*.yaml",
        "deploy/chart",
        "src/*/plan.rs",
        "--task-ttl",
        "--log-level info,arl_operator=debug",
        "cargo run --release -- --kubeconfig ~/.kube/config --agent-image IMAGE",
        "ARL_AGENT_IMAGE=x ARL_CACHE=y",
        "helm install x deploy/chart --set crds.keep=false --set \"watchNamespaces={a,b}\"",
        "arl_warmpool_pods{state=\"ready\"}",
        "rate(arl_sandbox_claim_seconds_bucket[1h])",
        "arl.infra.io/warmpool=POOL",
        "kubectl wait tasks.arl.infra.io/run-python tasks.arl.infra.io/NAME",
        "spec.steps[].env",
        "spec.template.spec.containers[0].image",
    ] {
        assert_eq!(known.faults(good), Vec::<String>::new(), "{good}");
    }
    for (bad, fault) in [
        ("make demos", "no make target demos"),
        ("cd x && make demo nosuch", "no make target nosuch"),
        ("make bench BENHC=--quick", "no variable BENHC"),
        ("deploy/charts/x", "no file deploy/charts/x"),
        ("examples/nosuch.yaml", "no file examples/nosuch.yaml"),
        ("nosuch/*.yaml crds/nosuch/*.yaml", "no file crds/nosuch/*.yaml"),
        ("--task-tll 5s", "no flag task-tll"),
        ("cargo run --release -- --agents-image IMAGE", "no flag agents-image"),
        ("target/debug/arl-operator --agents-image=IMAGE", "no flag agents-image"),
        ("ARL_AGENTS_IMAGE", "no variable ARL_AGENTS_IMAGE"),
        ("helm install x --set crds.keeps=false", "no value crds.keeps"),
        ("arl_warmpool_pod{state=\"ready\"}", "no metric arl_warmpool_pod"),
        ("arl.infra.io/pool=POOL", "no label arl.infra.io/pool"),
        ("kubectl get tasks.arl.infra.io/run-pythn", "no object tasks.arl.infra.io/run-pythn"),
        ("spec.step[].env", "no field spec.step[].env"),
        ("status.podNam", "no field status.podNam"),
    ] {
        assert_eq!(known.faults(bad), [fault], "{bad}");
    }
}
