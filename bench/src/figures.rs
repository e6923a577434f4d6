//! The figures as JSON, under names that others rely on.

use serde_json::{Value, json};

use crate::{contestant::Who, results::Results, stats::Series};

/// Those of a run; null is what it did not measure.
pub fn of(results: &Results) -> Value {
    let p50 = |workload: &str, who| results.find(workload, who).and_then(|s| s.percentile_ms(50));
    let per_s = |workload: &str, who| results.find(workload, who).and_then(Series::per_s);
    let latency = |workload: &str| {
        json!({
            "p50_ms": p50(workload, Who::Operator),
            "floor_p50_ms": p50(workload, Who::Floor),
            "exec_p50_ms": p50(workload, Who::Exec),
        })
    };
    let (tasks, command, commands) = ("Tasks, 32 in parallel", "command, one at a time", "commands, 32 in parallel");
    json!({
        "claim": latency("claim, one at a time"),
        "task": latency("Task, one at a time"),
        "parallel32": {
            "per_s": per_s(tasks, Who::Operator),
            "floor_per_s": per_s(tasks, Who::Floor),
            "exec_per_s": per_s(tasks, Who::Exec),
        },
        "live": {
            "run_p50_ms": p50(command, Who::Live),
            "exec_p50_ms": p50(command, Who::Kubectl),
            "task_p50_ms": p50(command, Who::Task),
            "run32_per_s": per_s(commands, Who::Live),
            "exec32_per_s": per_s(commands, Who::Kubectl),
            "task32_per_s": per_s(commands, Who::Task),
            "first_command_ms": p50("first command", Who::Live),
        },
        "rows": results.series.iter().map(row).collect::<Vec<_>>(),
    })
}

fn row((workload, who, series): &(String, Who, Series)) -> Value {
    json!({
        "workload": workload,
        "who": who.name(),
        "n": series.count(),
        "p50_ms": series.percentile_ms(50),
        "p90_ms": series.percentile_ms(90),
        "p99_ms": series.percentile_ms(99),
        "max_ms": series.percentile_ms(100),
        "per_s": series.per_s(),
        "cpu_ms_per_op": series.cpu_ms_per_op(),
        "writes": series.writes,
    })
}
