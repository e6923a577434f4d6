//! What the kernel knows of this process, under the names that every Prometheus client uses.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::Entry;

/// Reads /proc when it is asked; where there is none, it has nothing to say.
#[derive(Debug)]
pub struct Process;

const fn gauge(name: &'static str, help: &'static str) -> Entry {
    Entry { name, kind: "gauge", labels: &[], help }
}

const CPU: Entry = Entry {
    name: "process_cpu_seconds_total",
    kind: "counter",
    labels: &[],
    help: "CPU time used, user and system, in seconds",
};
const MEMORY: Entry = gauge("process_resident_memory_bytes", "Memory in RAM, in bytes");
const OPEN: Entry = gauge("process_open_fds", "Open file descriptors");
const MAX: Entry = gauge("process_max_fds", "The limit on open file descriptors");
const START: Entry = gauge("process_start_time_seconds", "When the process started, in seconds since 1970");

impl Process {
    /// What it tells.
    pub const ENTRIES: &'static [Entry] = &[CPU, MEMORY, OPEN, MAX, START];
}

/// Counts of kernels are far below the 2^52 that a number of a metric can hold exactly.
#[allow(clippy::cast_precision_loss)]
fn read() -> procfs::ProcResult<[f64; 5]> {
    use procfs::{CurrentSI, WithCurrentSystemInfo};
    let own = procfs::process::Process::myself()?;
    let stat = own.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    let limit = match own.limits()?.max_open_files.soft_limit {
        procfs::process::LimitValue::Value(limit) => limit as f64,
        procfs::process::LimitValue::Unlimited => f64::INFINITY,
    };
    let booted = procfs::KernelStats::current()?.btime as f64;
    Ok([
        (stat.utime + stat.stime) as f64 / ticks,
        stat.rss_bytes().get() as f64,
        own.fd_count()? as f64,
        limit,
        booted + stat.starttime as f64 / ticks,
    ])
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Ok([cpu, memory, open, max, start]) = read() else { return Ok(()) };
        let name = CPU.name.trim_end_matches("_total");
        let counter = encoder.encode_descriptor(name, CPU.help, None, MetricType::Counter)?;
        ConstCounter::new(cpu).encode(counter)?;
        for (entry, value) in [(MEMORY, memory), (OPEN, open), (MAX, max), (START, start)] {
            let gauge = encoder.encode_descriptor(entry.name, entry.help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(gauge)?;
        }
        Ok(())
    }
}
