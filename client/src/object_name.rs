//! Names of objects and namespaces, which go into the paths of requests as they are written.

use arl_crds::name::is_name;

use crate::error::Error;

/// Refuses what no `kind` can be named. `?`, put into the deletion of an object, would make it that of all.
///
/// # Errors
/// [`Error::Usage`].
pub fn check_name(kind: &str, name: &str) -> Result<(), Error> {
    is_name(name).then_some(()).ok_or_else(|| Error::Usage(format!("no {kind} can have the name {name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_a_request_is_no_name() {
        assert!(check_name("Sandbox", "a-b.c").is_ok());
        for text in ["", ".", "?x=1", "a?dryRun=All", "a#", "%2e", " "] {
            assert!(matches!(check_name("Sandbox", text), Err(Error::Usage(_))), "{text:?}");
        }
    }
}
