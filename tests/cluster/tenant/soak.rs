//! Minutes of a tenant who does all of it at once: `make soak`, with `SOAK_MINUTES=2` for a short one.

use std::{cell::Cell, time::Duration};

use tokio::time::{Instant, timeout};

use super::*;
use crate::harness::operator::Operator;

const CHATTY: usize = 16;
const STUCK: usize = 4;

/// One whose objects are in one namespace, and the rest of the world in another.
struct Soak {
    greedy: World,
    other: World,
    operator: Option<Operator>,
    peak: u64,
}

impl Soak {
    async fn new() -> Self {
        let (greedy, other) = (World::without_operator("soak-greedy").await, World::served("soak-other").await);
        setup::admit_operator_of(&greedy.client, &greedy.ns, &other.ns).await;
        let mut soak = Self { greedy, other, operator: None, peak: 0 };
        soak.start().await;
        soak
    }

    async fn start(&mut self) {
        let namespaces = format!("{},{}", self.greedy.ns, self.other.ns);
        self.operator = Some(self.greedy.another_operator("operator", &namespaces, &[]).await);
    }

    fn check(&mut self) {
        let operator = self.operator.as_mut().unwrap();
        assert!(operator.is_alive(), "the operator has ended");
        self.peak = self.peak.max(operator.peak_memory());
        assert!(self.peak < MEMORY_MAX, "{} bytes", self.peak);
    }

    /// Everything that lies there, once.
    async fn heap_up(&self) {
        let greedy = &self.greedy;
        greedy.pool("p", 2).await;
        greedy.sandbox("s", "p").await;
        greedy.pool("chatty", 16).await;
        many(CHATTY, async |i| greedy.sandbox(&format!("c{i}"), "chatty").await).await;
        many(CHATTY, async |i| drop(greedy.pod_of(&format!("c{i}")).await)).await;
        greedy.pool("stuck", 4).await;
        many(STUCK, async |i| greedy.sandbox(&format!("stuck{i}"), "stuck").await).await;
        many(STUCK, async |i| {
            greedy.run(&format!("first{i}"), &format!("stuck{i}"), json!([shell("a", "true")])).await;
        })
        .await;
        greedy.exec_pool("exec", &template()).await;
        greedy.sandbox("exec", "exec").await;
        greedy.pod_of("exec").await;
        greedy.largest_tasks(60).await;
        greedy.laden(120).await;
        greedy.quota(90).await;
        for i in 0..4 {
            greedy
                .create(&manifest(
                    "WarmPool",
                    &format!("huge{i}"),
                    &json!({"replicas": 100_000, "template": nowhere()}),
                ))
                .await;
        }
    }

    /// What is done again and again.
    async fn greedy_round(greedy: &World, round: usize) {
        let (name, exec) = (
            format!("exec-{round}"),
            json!({"sandboxRef": "exec", "timeout": "5m", "steps": [shell("a", PRINT_MUCH)]}),
        );
        tokio::join!(
            Self::chatty_round(greedy, round),
            many(STUCK, async |i| Self::stuck(greedy, &format!("stuck{i}"), round).await),
            Self::end(greedy, &name, &exec),
        );
    }

    async fn end(greedy: &World, name: &str, spec: &Value) {
        greedy.task_with(name, spec).await;
        greedy.finished(name).await;
        greedy.delete::<Task>(name).await;
    }

    /// A Sandbox whose pod does not take what it is to run for a while.
    async fn stuck(greedy: &World, sandbox: &str, round: usize) {
        let (pod, name) = (greedy.pod_of(sandbox).await, format!("{sandbox}-{round}"));
        greedy.look_into(&pod, STOP_THE_AGENT).await;
        greedy.task_with(&name, &large(sandbox, "5m")).await;
        greedy.pass(Duration::from_secs(10)).await;
        greedy.look_into(&pod, &STOP_THE_AGENT.replace("-STOP", "-CONT")).await;
        assert_eq!(state(&greedy.finished(&name).await), Some(TaskState::Succeeded));
        greedy.delete::<Task>(&name).await;
    }

    /// Tasks that print much and write much, and kill all there is.
    async fn chatty_round(greedy: &World, round: usize) {
        let content = "x".repeat(500_000);
        let (written, killed) = (file("f", "/workspace/f", &content), shell("k", "kill -9 -1"));
        many(CHATTY, async |i| {
            let sandbox = format!("c{i}");
            let mut steps = chatty_steps("echo end");
            steps[0] = written.clone();
            let chatty = json!({"sandboxRef": sandbox, "timeout": "5m", "steps": steps});
            Self::end(greedy, &format!("chatty{i}-{round}"), &chatty).await;
            let killed = json!({"sandboxRef": sandbox, "timeout": "1m", "steps": [killed]});
            Self::end(greedy, &format!("killed{i}-{round}"), &killed).await;
        })
        .await;
    }

    /// Tasks of the others, one after the other, until it is over; returns how many there were and how long the slowest took.
    async fn others(other: &World, from: usize, is_over: &Cell<bool>) -> (usize, Duration) {
        let (mut count, mut slowest) = (0, Duration::ZERO);
        while !is_over.get() {
            let (name, begun) = (format!("t{}", from + count), Instant::now());
            assert_eq!(other.output(&name, "s", "echo fine").await, "fine\n");
            slowest = slowest.max(begun.elapsed());
            other.delete::<Task>(&name).await;
            count += 1;
            other.pass(Duration::from_millis(500)).await;
        }
        (count, slowest)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes SOAK_MINUTES"]
async fn soak_a_tenant_who_tries_everything() {
    let minutes = std::env::var("SOAK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(15);
    let mut soak = Soak::new().await;
    soak.other.pool("p", 1).await;
    soak.other.sandbox("s", "p").await;
    soak.other.pod_of("s").await;
    soak.heap_up().await;
    soak.check();
    eprintln!("soak: all is there; {} MiB at most", soak.peak >> 20);
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let middle = Instant::now() + Duration::from_secs(30 * minutes);
    let (mut round, mut tasks, mut is_restarted) = (0, 0, false);
    while Instant::now() < end {
        if !is_restarted && Instant::now() >= middle {
            is_restarted = true;
            soak.check();
            soak.operator.take().unwrap().kill();
            soak.start().await;
        }
        let is_over = Cell::new(false);
        let greedy = async {
            let ended = timeout(Duration::from_secs(600), Soak::greedy_round(&soak.greedy, round)).await;
            is_over.set(true);
            ended
        };
        let (greedy, (count, slowest)) = tokio::join!(greedy, Soak::others(&soak.other, tasks, &is_over));
        assert!(greedy.is_ok(), "the greedy tenant's own Tasks end too");
        (round, tasks) = (round + 1, tasks + count);
        soak.check();
        eprintln!(
            "soak: round {round}, {tasks} Tasks of others, the slowest {slowest:?}; {} MiB at most",
            soak.peak >> 20
        );
    }
    assert!(is_restarted && tasks > 0);
    eprintln!(
        "soak: {minutes} minutes, {round} rounds, {tasks} Tasks of others went well; {} MiB at most",
        soak.peak >> 20
    );
}
