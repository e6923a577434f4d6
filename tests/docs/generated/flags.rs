//! The table in docs/flags.md.

use std::fmt::Write as _;

use arl_operator::flags::Flags;
use clap::CommandFactory;

pub fn table() -> String {
    let mut table = "| flag | variable | default | |\n|---|---|---|---|\n".to_owned();
    for flag in Flags::command().get_arguments() {
        let name = flag.get_long().expect("only flags");
        let variable = flag.get_env().map(|variable| format!("`{}`", variable.to_str().unwrap())).unwrap_or_default();
        let defaults = flag.get_default_values().iter().map(|value| format!("`{}`", value.to_str().unwrap()));
        let default: Vec<_> = defaults.collect();
        let help = flag.get_help().unwrap_or_else(|| panic!("--{name} has no help")).to_string();
        let _ =
            writeln!(table, "| `--{name}` | {variable} | {} | {}. |", default.join(", "), help.trim_end_matches('.'));
    }
    table
}
