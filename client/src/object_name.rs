//! Names of objects and namespaces, which go into the paths of requests as they are written, and of runs, which go into selectors.

use arl_crds::name::{is_label_value, is_name};

use crate::error::Error;

/// Refuses what no `kind` can be named. `?`, put into the deletion of an object, would make it that of all.
///
/// # Errors
/// [`Error::Usage`].
pub fn check_name(kind: &str, name: &str) -> Result<(), Error> {
    is_name(name).then_some(()).ok_or_else(|| Error::Usage(format!("no {kind} can have the name {name:?}")))
}

/// Refuses what no run can be called. `a,b`, put into the selector of a deletion, would be two conditions.
///
/// # Errors
/// [`Error::Usage`].
pub fn check_run_id(run_id: &str) -> Result<(), Error> {
    is_label_value(run_id).then_some(()).ok_or_else(|| {
        Error::Usage(format!(
            "no run can have the id {run_id:?}: it is the value of a label, 1 to 63 letters, digits, '-', '_' and '.', of which the first \
             and the last are letters or digits"
        ))
    })
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
