//! What the operator can be told on its command line or in its environment.

use std::{path::PathBuf, time::Duration};

use arl_crds::duration;
use clap::{Parser, ValueEnum};

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
    /// Objects of a kind that are looked after at the same time, in each watched scope.
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
    /// How to log.
    #[arg(long, env = "ARL_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,
    /// Name of this process in Events.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: Option<String>,
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
