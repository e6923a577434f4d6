//! The table in docs/cli.md.

use std::fmt::Write as _;

use arl_cli::command_line::Arguments;
use clap::{Command, CommandFactory};

pub fn table() -> String {
    let mut table = "| verb | |\n|---|---|\n".to_owned();
    let mut command = Arguments::command().bin_name("kubectl arl");
    command.build();
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let actions: Vec<&Command> = verb.get_subcommands().filter(|action| action.get_name() != "help").collect();
        for verb in if actions.is_empty() { vec![verb] } else { actions } {
            let usage = verb.clone().render_usage().to_string();
            let usage = usage.trim_start_matches("Usage: kubectl arl ").replace('|', "\\|");
            let about = verb.get_about().unwrap_or_else(|| panic!("{usage} has no help")).to_string();
            let _ = writeln!(table, "| `{usage}` | {}. |", about.trim_end_matches('.'));
        }
    }
    table
}
