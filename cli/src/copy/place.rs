//! Where a copy comes from and goes to.
//!
//! A destination is understood as `cp -r` does: a directory that is there gets the source under its name, a name that is not there is
//! given to the source, and a source that ends in `/.` stands for what is in it.

use std::{io, str::FromStr};

use arl_client::{
    Error, Files,
    kind::Kind,
    live::{Entry, FileKind},
};

use arl_crds::text::with_causes;

use crate::failure::Failure;

/// Of what is under way between a stream and a file.
pub(super) const BUFFER: usize = 256 * 1024;

/// Two paths, written with a colon between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair(pub String, pub String);

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok(Self(from.to_owned(), to.to_owned())),
            _ => Err("write it as SOURCE:DESTINATION".to_owned()),
        }
    }
}

/// What is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum There {
    Nothing,
    Directory,
    Other,
}

/// What is at a path in the Sandbox.
pub(super) async fn stat(files: &Files, path: &str) -> Result<Option<Entry>, Failure> {
    match files.stat(path).await {
        Ok(entry) => Ok(Some(entry)),
        Err(Error::Remote(error)) if error.kind == Kind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn there(entry: Option<&Entry>) -> There {
    match entry.map(|entry| entry.kind) {
        None => There::Nothing,
        Some(FileKind::Directory) => There::Directory,
        Some(_) => There::Other,
    }
}

/// Whether a path stands for what is in a directory rather than for itself.
fn is_content(path: &str) -> bool {
    path == "." || path.ends_with("/.")
}

/// The last part of a path, if it has a name.
fn name(path: &str) -> Option<&str> {
    path.trim_end_matches('/').rsplit('/').next().filter(|name| !matches!(*name, "" | "." | ".."))
}

/// Where the source goes.
pub(super) fn target(source: &str, is_directory: bool, destination: &str, there: There) -> Result<String, Failure> {
    let wants_directory = destination.ends_with('/') || is_content(destination);
    match there {
        There::Other if is_directory => {
            Err(Failure::ours(format!("{destination} is no directory: {source} cannot be copied there")))
        }
        There::Directory if is_directory && is_content(source) => Ok(destination.to_owned()),
        There::Directory => match name(source) {
            Some(name) => Ok(format!("{}/{name}", destination.trim_end_matches('/'))),
            None => Ok(destination.to_owned()),
        },
        There::Nothing if !is_directory && wants_directory => {
            Err(Failure::ours(format!("{destination} is not there; make the directory first, or name a file")))
        }
        There::Nothing | There::Other => Ok(destination.to_owned()),
    }
}

pub(super) fn local(path: &std::path::Path, error: &io::Error) -> Failure {
    Failure::ours(format!("{}: {}", path.display(), with_causes(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_understood_as_cp_does() {
        for (source, is_directory, destination, there, expected) in [
            ("a/x", false, "/w/y", There::Nothing, Some("/w/y")),
            ("a/x", false, "/w/y", There::Other, Some("/w/y")),
            ("a/x", false, "/w", There::Directory, Some("/w/x")),
            ("a/x", false, "/w/", There::Directory, Some("/w/x")),
            ("a/x", false, ".", There::Directory, Some("./x")),
            ("a/x", false, "/w/", There::Nothing, None),
            ("a/d", true, "/w", There::Directory, Some("/w/d")),
            ("a/d/", true, "/w", There::Directory, Some("/w/d")),
            ("a/d", true, "/w/new", There::Nothing, Some("/w/new")),
            ("a/d", true, "/w/new/", There::Nothing, Some("/w/new/")),
            ("a/d/.", true, "/w", There::Directory, Some("/w")),
            (".", true, "/w", There::Directory, Some("/w")),
            ("..", true, "/w", There::Directory, Some("/w")),
            ("/", true, "/w", There::Directory, Some("/w")),
            ("a/d", true, "/w", There::Other, None),
        ] {
            let found = target(source, is_directory, destination, there);
            assert_eq!(found.ok().as_deref(), expected, "{source} to {destination}, where there is {there:?}");
        }
    }

    #[test]
    fn a_pair_has_two_sides() {
        assert_eq!("a:b:c".parse(), Ok(Pair("a".into(), "b:c".into())));
        assert!(["a", ":b", "a:"].iter().all(|text| text.parse::<Pair>().is_err()));
    }
}
