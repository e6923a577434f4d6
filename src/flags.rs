//! What the operator can be told on its command line or in its environment.

use std::{path::PathBuf, time::Duration};

use arl_crds::duration;
use clap::{ArgAction, Parser, ValueEnum};

/// Runs code in warm Kubernetes pods: looks after WarmPools, Sandboxes and Tasks.
#[derive(Clone, Debug, Parser)]
#[command(name = "arl-operator", version)]
pub struct Flags {
    /// Kubeconfig file; unset: KUBECONFIG, the default file, or the pod's own ServiceAccount.
    #[arg(long, env = "ARL_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; unset: its current one.
    #[arg(long, env = "ARL_CONTEXT")]
    pub context: Option<String>,
    /// Namespaces to look after, separated by commas; unset: all. With namespaces set, no cluster-wide right is needed.
    #[arg(long, env = "ARL_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Objects of a kind in one namespace that are looked after at the same time; of all namespaces together a quarter more.
    #[arg(long, env = "ARL_MAX_CONCURRENT_RECONCILES", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub max_concurrent_reconciles: u16,
    /// Image with the agent, /arl-agent, that pods of pools get by an init container.
    #[arg(long, env = "ARL_AGENT_IMAGE", default_value = "arl-agent:dev")]
    pub agent_image: String,
    /// When the agent's image is pulled: Always, IfNotPresent or Never.
    #[arg(long, env = "ARL_AGENT_IMAGE_PULL_POLICY", default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub agent_image_pull_policy: String,
    /// Delete finished Tasks that have no ttlSecondsAfterFinished after this long, such as 24h; unset: never.
    #[arg(long, env = "ARL_TASK_TTL", value_parser = go_duration)]
    pub task_ttl: Option<Duration>,
    /// Delete Released Sandboxes that have no ttlSecondsAfterFinished after this long, such as 24h; unset: never.
    #[arg(long, env = "ARL_RELEASED_SANDBOX_TTL", value_parser = go_duration)]
    pub released_sandbox_ttl: Option<Duration>,
    /// What to log: a level, or a filter such as info,arl_operator=debug. The libraries' own lines about failed requests are left
    /// out unless the filter names kube_client or kube_runtime.
    #[arg(long, env = "ARL_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// How to log: json, one object a line, or text, for people.
    #[arg(long, env = "ARL_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,
    /// Address of an OpenTelemetry collector, such as http://collector.monitoring:4318, that gets a trace of each Sandbox; unset:
    /// none. Other settings are OpenTelemetry's own variables, which docs/operations.md lists.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// Address of /metrics, such as :8080 or 127.0.0.1:8080; 0: none.
    #[arg(long, env = "ARL_METRICS_BIND_ADDRESS", default_value = ":8080")]
    pub metrics_bind_address: String,
    /// Address of /healthz and /readyz; 0: none.
    #[arg(long, env = "ARL_HEALTH_PROBE_BIND_ADDRESS", default_value = ":8081")]
    pub health_probe_bind_address: String,
    /// Work only while holding the Lease arl-operator, so that several operators can run of which one works.
    #[arg(long, env = "ARL_LEADER_ELECT", action = ArgAction::Set, default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub leader_elect: bool,
    /// Namespace of the Lease; unset: POD_NAMESPACE.
    #[arg(long, env = "ARL_LEADER_ELECTION_NAMESPACE")]
    pub leader_election_namespace: Option<String>,
    /// How long the others wait for a renewal of the Lease before one of them takes it.
    #[arg(long, env = "ARL_LEADER_ELECTION_LEASE_DURATION", default_value = "15s", value_parser = go_duration)]
    pub leader_election_lease_duration: Duration,
    /// How long a leader may go without renewing the Lease before it stops.
    #[arg(long, env = "ARL_LEADER_ELECTION_RENEW_DEADLINE", default_value = "10s", value_parser = go_duration)]
    pub leader_election_renew_deadline: Duration,
    /// The pause between two attempts to get or to renew the Lease.
    #[arg(long, env = "ARL_LEADER_ELECTION_RETRY_PERIOD", default_value = "2s", value_parser = go_duration)]
    pub leader_election_retry_period: Duration,
    /// Name of this process in Events and in the Lease.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: Option<String>,
    /// Namespace of this process.
    #[arg(long, env = "POD_NAMESPACE")]
    pub pod_namespace: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

fn go_duration(text: &str) -> Result<Duration, duration::InvalidDuration> {
    duration::parse(text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Flags::command().debug_assert();
        let flags = Flags::parse_from(["arl-operator", "--watch-namespaces", "a,b", "--task-ttl", "1h30m"]);
        assert_eq!((flags.watch_namespaces.len(), flags.task_ttl), (2, Some(Duration::from_secs(5400))));
        assert!(Flags::try_parse_from(["arl-operator", "--task-ttl", "1 day"]).is_err());
    }
}
