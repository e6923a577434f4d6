//! Conditions: how a status explains itself.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::text::printable;

/// The value of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Not decided yet.
    Unknown,
}

impl Truth {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// A condition as it should be; [`merge`] gives it its transition time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The condition's type, such as `Ready`.
    pub type_: &'static str,
    /// Its value.
    pub truth: Truth,
    /// The reason, from one of the lists in [`crate::reason`].
    pub reason: &'static str,
    /// What happened, to which object, and what to do.
    pub message: String,
}

/// Far below the API's limit on a condition's message, 32 KiB: people read it.
const MESSAGE_MAX: usize = 4096;

/// The condition that is there only while calls to the API keep an object from where it should be. kstatus, and what builds on it,
/// takes it for a failure.
pub const STALLED: &str = "Stalled";
/// The condition of a WarmPool that says whether pods have a problem.
pub const PODS_FAILING: &str = "PodsFailing";
/// The condition of a WarmPool with `scaling` that says whether its limits keep it from having the pods that are wanted.
pub const SCALING_LIMITED: &str = "ScalingLimited";

/// The condition of a WarmPool that has what the API server warns of its template; it is there only while there is something.
pub const TEMPLATE_WARNINGS: &str = "TemplateWarnings";

/// Whether two messages differ in numbers, names with digits or times only: those of a refusal change with each attempt.
pub fn is_alike(a: &str, b: &str) -> bool {
    let fixed = |text: &str| {
        text.split_whitespace()
            .filter(|word| !word.contains(|c: char| c.is_ascii_digit()))
            .collect::<Vec<_>>()
            .join(" ")
    };
    fixed(a) == fixed(b)
}

/// The condition of this type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// The condition of this type, where it holds.
pub fn find_true<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    find(conditions, type_).filter(|condition| condition.status == Truth::True.as_str())
}

/// The conditions that follow from `wanted`. A transition time is taken over from `previous` unless the value changed.
/// [`STALLED`] is not for a status to end: it stays until all goes well.
pub fn merge(previous: &[Condition], wanted: Vec<Wanted>, generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    let stalled = previous.iter().filter(|c| c.type_ == STALLED && wanted.iter().all(|w| w.type_ != STALLED)).cloned();
    let stalled = of_generation(&stalled.collect::<Vec<_>>(), generation);
    wanted
        .into_iter()
        .map(|Wanted { type_, truth, reason, message }| {
            let kept = previous.iter().find(|c| c.type_ == type_ && c.status == truth.as_str());
            Condition {
                type_: type_.to_owned(),
                status: truth.as_str().to_owned(),
                reason: reason.to_owned(),
                message: printable(&message, MESSAGE_MAX),
                observed_generation: generation,
                last_transition_time: kept.map_or_else(|| whole_seconds(now), |c| c.last_transition_time.clone()),
            }
        })
        .chain(stalled)
        .collect()
}

/// The same conditions, said of another generation of the spec.
pub fn of_generation(conditions: &[Condition], generation: Option<i64>) -> Vec<Condition> {
    let same = |condition: &Condition| Condition { observed_generation: generation, ..condition.clone() };
    conditions.iter().map(same).collect()
}

/// A transition time has whole seconds on the wire; rounding here keeps "what we want" equal to "what we read back".
fn whole_seconds(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(truth: Truth, message: &str) -> Vec<Wanted> {
        vec![Wanted { type_: "Ready", truth, reason: "Because", message: message.to_owned() }]
    }

    #[test]
    fn a_transition_time_moves_only_with_the_value() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let first = merge(&[], ready(Truth::False, "a"), Some(1), at(10));
        let same = merge(&first, ready(Truth::False, "b"), Some(2), at(20));
        let changed = merge(&same, ready(Truth::True, "c"), Some(2), at(30));
        assert_eq!(same[0].last_transition_time.0, at(10));
        assert_eq!((same[0].message.as_str(), same[0].observed_generation), ("b", Some(2)));
        assert_eq!(changed[0].last_transition_time.0, at(30));
    }

    #[test]
    fn a_message_is_one_line_that_people_can_read_whatever_was_said() {
        let hostile = format!("\u{1b}[2J\u{202e}{}", "x\n".repeat(100_000));
        let merged = merge(&[], ready(Truth::False, &hostile), None, Timestamp::UNIX_EPOCH);
        let message = &merged[0].message;
        assert!(message.len() <= MESSAGE_MAX && !message.contains(char::is_control) && !message.contains('\u{202e}'));
        assert_eq!(merge(&merged, ready(Truth::False, &hostile), None, Timestamp::UNIX_EPOCH), merged);
    }

    #[test]
    fn numbers_and_ids_alone_make_no_other_message() {
        let quota = |used| format!("exceeded quota: q, requested: pods=1, used: pods={used}, limited: pods=9");
        assert!(is_alike(&quota(3), &quota(4)));
        assert!(is_alike("denied (request 6f1c2d) at 10:00:01", "denied (request 77aa01) at 10:00:02"));
        assert!(!is_alike("denied by policy a", "denied by policy b"));
    }

    #[test]
    fn that_it_is_stalled_stays_until_it_is_taken_away() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let stalled = Wanted { type_: STALLED, ..ready(Truth::True, "refused").remove(0) };
        let both = merge(&[], vec![ready(Truth::False, "a").remove(0), stalled.clone()], Some(1), at(10));
        let again = merge(&both, ready(Truth::True, "b"), Some(1), at(20));
        assert_eq!(again[1], both[1]);
        let other = Wanted { message: "refused otherwise".into(), ..stalled };
        let said = merge(&again, vec![ready(Truth::True, "b").remove(0), other], Some(1), at(30));
        assert_eq!((said.len(), said[1].message.as_str()), (2, "refused otherwise"));
    }

    #[test]
    fn a_condition_is_found_by_its_type_and_holds_where_it_is_true() {
        let ready = |truth| merge(&[], ready(truth, "a"), None, Timestamp::UNIX_EPOCH);
        let found = |conditions: &[Condition], type_| {
            (find(conditions, type_).is_some(), find_true(conditions, type_).is_some())
        };
        assert_eq!(found(&ready(Truth::True), "Ready"), (true, true));
        assert_eq!(found(&ready(Truth::False), "Ready"), (true, false));
        assert_eq!(found(&ready(Truth::True), STALLED), (false, false));
        assert_eq!(of_generation(&ready(Truth::True), Some(2))[0].observed_generation, Some(2));
    }

    #[test]
    fn what_is_wanted_again_is_what_was_written() {
        let now = Timestamp::from_nanosecond(1_234_567_890_123_456_789).unwrap();
        let written = merge(&[], ready(Truth::True, "x"), None, now);
        let read: Vec<Condition> = serde_json::from_value(serde_json::to_value(&written).unwrap()).unwrap();
        assert_eq!(written, read);
    }
}
