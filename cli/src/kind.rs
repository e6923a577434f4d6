//! The three kinds, as they are written on a command line.

use arl_crds::name::is_name;
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

impl Kind {
    /// The name of an object of this kind, alone or behind its kind.
    pub fn name(self, text: &str) -> Result<String, String> {
        match self {
            Self::Pools => pool(text),
            Self::Sandboxes => sandbox(text),
            Self::Tasks => task(text),
        }
    }
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
        let parts = text.split_once('/').filter(|(_, name)| is_name(name));
        let parsed = parts.and_then(|(kind, name)| {
            let kind = Kind::from_str(kind.split('.').next().unwrap_or(kind), true).ok()?;
            Some(Self { kind, name: name.to_owned() })
        });
        parsed.ok_or_else(|| "write it as pool/NAME, sandbox/NAME or task/NAME".to_owned())
    }
}

/// The name of a pool, alone or behind its kind, as `get -o name` prints it.
pub fn pool(text: &str) -> Result<String, String> {
    name(Kind::Pools, "pool", text)
}

/// The name of a Sandbox, alone or behind its kind.
pub fn sandbox(text: &str) -> Result<String, String> {
    name(Kind::Sandboxes, "Sandbox", text)
}

/// The name of a Task, alone or behind its kind.
pub fn task(text: &str) -> Result<String, String> {
    name(Kind::Tasks, "Task", text)
}

/// A name of any object, or of a namespace.
pub fn any(text: &str) -> Result<String, String> {
    is_name(text).then(|| text.to_owned()).ok_or_else(|| "nothing can have this name".to_owned())
}

/// A name alone, or behind a kind.
pub fn either(text: &str) -> Result<String, String> {
    if text.contains('/') { Object::parse(text).map(|_| text.to_owned()) } else { any(text) }
}

fn name(wanted: Kind, word: &str, text: &str) -> Result<String, String> {
    if !text.contains('/') {
        return any(text);
    }
    let named = Object::parse(text).ok().filter(|object| object.kind == wanted);
    named.map(|object| object.name).ok_or_else(|| format!("a {word} is wanted here: write its name alone"))
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

    #[test]
    fn a_name_may_be_what_get_prints() {
        for text in ["a", "sandbox/a", "sbx/a", "sandbox.arl.infra.io/a"] {
            assert_eq!(sandbox(text), Ok("a".into()), "{text}");
        }
        assert_eq!((pool("warmpool.arl.infra.io/p"), task("task/t")), (Ok("p".into()), Ok("t".into())));
        assert!(sandbox("pool/a").unwrap_err().contains("a Sandbox is wanted here"));
        for text in ["", ".", "?x=1", "a?dryRun=All", "sandbox/?x=1", "sandbox/a/b"] {
            assert!(sandbox(text).is_err() && any(text).is_err() && Object::parse(text).is_err(), "{text:?}");
        }
        assert!(task("x/a").is_err() && pool("pool/").is_err());
    }
}
