//! `cp`: files and directories to and from a Sandbox.

use arl_client::Files;
use clap::Args;

use crate::{connect::Connection, copy, failure::Failure, kind, progress::reached};

/// Copy a file or a directory to or from a Sandbox.
#[derive(Args, Debug)]
#[command(
    after_help = "A destination is understood as `cp -r` does: a directory that is there gets the source under its name; SOURCE/. stands \
    for what is in SOURCE. A single file is written all of it or not at all.\n\n\
    Examples:\n  kubectl arl cp ./src my-sandbox:/workspace\n  kubectl arl cp my-sandbox:/workspace/result.json .\n  \
    tar c . | kubectl arl cp - my-sandbox:/workspace/all.tar"
)]
pub struct Flags {
    /// Local path, SANDBOX:PATH, or - for standard input.
    source: String,
    /// Local path, SANDBOX:PATH, or - for standard output.
    destination: String,
    /// With the rights of this user, a name or uid[:gid]; needs a container that runs as root.
    #[arg(short, long)]
    user: Option<String>,
}

/// One side of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Side<'a> {
    Standard,
    Local(&'a str),
    Sandbox(&'a str, &'a str),
}

impl<'a> Side<'a> {
    fn of(text: &'a str) -> Self {
        if text == "-" {
            return Self::Standard;
        }
        let named = text.split_once(':').map(|(name, path)| match name.split_once('/') {
            Some((_, alone)) if !alone.contains('/') && kind::sandbox(name).is_ok() => (alone, path),
            _ => (name, path),
        });
        match named {
            Some((sandbox, path)) if !sandbox.is_empty() && !sandbox.contains('/') && !sandbox.starts_with('.') => {
                Self::Sandbox(sandbox, if path.is_empty() { "." } else { path })
            }
            _ => Self::Local(text),
        }
    }
}

/// Copies.
pub async fn cp(connection: &Connection, flags: Flags) -> Result<(), Failure> {
    let opened = async |name: &str| {
        let sandbox = connection.sandbox(name).await?;
        let files = flags.user.iter().fold(sandbox.files(), Files::as_user);
        Ok::<_, Failure>((sandbox, files))
    };
    match (Side::of(&flags.source), Side::of(&flags.destination)) {
        (Side::Standard, Side::Sandbox(name, path)) => {
            let (sandbox, files) = opened(name).await?;
            reached(sandbox.session(), copy::from_input(&files, path)).await
        }
        (Side::Local(source), Side::Sandbox(name, path)) => {
            let (sandbox, files) = opened(name).await?;
            reached(sandbox.session(), copy::upload(&files, source.as_ref(), path)).await
        }
        (Side::Sandbox(name, path), Side::Standard) => {
            let (sandbox, files) = opened(name).await?;
            reached(sandbox.session(), copy::to_output(&files, path)).await
        }
        (Side::Sandbox(name, path), Side::Local(destination)) => {
            let (sandbox, files) = opened(name).await?;
            reached(sandbox.session(), copy::download(&files, path, destination.as_ref())).await
        }
        _ => Err(Failure::ours(
            "one of the two must be in a Sandbox, written SANDBOX:PATH, and the other here; between two Sandboxes, \
             go by way of a local file",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_sandbox_has_its_name_before_a_colon() {
        for (text, expected) in [
            ("-", Side::Standard),
            ("a", Side::Local("a")),
            ("./a:b", Side::Local("./a:b")),
            ("/a:b", Side::Local("/a:b")),
            ("a/b:c", Side::Local("a/b:c")),
            (":a", Side::Local(":a")),
            ("s:/w/x:y", Side::Sandbox("s", "/w/x:y")),
            ("s:", Side::Sandbox("s", ".")),
            ("sandbox/s:/x", Side::Sandbox("s", "/x")),
            ("sandbox.arl.infra.io/s:x/y", Side::Sandbox("s", "x/y")),
            ("./sandbox/s:/x", Side::Local("./sandbox/s:/x")),
            ("sandbox/s/t:/x", Side::Local("sandbox/s/t:/x")),
            ("pool/s:/x", Side::Local("pool/s:/x")),
        ] {
            assert_eq!(Side::of(text), expected, "{text}");
        }
    }
}
