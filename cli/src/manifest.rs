//! Files in which objects, or parts of them, are written as YAML or JSON.

use std::{fs, io, path::Path};

use crate::failure::Failure;

/// What a file has, or standard input where it is `-`. It may be long in coming: whoever waits for it hears signals meanwhile.
pub async fn read<T>(file: &Path, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::ours(format!("{}: {why}", file.display()));
    let path = file.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        if path.as_os_str() == "-" { io::read_to_string(io::stdin()) } else { fs::read_to_string(path) }
    });
    let text = reading.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    parse(&text.map_err(|error| failed(&error))?).map_err(|why| failed(&why))
}

/// What is wrong, in one line: further ones draw where it is.
pub fn line(error: &serde_saphyr::Error) -> String {
    let said = error.to_string();
    said.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}
