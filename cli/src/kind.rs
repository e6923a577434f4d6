//! The three kinds, as they are written on a command line.

use clap::ValueEnum;

/// A kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// WarmPools.
    #[value(name = "pools", aliases = ["pool", "warmpools", "warmpool", "wp"])]
    Pools,
    /// Sandboxes.
    #[value(name = "sandboxes", aliases = ["sandbox", "sbx"])]
    Sandboxes,
    /// Tasks.
    #[value(name = "tasks", alias = "task")]
    Tasks,
}

/// An object: its kind and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl Object {
    /// Of `kind/name`; the kind may have its group behind it, as `get -o name` prints it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').filter(|(_, name)| !name.is_empty());
        let parsed = parts.and_then(|(kind, name)| {
            let kind = Kind::from_str(kind.split('.').next().unwrap_or(kind), true).ok()?;
            Some(Self { kind, name: name.to_owned() })
        });
        parsed.ok_or_else(|| "write it as pool/NAME, sandbox/NAME or task/NAME".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_a_kind_and_a_name() {
        for (text, kind) in
            [("pool/a", Kind::Pools), ("sandbox.arl.infra.io/a", Kind::Sandboxes), ("Tasks/a", Kind::Tasks)]
        {
            assert_eq!(Object::parse(text), Ok(Object { kind, name: "a".into() }), "{text}");
        }
        assert!(Object::parse("a").unwrap_err().contains("pool/NAME"));
        assert!(Object::parse("pod/a").is_err() && Object::parse("pool/").is_err());
    }
}
