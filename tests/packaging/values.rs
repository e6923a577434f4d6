//! The chart's values: wrong ones are errors.

use crate::tools::{attempt, helm, root, template};

#[test]
fn a_wrong_value_is_an_error_that_names_it() {
    for (wrong, named) in [
        ("replicaCounts=1", "replicaCounts"),
        ("metrics.serviceMonitor.enabeld=true", "enabeld"),
        ("log.format=xml", "format"),
        ("leaderElection.leaseDuration=15", "leaseDuration"),
        ("leaderElection.leaseDuration=5s", "leaseDuration (5s) must be longer than renewDeadline (10s)"),
        ("leaderElection.renewDeadline=15s", "leaseDuration (15s) must be longer than renewDeadline (15s)"),
        ("leaderElection.renewDeadline=1s500ms", "renewDeadline (1s500ms), and that longer than retryPeriod (2s)"),
        ("leaderElection.retryPeriod=1m", "retryPeriod (1m)"),
        ("leaderElection.retryPeriod=0s", "retryPeriod (0s), which is not 0"),
        ("log.level=verbose", "level"),
        ("log.level=", "level"),
        ("metrics.port=8081", "metrics.port is 8081"),
        ("taskTTL=1 day", "taskTTL"),
        ("taskTTL=99999999h", "taskTTL"),
        ("image.digest=abc", "digest"),
        ("watchNamespaces={Upper}", "watchNamespaces"),
        ("maxConcurrentReconciles=0", "maxConcurrentReconciles"),
        ("replicaCount=2,leaderElection.enabled=false", "leaderElection.enabled"),
        ("metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true", "scraped twice"),
        ("metrics.enabled=false,metrics.podMonitor.enabled=true", "metrics.enabled"),
        (
            "podDisruptionBudget.enabled=true,podDisruptionBudget.minAvailable=1,podDisruptionBudget.maxUnavailable=1",
            "both",
        ),
    ] {
        for variable in ["HELM", "HELM3"] {
            match attempt(&mut template(variable, "default", &["--set", wrong])) {
                Ok(_) => panic!("{variable}: {wrong} is accepted"),
                Err(complaints) => assert!(complaints.contains(named), "{variable}: {wrong}: {complaints}"),
            }
        }
    }
}

#[test]
fn what_the_operator_can_work_with_is_allowed() {
    for right in [
        "leaderElection.leaseDuration=1m30s,leaderElection.renewDeadline=60s".to_owned(),
        "leaderElection.leaseDuration=600ms,leaderElection.renewDeadline=0.5s,leaderElection.retryPeriod=100ms".into(),
        "leaderElection.enabled=false,leaderElection.leaseDuration=5s".into(),
        r"log.level=info\,arl_operator=debug\,kube_client::client=off".into(),
        "log.level=WARN".into(),
    ] {
        for variable in ["HELM", "HELM3"] {
            attempt(&mut template(variable, "default", &["--set", &right])).unwrap_or_else(|e| panic!("{right}: {e}"));
        }
    }
}

#[test]
fn the_values_of_a_parent_chart_are_allowed() {
    attempt(&mut template("HELM", "default", &["--set", "global.anything=1"])).unwrap();
}

#[test]
fn helm_finds_no_fault() {
    for set in crate::tools::sets() {
        for variable in ["HELM", "HELM3"] {
            let mut lint = helm(variable);
            lint.args(["lint", "--strict"]).arg(root().join("deploy/chart"));
            lint.arg("--values").arg(crate::tools::values_of(&set));
            attempt(&mut lint).unwrap_or_else(|complaints| panic!("{variable}, {set}: {complaints}"));
        }
    }
}
