//! Steps as argument lists for pods/exec.
//!
//! Whatever a user wrote travels as an argument and is never part of a script's text, so nothing in it can be read as shell.

use std::collections::BTreeMap;

use arl_crds::Step;

/// What a Command step is run by. `$1` is the working directory or empty, then come the variables as NAME=VALUE, then the command of so
/// many arguments. It has no variable of its own: the step's may have any name.
fn command_text(env: &BTreeMap<String, String>, command: &[String]) -> String {
    let directory = r#"[ -z "$1" ] || cd -P -- "$1" || exit 126"#;
    let is_kept = |name: &String| KEPT_BY_SHELLS.contains(&name.as_str());
    let is_for_env = env.keys().any(is_kept) && command.first().is_some_and(|program| !program.contains('='));
    if is_for_env {
        return format!("{directory}\nshift\nexec env \"$@\"");
    }
    let arguments = command.len();
    // What bash says of a locale that the image does not have would be the step's output.
    let export = r#"case "$1" in LC_*) export "$1" 2>&- ;; *) export "$1" ;; esac"#;
    format!("{directory}\nshift\nwhile [ \"$#\" -gt {arguments} ]; do {export}; shift; done\nexec \"$@\"")
}

/// Variables that a shell (bash, dash, busybox) does not let be set, or changes: another program has to set them.
const KEPT_BY_SHELLS: [&str; 34] = [
    "BASHOPTS",
    "BASHPID",
    "BASH_ALIASES",
    "BASH_ARGC",
    "BASH_ARGV",
    "BASH_ARGV0",
    "BASH_CMDS",
    "BASH_COMMAND",
    "BASH_COMPAT",
    "BASH_LINENO",
    "BASH_SOURCE",
    "BASH_SUBSHELL",
    "BASH_VERSINFO",
    "BASH_XTRACEFD",
    "DIRSTACK",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "HISTCMD",
    "LINENO",
    "OLDPWD",
    "OPTIND",
    "PIPESTATUS",
    "PPID",
    "PWD",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "SHLVL",
    "SRANDOM",
    "UID",
    "_",
];

/// Says itself what its arguments are.
const FILE_PATCH: &str = include_str!("script/file_patch.sh");
/// What it prints once the file is written.
const WRITTEN: &str = "arl: written";

/// What pods/exec is asked to start.
pub(super) struct Call {
    /// The program and its arguments.
    pub(super) arguments: Vec<String>,
    /// Where the program is the image's `sh`, and not one that the user named: what it is needed for, and what helps where
    /// there is none.
    pub(super) shell: Option<&'static str>,
    /// The bytes in a URL of the variables among them that are the Sandbox's.
    pub(super) of_sandbox: usize,
    /// What it prints last where it succeeds, if it is known.
    pub(super) last_word: Option<&'static str>,
}

impl Call {
    /// Its bytes in a URL.
    pub(super) fn encoded_size(&self) -> usize {
        self.arguments.iter().map(|argument| encoded_size(argument)).sum()
    }
}

fn encoded_size(argument: &str) -> usize {
    let encoded = |byte: u8| if byte.is_ascii_alphanumeric() || b"-._*".contains(&byte) { 1 } else { 3 };
    "command=&".len() + argument.bytes().map(encoded).sum::<usize>()
}

fn script(text: &str, shell: &'static str, arguments: impl IntoIterator<Item = String>) -> Call {
    let arguments = ["sh", "-c", text, "arl"].into_iter().map(str::to_owned).chain(arguments).collect();
    Call { arguments, shell: Some(shell), of_sandbox: 0, last_word: None }
}

/// The working directory for `cd`, which would take `-` for the one before and look for `x` in CDPATH. Empty where none is named.
fn directory(step: &Step) -> String {
    match step.work_dir.as_deref() {
        None | Some("") => String::new(),
        Some(absolute) if absolute.starts_with('/') => absolute.to_owned(),
        Some(relative) => format!("./{relative}"),
    }
}

/// What runs a Command step: the command itself where it needs neither variables nor a directory, so that it works in images
/// without a shell. The step has the variables of its Sandbox among its own.
pub(super) fn command(step: &Step, command: &[String], sandbox_env: &BTreeMap<String, String>) -> Call {
    let directory = directory(step);
    if directory.is_empty() && step.env.is_empty() {
        return Call { arguments: command.to_vec(), shell: None, of_sandbox: 0, last_word: None };
    }
    let variable = |(name, value): (&String, &String)| format!("{name}={value}");
    let is_of_sandbox = |(name, value): &(&String, &String)| sandbox_env.get(*name) == Some(*value);
    let of_sandbox = step.env.iter().filter(is_of_sandbox).map(variable).map(|argument| encoded_size(&argument)).sum();
    let shell = if of_sandbox == 0 {
        "env and workDir; leave both out, or use a pool whose image has a shell"
    } else if directory.is_empty() && step.env.iter().all(|variable| is_of_sandbox(&variable)) {
        "spec.env of the Sandbox; use a Sandbox without it, or a pool whose image has a shell"
    } else {
        "env, workDir and spec.env of the Sandbox; leave all of them out, or use a pool whose image has a shell"
    };
    let variables = step.env.iter().map(variable);
    let arguments = [directory].into_iter().chain(variables).chain(command.iter().cloned());
    Call { of_sandbox, ..script(&command_text(&step.env, command), shell, arguments) }
}

/// What writes a file of `size` bytes from standard input.
pub(super) fn file_patch(step: &Step, path: &str, size: usize) -> Call {
    let arguments = [directory(step), path.to_owned(), size.to_string()];
    let call = script(FILE_PATCH, "FilePatch; use a pool whose image has sh, head, stat and mv", arguments);
    Call { last_word: Some(WRITTEN), ..call }
}

#[cfg(test)]
mod tests;
