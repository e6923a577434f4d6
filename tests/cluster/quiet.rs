//! Where nothing happens, the operator does nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::harness::World;
use crate::harness::make::shell;
use crate::harness::setup::root;

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_operator_neither_writes_nor_reads() {
    let world = World::with_sandbox("quiet").await;
    world.sandbox("waits-for-a-pool", "nosuch").await;
    world.task("waits-for-a-sandbox", "nosuch", json!([shell("a", "true")])).await;
    world.run("done", "s", json!([shell("a", "true")])).await;
    world.sandbox_reason("waits-for-a-pool", "PoolNotFound").await;
    world.pool_is_ready("p", 1).await;
    // What follows from the last of these is written soon, and is not idling.
    world.pass(Duration::from_secs(5)).await;
    let Some(before) = world.requests().await else { return };
    // Longer than a stream may be silent.
    world.pass(Duration::from_secs(60)).await;
    let after = world.requests().await.unwrap();
    let idle = &after[before.len()..];
    // A stream is logged when it ends.
    let streams = after.iter().filter(|r| r.object_ref.subresource == "exec").count();
    assert_eq!(streams, 0, "the stream to the Sandbox's pod is opened once and stays");
    let writes: Vec<_> = idle.iter().filter(|r| r.is_write()).collect();
    assert!(writes.is_empty(), "{writes:#?}");
    let mut reads = BTreeMap::<_, usize>::new();
    for request in idle.iter().filter(|r| r.verb != "watch") {
        *reads.entry((&request.verb, &request.object_ref.resource, &request.object_ref.name)).or_default() += 1;
    }
    let repeated: Vec<_> = reads.iter().filter(|((verb, ..), times)| *verb == "get" || **times > 1).collect();
    assert!(repeated.is_empty(), "a watch may list again, once; nothing else reads: {repeated:?}");
}

/// The sum of a metric's series.
fn sum(metrics: &str, name: &str) -> f64 {
    let series = metrics.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
    series.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

/// What it costs to keep streams to 200 pods open: a ping to each every 20 s.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and 200 pods; for figures"]
async fn two_hundred_sandboxes_at_rest_cost_no_call() {
    const SANDBOXES: usize = 200;
    let world = World::new("rest").await;
    world.pool("p", 10).await;
    for i in 0..SANDBOXES {
        let name = format!("s{i}");
        world.sandbox(&name, "p").await;
        world.pod_of(&name).await;
    }
    world.pool_is_ready("p", 10).await;
    let open = format!("arl_run_streams_open {SANDBOXES}");
    world.operator().metrics_with(&[&open]).await;
    world.pass(Duration::from_secs(10)).await;
    let before = world.operator().metrics().await;
    world.pass(Duration::from_secs(60)).await;
    let after = world.operator().metrics().await;
    let passed = |name| sum(&after, name) - sum(&before, name);
    let (cpu, calls) = (passed("process_cpu_seconds_total"), passed("rest_client_requests_total"));
    let memory = sum(&after, "process_resident_memory_bytes");
    eprintln!(
        "{SANDBOXES} Sandboxes at rest for 60 s: {cpu:.2} s of CPU, {calls} calls, {:.0} MiB",
        memory / f64::from(1 << 20)
    );
    // A watch is begun anew every few minutes.
    assert!(calls <= 8.0, "{calls} calls");
}

/// Each node pulls it, and each pod copies it.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_agent_is_smaller_than_a_megabyte() {
    let size =
        std::fs::metadata(root().join("target/agent-image/root/arl-agent")).expect("`make agent-image` makes it").len();
    assert!(size < 1_000_000, "{size} bytes");
}
