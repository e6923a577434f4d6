//! Where nothing happens, the operator does nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::harness::World;
use crate::harness::make::shell;

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
