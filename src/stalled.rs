//! The condition `Stalled`: a call to the API keeps failing, and keeps an object from where it should be. It says so on every kind
//! alike, and is not there where all goes well.

use arl_crds::{
    condition::{self, STALLED, Truth, Wanted},
    reason::{EventReason, StalledReason},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::effects::{Effects, Event, Failure, Ours, Written};

/// A call that keeps failing.
#[derive(Clone, Copy, Debug)]
pub struct Obstacle<'a> {
    /// How it failed last.
    pub failure: &'a Failure,
    /// Whether nothing has been said of it yet.
    pub is_new: bool,
}

/// Shows on `object` what it is kept from going on by, or that it is so no more. The object as it was written; none where nothing
/// had to be, or it changed meanwhile, and its watch event reconciles it again.
pub async fn show<K: Ours>(
    effects: &Effects,
    object: &K,
    obstacle: Option<Obstacle<'_>>,
    now: Timestamp,
) -> Result<Option<K>, Failure> {
    if let Some(Obstacle { failure, is_new: true }) = obstacle {
        // Where the status cannot be written either, this is all there is.
        effects.event(Event::about(object, EventReason::Stalled, failure.to_string()));
    }
    let Some(wanted) = changed(object.conditions(), obstacle.map(|o| o.failure), object.meta().generation, now) else {
        return Ok(None);
    };
    match effects.write_conditions(object, &wanted).await? {
        Written::Done(object) => Ok(Some(object)),
        Written::Changed | Written::Gone => Ok(None),
        Written::TooLarge(failure) => Err(failure),
    }
}

/// The conditions with or without [`STALLED`], where that is a change. Words that differ in numbers alone are none: a refusal may
/// have others each time.
fn changed(
    before: &[Condition],
    failure: Option<&Failure>,
    generation: Option<i64>,
    now: Timestamp,
) -> Option<Vec<Condition>> {
    let recorded = condition::find(before, STALLED);
    let others = || before.iter().filter(|c| c.type_ != STALLED).cloned();
    let Some(failure) = failure else { return recorded.map(|_| others().collect()) };
    let reason = if failure.is_refusal() { StalledReason::Refused } else { StalledReason::ApiError };
    let message = format!("{failure}; it is tried again");
    if recorded.is_some_and(|c| c.reason == reason.as_str() && condition::is_alike(&c.message, &message)) {
        return None;
    }
    let wanted = Wanted { type_: STALLED, truth: Truth::True, reason: reason.as_str(), message };
    Some(others().chain(condition::merge(before, vec![wanted], generation, now)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        effects::{Cause, Refusal},
        object::Key,
    };

    #[test]
    fn it_is_said_once_until_it_is_another_or_over() {
        let failure = |message: &str| {
            let cause = Cause::Refused(Refusal::new(403, message));
            Failure::new("delete", "Pod", &Key::new("ns", "p"), cause)
        };
        let now = Timestamp::UNIX_EPOCH;
        let ready = Wanted { type_: "Ready", truth: Truth::True, reason: "Allocated", message: "it is".into() };
        let before = condition::merge(&[], vec![ready], None, now);
        assert_eq!(changed(&before, None, None, now), None, "all goes well");
        let shown = changed(&before, Some(&failure("denied 1")), Some(2), now).unwrap();
        let said: Vec<_> = shown.iter().map(|c| (c.type_.as_str(), c.reason.as_str(), c.message.as_str())).collect();
        let message = "delete Pod ns/p: denied 1; it is tried again";
        assert_eq!(said, [("Ready", "Allocated", "it is"), (STALLED, "Refused", message)]);
        assert_eq!(changed(&shown, Some(&failure("denied 2")), Some(2), now), None, "the same but for a number");
        assert!(changed(&shown, Some(&failure("denied by another")), Some(2), now).is_some());
        assert_eq!(changed(&shown, None, Some(2), now), Some(before), "it is over");
    }
}
