//! A Sandbox as it becomes ready, or never will.

use std::sync::Arc;

use arl_crds::{Sandbox as SandboxObject, SandboxPhase, condition, reason::SandboxReason};
use tokio::sync::watch;

use crate::{
    error::{Error, Fault},
    watch::{Seen, first, refused, unreadable},
};

/// Whether it has a pod that can be used.
pub(crate) fn is_allocated(object: &SandboxObject) -> bool {
    let phase = object.status.as_ref().and_then(|status| status.phase);
    matches!(phase, Some(SandboxPhase::Ready | SandboxPhase::Bound))
        && ready_condition(object).is_some_and(|(reason, _)| reason == SandboxReason::Allocated.as_str())
}

/// The reason and message of its condition Ready.
pub(crate) fn ready_condition(object: &SandboxObject) -> Option<(String, String)> {
    let ready = condition::find(&object.status.as_ref()?.conditions, "Ready")?;
    Some((ready.reason.clone(), ready.message.clone()))
}

/// It has no pod that can be used, for this reason. What a setup comes to, and how long it takes, is up to whoever wrote it; a Sandbox that
/// goes with its Tasks was asked for as one.
pub(crate) fn not_ready(sandbox: &str, (reason, message): (String, String)) -> Error {
    let fault = match SandboxReason::parse(&reason) {
        Some(
            SandboxReason::SetupFailed
            | SandboxReason::SettingUp
            | SandboxReason::TasksFinished
            | SandboxReason::PoolNotFound,
        ) => Fault::Usage,
        _ => Fault::Infrastructure,
    };
    Error::NotReady { sandbox: sandbox.to_owned(), reason, message, fault }
}

/// Why a Sandbox is not there any more, as far as a client sees.
pub(crate) const BY_SOMEBODY: &str = "somebody deleted it";

/// It was deleted.
pub(crate) fn deleted(sandbox: &str, message: String) -> Error {
    Error::NotReady { sandbox: sandbox.to_owned(), reason: "Deleted".into(), message, fault: Fault::Usage }
}

/// A Sandbox that somebody waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awaited<'a> {
    pub(crate) name: &'a str,
    /// Another of the same name may have been there before.
    pub(crate) uid: &'a str,
    /// The pool is known to be there, whatever an operator says that has not heard of it.
    pub(crate) has_pool: bool,
}

/// Resolves with the Sandbox once it is ready, or with why it never will be.
pub(crate) async fn ready(
    seen: watch::Receiver<Seen<SandboxObject>>,
    awaited: Awaited<'_>,
    last: &mut Option<Arc<SandboxObject>>,
) -> Result<Arc<SandboxObject>, Error> {
    let outcome = first(seen, |sandbox| match sandbox {
        Seen::Unreadable(why) => Some(Err(unreadable(format!("Sandbox {}", awaited.name), why))),
        Seen::Refused(status) => Some(Err(refused("Sandboxes", status))),
        Seen::Deleted(object) if object.metadata.uid.as_deref() == Some(awaited.uid) => {
            Some(Err(deleted(awaited.name, BY_SOMEBODY.into())))
        }
        Seen::There(object) if object.metadata.uid.as_deref() == Some(awaited.uid) => {
            *last = Some(Arc::clone(object));
            if object.metadata.deletion_timestamp.is_some() {
                return Some(Err(deleted(awaited.name, BY_SOMEBODY.into())));
            }
            if is_allocated(object) {
                return Some(Ok(Arc::clone(object)));
            }
            let phase = object.status.as_ref().and_then(|status| status.phase);
            let why = ready_condition(object)?;
            let has_no_pool = !awaited.has_pool && why.0 == SandboxReason::PoolNotFound.as_str();
            (phase == Some(SandboxPhase::Released) || has_no_pool).then(|| Err(not_ready(awaited.name, why)))
        }
        Seen::Unknown | Seen::Unlisted | Seen::There(_) | Seen::Deleted(_) => None,
    });
    outcome.await.unwrap_or_else(|| {
        let (reason, message) = ("Unwatched".into(), "the client was dropped".into());
        Err(Error::NotReady { sandbox: awaited.name.to_owned(), reason, message, fault: Fault::Usage })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_nothing_that_another_sandbox_would_do_better() {
        for (reason, fault) in [
            ("SettingUp", Fault::Usage),
            ("SetupFailed", Fault::Usage),
            ("TasksFinished", Fault::Usage),
            ("PoolNotFound", Fault::Usage),
            ("PoolEmpty", Fault::Infrastructure),
            ("PodLost", Fault::Infrastructure),
            ("Unserved", Fault::Infrastructure),
        ] {
            assert_eq!(not_ready("s", (reason.into(), String::new())).fault(), fault, "{reason}");
        }
    }
}
