//! What is measured, how often, and where the results go.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures claims and Tasks from the client's side, beside the bare API writes that they cannot do without.
#[derive(Clone, Debug, Parser)]
#[command(name = "arl-bench")]
pub struct Flags {
    /// A small run, with counts of its own, that shows whether everything works; its figures mean little, and the file of
    /// --docs is left as it is.
    #[arg(long)]
    pub quick: bool,
    /// Only these rows, of a small run or of a whole one; the file of --docs is left as it is.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub only: Vec<Row>,
    /// Kubeconfig of a cluster administrator.
    #[arg(long, default_value = ".cluster/kubeconfig")]
    pub kubeconfig: PathBuf,
    /// The operator to measure.
    #[arg(long, default_value = "target/release/arl-operator")]
    pub operator: PathBuf,
    /// The kubectl that live commands and files are compared with.
    #[arg(long, default_value = ".cluster/kubectl")]
    pub kubectl: PathBuf,
    /// The `kubectl arl` that the client library is compared with.
    #[arg(long, default_value = "target/release/kubectl-arl")]
    pub kubectl_arl: PathBuf,
    /// A further argument for the operator, such as --operator-arg=--log-level=debug; may be repeated.
    #[arg(long, allow_hyphen_values = true)]
    pub operator_arg: Vec<String>,
    /// The API server's audit log; where there is none, API writes are not counted.
    #[arg(long, default_value = ".cluster/audit.log")]
    pub audit_log: PathBuf,
    /// Do not count API writes.
    #[arg(long)]
    pub no_audit: bool,
    /// Do not measure a pool in Exec mode beside the one in default mode. It is left out too where the cluster's
    /// WarmPool has no spec.executor.mode.
    #[arg(long)]
    pub no_exec: bool,
    /// Measure on so many nodes of kwok, which says that pods are ready that do not run: bursts, and what needs thousands of pods.
    /// Wants `dev/with-kwok`.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub fake_nodes: usize,
    /// Where the results go.
    #[arg(long, default_value = "target/bench.json")]
    pub json: PathBuf,
    /// A file with the two marker lines between which the table goes.
    #[arg(long)]
    pub docs: Option<PathBuf>,
    /// Claims one at a time; the pool is full before each.
    #[arg(long, default_value_t = 12)]
    pub claims: usize,
    /// Claims one after the other without a pause, from a pool with a fifth more idle pods, each of which is replaced.
    #[arg(long, default_value_t = 50)]
    pub back_to_back: usize,
    /// Claims sent at once, from a pool with that many idle pods.
    #[arg(long, value_delimiter = ',', default_values_t = [20, 50])]
    pub bursts: Vec<usize>,
    /// The last burst is as many as the cluster has room for, and at most this.
    #[arg(long, default_value_t = 100)]
    pub burst_max: usize,
    /// Blocks of Tasks one at a time.
    #[arg(long, default_value_t = 8)]
    pub blocks: usize,
    /// Tasks in such a block. In a short one the first weigh too much: caches are cold, and Events saved up are written.
    #[arg(long, default_value_t = 30)]
    pub block: usize,
    /// Sandboxes that keep a Task in flight each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32, 64])]
    pub parallel: Vec<usize>,
    /// How often each of these is measured.
    #[arg(long, default_value_t = 2)]
    pub windows: usize,
    /// For how long each time, in milliseconds.
    #[arg(long, default_value_t = 2500)]
    pub window_ms: u64,
    /// Tasks that wait in one Sandbox at once.
    #[arg(long, default_value_t = 100)]
    pub queued: usize,
    /// Sandboxes in which commands are run at once: over live sessions, as Tasks and by kubectl.
    #[arg(long, default_value_t = 32)]
    pub live: usize,
    /// How often a Sandbox is claimed for one command.
    #[arg(long, default_value_t = 10)]
    pub once: usize,
    /// How often a file goes up and down.
    #[arg(long, default_value_t = 5)]
    pub files: usize,
    /// Its size, in MiB.
    #[arg(long, default_value_t = 64)]
    pub file_mib: usize,
    /// How often Sandboxes and their Tasks are created together: five one at a time, and many at once.
    #[arg(long, default_value_t = 3)]
    pub together: usize,
    /// How many are created at once.
    #[arg(long, default_value_t = 20)]
    pub together_at_once: usize,
    /// How often a directory is copied.
    #[arg(long, default_value_t = 3)]
    pub forks: usize,
    /// How many files of 64 KiB are in it.
    #[arg(long, default_value_t = 1000)]
    pub fork_files: usize,
    /// At how many a second claims come on fake nodes: at random times for the first of these, then at equal distances.
    #[arg(long, value_delimiter = ',', default_value = "45,75,150")]
    pub rates: Vec<f64>,
    /// For how many seconds they come.
    #[arg(long, default_value_t = 60)]
    pub rate_s: u64,
    /// Idle pods of the pool that they are claimed from.
    #[arg(long, default_value_t = 1000)]
    pub rate_idle: usize,
    /// Idle pods in a hundred pools, on fake nodes.
    #[arg(long, default_value_t = 5000)]
    pub idle_pods: usize,
}

/// Rows of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Row {
    /// Claims one at a time.
    Claims,
    /// Claims one after the other.
    BackToBack,
    /// Claims at once.
    Bursts,
    /// Tasks one at a time.
    Tasks,
    /// A Task in each of many Sandboxes.
    Parallel,
    /// Tasks that wait in one Sandbox.
    Queued,
    /// Commands over live sessions, beside Tasks and kubectl.
    Live,
    /// A Sandbox claimed for one command, by the client library and by `kubectl arl run`.
    Once,
    /// A file up and down, beside `kubectl cp` and a bare stream.
    Files,
    /// A Sandbox and a Task created together.
    Together,
    /// A directory copied into new Sandboxes.
    Forks,
    /// Claims while few and while many Sandboxes wait, on fake nodes.
    Waiting,
    /// Claims at a rate, on fake nodes.
    Rates,
    /// Thousands of idle pods, on fake nodes.
    Idle,
}

impl Row {
    /// Whether it can be measured on fake nodes, and on real ones.
    fn is_for(self, fake_nodes: bool) -> bool {
        self == Self::Bursts || fake_nodes == matches!(self, Self::Waiting | Self::Rates | Self::Idle)
    }
}

impl Flags {
    /// The command line's flags, with those of a small run put in their place where it is asked for.
    pub fn read() -> Self {
        let flags = Self::parse();
        if !flags.quick {
            let docs = flags.docs.clone().filter(|_| flags.only.is_empty());
            return Self { docs, ..flags };
        }
        Self {
            docs: None,
            claims: 2,
            back_to_back: 5,
            bursts: Vec::new(),
            burst_max: 4,
            blocks: 2,
            block: 3,
            parallel: vec![1, 4],
            windows: 1,
            window_ms: 800,
            queued: 10,
            live: 4,
            once: 2,
            files: 1,
            file_mib: 4,
            together: 1,
            together_at_once: 2,
            forks: 1,
            fork_files: 10,
            rate_s: 6,
            rate_idle: 20,
            idle_pods: 200,
            ..flags
        }
    }

    /// Whether it is measured on fake nodes.
    pub fn at_scale(&self) -> bool {
        self.fake_nodes > 0
    }

    /// Whether a row is asked for.
    pub fn wants(&self, row: Row) -> bool {
        row.is_for(self.at_scale()) && (self.only.is_empty() || self.only.contains(&row))
    }

    /// Whether any of these is.
    pub fn wants_any(&self, rows: &[Row]) -> bool {
        rows.iter().any(|row| self.wants(*row))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Flags::command().debug_assert();
        let flags = Flags::parse_from(["arl-bench", "--bursts", "5,6", "--operator-arg", "--x=y"]);
        assert_eq!((&flags.bursts, &flags.operator_arg), (&vec![5, 6], &vec!["--x=y".to_owned()]));
        assert!(flags.wants(Row::Claims));
        let flags = Flags::parse_from(["arl-bench", "--only", "live,back-to-back"]);
        assert_eq!([Row::Claims, Row::BackToBack, Row::Live].map(|row| flags.wants(row)), [false, true, true]);
        let flags = Flags::parse_from(["arl-bench", "--fake-nodes", "3"]);
        assert_eq!([Row::Claims, Row::Bursts, Row::Rates].map(|row| flags.wants(row)), [false, true, true]);
    }
}
