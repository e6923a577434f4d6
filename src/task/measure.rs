//! What is counted of a Task that has ended.

use arl_crds::{TaskStatus, text::is_cut};

use crate::{
    cache::{Row, TaskRow},
    metrics::{Metrics, exemplar, seconds},
    runs::StepRun,
};

/// More than any step can print. What runs in the pod can say anything, and one counter is everybody's.
const PRINTED_MAX: u64 = 1 << 50;

fn printed(said: usize) -> u64 {
    u64::try_from(said).unwrap_or(PRINTED_MAX).min(PRINTED_MAX)
}

/// Counts the end that `status` reports, of the steps that were run; `trace` is that of the Task.
pub(super) fn finished(metrics: &Metrics, row: &TaskRow, status: &TaskStatus, runs: &[StepRun], trace: Option<String>) {
    let namespace = row.key().namespace;
    let reason = status.conditions.first().map_or("", |c| c.reason.as_str());
    metrics.tasks_finished.with([&namespace, reason]).inc();
    if let Some(started) = &status.started_at {
        metrics.task_queue_seconds.with([&namespace]).observe(seconds(row.created_at(), started.0));
        if let Some(completed) = &status.completed_at {
            let took = seconds(started.0, completed.0);
            metrics.task_seconds.with([&namespace]).observe(took, trace.map(exemplar), None);
        }
    }
    for (step, spec) in status.steps.iter().zip(&row.task.spec.steps) {
        if let (Some(started), Some(completed)) = (&step.started_at, &step.completed_at) {
            let kind = format!("{:?}", spec.type_);
            metrics.step_seconds.with([&namespace, &kind]).observe(seconds(started.0, completed.0));
        }
    }
    if status.conditions.iter().any(|condition| is_cut(&condition.message)) {
        metrics.output_truncated.with(["message"]).inc();
    }
    for run in runs {
        for (stream, output) in [("stdout", &run.stdout), ("stderr", &run.stderr)] {
            metrics.output_bytes.with([stream]).inc_by(printed(output.printed()));
            if output.is_cut() {
                metrics.output_truncated.with([stream]).inc();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_says_was_printed_wraps_no_counter() {
        assert_eq!([0, 7].map(printed), [0, 7]);
        assert!(printed(usize::MAX).checked_mul(1000).is_some());
    }
}
