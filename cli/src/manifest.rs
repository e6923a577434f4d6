//! Files in which objects, or parts of them, are written as YAML or JSON.

use std::path::Path;

use crate::failure::Failure;

/// What a file has, or standard input where it is `-`.
pub fn read<T>(file: &Path, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::ours(format!("{}: {why}", file.display()));
    let text =
        if file.as_os_str() == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(file) };
    parse(&text.map_err(|error| failed(&error))?).map_err(|why| failed(&why))
}

/// What is wrong, in one line: further ones draw where it is.
pub fn line(error: &serde_saphyr::Error) -> String {
    let said = error.to_string();
    said.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}
