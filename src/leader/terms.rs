//! On what terms an operator stands for election.

use std::time::Duration;

use crate::{flags::Flags, object::Key};

/// The Lease's name, which the chart's Role has too.
const LEASE: &str = "arl-operator";

/// Which Lease, under which name, and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The Lease.
    pub lease: Key,
    /// Who this operator is in the Lease. One that is started again under the same name need not wait.
    pub identity: String,
    /// How long the others wait for a renewal that does not come.
    pub lease_duration: Duration,
    /// How long a leader may be without a renewal.
    pub renew_deadline: Duration,
    /// The pause between two attempts.
    pub retry_period: Duration,
}

/// Why there can be no election.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadTerms {
    /// Two would take each other for themselves.
    #[error("--leader-elect needs the name of this process: set POD_NAME or --pod-name, different for each operator")]
    NoName,
    /// The Lease has to be somewhere.
    #[error("--leader-elect needs a namespace for the Lease: set POD_NAMESPACE or --leader-election-namespace")]
    NoNamespace,
    /// With these, two could lead, or nobody could for long.
    #[error(
        "the lease duration ({0:?}) must be longer than the renew deadline ({1:?}), and that longer than the retry period ({2:?}); \
         15s, 10s and 2s are usual"
    )]
    OutOfOrder(Duration, Duration, Duration),
}

impl Terms {
    /// The terms that the flags ask for; none without `--leader-elect`.
    pub fn of(flags: &Flags) -> Result<Option<Self>, BadTerms> {
        if !flags.leader_elect {
            return Ok(None);
        }
        let set = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        let namespace = set(&flags.leader_election_namespace).or_else(|| set(&flags.pod_namespace));
        let terms = Self {
            lease: Key::new(&namespace.ok_or(BadTerms::NoNamespace)?, LEASE),
            identity: set(&flags.pod_name).ok_or(BadTerms::NoName)?,
            lease_duration: flags.leader_election_lease_duration,
            renew_deadline: flags.leader_election_renew_deadline,
            retry_period: flags.leader_election_retry_period,
        };
        let (lease, renew, retry) = (terms.lease_duration, terms.renew_deadline, terms.retry_period);
        if lease <= renew || renew <= retry || retry.is_zero() {
            return Err(BadTerms::OutOfOrder(lease, renew, retry));
        }
        Ok(Some(terms))
    }

    /// The Lease's duration as the Lease has it: whole seconds, rather too many.
    pub(super) fn seconds(&self) -> i32 {
        let seconds = self.lease_duration.as_secs() + u64::from(self.lease_duration.subsec_nanos() > 0);
        i32::try_from(seconds).unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn terms(more: &[&str]) -> Result<Option<Terms>, BadTerms> {
        // What the environment of the tests says does not count.
        let own = ["arl-operator", "--pod-name=a", "--pod-namespace=ns", "--leader-election-namespace="];
        Terms::of(&Flags::parse_from(own.iter().chain(more)))
    }

    #[test]
    fn nobody_stands_for_election_who_was_not_told_to() {
        assert_eq!(terms(&["--leader-elect=false"]), Ok(None));
    }

    #[test]
    fn the_lease_is_in_the_pods_namespace_unless_told_otherwise() {
        let plain = terms(&["--leader-elect"]).unwrap().unwrap();
        assert_eq!((plain.lease, plain.identity.as_str()), (Key::new("ns", LEASE), "a"));
        let secs = Duration::from_secs;
        assert_eq!((plain.lease_duration, plain.renew_deadline, plain.retry_period), (secs(15), secs(10), secs(2)));
        let told = Flags::parse_from(["x", "--leader-elect", "--pod-name=a", "--leader-election-namespace=other"]);
        assert_eq!(Terms::of(&told).unwrap().unwrap().lease.namespace, "other");
    }

    #[test]
    fn what_cannot_work_is_an_error() {
        let nameless = Flags::parse_from(["x", "--leader-elect", "--pod-name=", "--pod-namespace=ns"]);
        assert_eq!(Terms::of(&nameless), Err(BadTerms::NoName));
        let nowhere = ["x", "--leader-elect", "--pod-name=a", "--pod-namespace=", "--leader-election-namespace="];
        assert_eq!(Terms::of(&Flags::parse_from(nowhere)), Err(BadTerms::NoNamespace));
        for wrong in [
            ["--leader-election-lease-duration=10s", "--leader-election-retry-period=1s"],
            ["--leader-election-renew-deadline=2s", "--leader-election-retry-period=2s"],
            ["--leader-election-renew-deadline=2s", "--leader-election-retry-period=0s"],
        ] {
            let found = terms(&[&["--leader-elect"], wrong.as_slice()].concat());
            assert!(matches!(found, Err(BadTerms::OutOfOrder(..))), "{wrong:?}: {found:?}");
        }
    }

    #[test]
    fn a_fraction_of_a_second_is_rounded_up() {
        let terms = terms(&["--leader-elect", "--leader-election-lease-duration=10500ms"]).unwrap().unwrap();
        assert_eq!(terms.seconds(), 11);
    }
}
