//! However much a command prints, the operator's memory does not show it.

use arl_crds::TaskState;
use serde_json::json;

use crate::harness::World;
use crate::harness::make::{reason, shell, status};
use crate::harness::wait::state;

/// What two runs of the same operator may differ by for no reason.
const NOISE: u64 = 8 * 1024 * 1024;

/// The operator's peak memory, with one Task that prints so many bytes.
async fn peak_memory(name: &str, bytes: u64) -> u64 {
    let world = World::with_sandbox(name).await;
    let steps = json!([shell("a", &format!("yes | head -c {bytes}"))]);
    world.task_with("t", &json!({"sandboxRef": "s", "timeout": "30m", "steps": steps})).await;
    let task = world.finished("t").await;
    assert_eq!((state(&task), reason(&task)), (Some(TaskState::Succeeded), "Succeeded"), "{:?}", task.status);
    let step = &status(&task).steps[0];
    assert_eq!(step.truncated, Some(true));
    let kept = step.stdout.as_deref().unwrap();
    let left_out = format!("{} bytes left out", bytes - 64 * 1024);
    assert!(kept.len() < 66 * 1024 && kept.contains(&left_out), "{} bytes without {left_out:?}", kept.len());
    world.peak_memory()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_of_output_takes_no_memory() {
    let small = peak_memory("megabyte", 1_000_000).await;
    let large = peak_memory("gigabyte", 1_000_000_000).await;
    eprintln!("peak memory of the operator: {small} bytes after 1 MB of output, {large} after 1 GB");
    assert!(large <= small + small / 10 + NOISE, "{small} bytes after 1 MB of output, {large} after 1 GB");
}
