//! The figures as JSON, under names that others rely on.

use serde_json::{Value, json};

use crate::{
    contestant::Who,
    files, forks, once,
    results::Results,
    stats::{Series, number},
};

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
    let (one, twenty) = ("Sandbox and Task, one at a time", "Sandbox and Task, 20 at once");
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
        "once": {
            "client_p50_ms": p50(once::WORKLOAD, Who::Live),
            "kubectl_arl_run_p50_ms": p50(once::WORKLOAD, Who::Cli),
        },
        "files": speeds(results),
        "together": {
            "p50_ms": p50(one, Who::Operator),
            "connected_p50_ms": p50(one, Who::Connected),
            "floor_p50_ms": p50(one, Who::Floor),
            "at_once20_p50_ms": p50(twenty, Who::Operator),
            "connected_at_once20_p50_ms": p50(twenty, Who::Connected),
            "floor_at_once20_p50_ms": p50(twenty, Who::Floor),
        },
        "forks": {
            "snapshot_ms": p50(forks::SNAPSHOT, Who::Live),
            "one_ms": p50(forks::ONE, Who::Live),
            "eight_ms": p50(forks::MANY, Who::Live),
        },
        "rows": results.series.iter().map(row).collect::<Vec<_>>(),
    })
}

/// Megabytes (a million bytes) a second, by the p50; a ratio is of the bare stream's speed.
fn speeds(results: &Results) -> Value {
    let mb_s = |workload: &str, who| {
        let ms = results.find(workload, who)?.percentile_ms(50)?;
        Some(number(results.file_bytes?) / 1e3 / ms)
    };
    let of_bare = |workload: &str| Some(mb_s(workload, Who::Live)? / mb_s(workload, Who::Bare)?);
    json!({
        "up_mb_s": mb_s(files::UP, Who::Live),
        "down_mb_s": mb_s(files::DOWN, Who::Live),
        "kubectl_cp_up_mb_s": mb_s(files::UP, Who::Kubectl),
        "kubectl_cp_down_mb_s": mb_s(files::DOWN, Who::Kubectl),
        "bare_up_mb_s": mb_s(files::UP, Who::Bare),
        "bare_down_mb_s": mb_s(files::DOWN, Who::Bare),
        "up_of_bare": of_bare(files::UP),
        "down_of_bare": of_bare(files::DOWN),
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::stats::{Block, Sample};

    #[test]
    fn the_speed_of_files_is_divided_by_that_of_the_bare_stream() {
        let mut results = Results { file_bytes: Some(10_000_000), ..Results::default() };
        let sent = Instant::now();
        for (who, ms) in [(Who::Live, 200), (Who::Bare, 100), (Who::Kubectl, 400)] {
            let block = Block::one_by_one(vec![Sample { sent, seen: sent + Duration::from_millis(ms) }]);
            results.series("file, up", who).add(&block, None, None);
        }
        let files = &of(&results)["files"];
        let figure = |name: &str| format!("{:.1}", files[name].as_f64().unwrap());
        assert_eq!(
            ["up_mb_s", "kubectl_cp_up_mb_s", "bare_up_mb_s", "up_of_bare"].map(figure),
            ["50.0", "25.0", "100.0", "0.5"]
        );
        assert!(files["down_mb_s"].is_null());
    }
}
