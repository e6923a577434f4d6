//! A Sandbox as it becomes ready, or never will.

use std::sync::Arc;

use arl_crds::{Sandbox as SandboxObject, SandboxPhase, condition, reason::SandboxReason};
use tokio::sync::watch;

use crate::{
    error::{Error, Fault},
    watch::{Seen, first, refused},
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
    let hopeless = |reason: String, message: String, fault| {
        Err(Error::NotReady { sandbox: awaited.name.to_owned(), reason, message, fault })
    };
    let outcome = first(seen, |sandbox| match sandbox {
        Seen::Refused(status) => Some(Err(refused("Sandboxes", status))),
        Seen::Deleted(object) if object.metadata.uid.as_deref() == Some(awaited.uid) => {
            Some(hopeless("Deleted".into(), "somebody deleted it".into(), Fault::Usage))
        }
        Seen::There(object) if object.metadata.uid.as_deref() == Some(awaited.uid) => {
            *last = Some(Arc::clone(object));
            if object.metadata.deletion_timestamp.is_some() {
                return Some(hopeless("Deleted".into(), "somebody deleted it".into(), Fault::Usage));
            }
            if is_allocated(object) {
                return Some(Ok(Arc::clone(object)));
            }
            let phase = object.status.as_ref().and_then(|status| status.phase);
            let (reason, message) = ready_condition(object)?;
            match phase {
                // What a setup comes to is up to whoever wrote it.
                Some(SandboxPhase::Released) if reason == SandboxReason::SetupFailed.as_str() => {
                    Some(hopeless(reason, message, Fault::Usage))
                }
                Some(SandboxPhase::Released) => Some(hopeless(reason, message, Fault::Infrastructure)),
                _ if !awaited.has_pool && reason == SandboxReason::PoolNotFound.as_str() => {
                    Some(hopeless(reason, message, Fault::Usage))
                }
                _ => None,
            }
        }
        Seen::Unknown | Seen::Unlisted | Seen::There(_) | Seen::Deleted(_) => None,
    });
    let outcome = outcome.await;
    outcome.unwrap_or_else(|| hopeless("Unwatched".into(), "the client was dropped".into(), Fault::Usage))
}
