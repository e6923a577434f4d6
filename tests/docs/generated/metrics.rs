//! The table in docs/metrics.md.

use std::fmt::Write as _;

use arl_operator::collector::catalogue;

pub fn table() -> String {
    let mut table = "| name | type | labels | |\n|---|---|---|---|\n".to_owned();
    for entry in catalogue().entries() {
        let labels = if entry.labels.is_empty() { String::new() } else { format!("`{}`", entry.labels.join("`, `")) };
        let help = entry.help.replace('<', "&lt;");
        writeln!(table, "| `{}` | {} | {labels} | {help}. |", entry.name, entry.kind).unwrap();
    }
    table
}
