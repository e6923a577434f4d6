//! A real Prometheus scrapes the operator, evaluates the alerts and answers what the dashboard asks.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::harness::World;
use crate::harness::make::{IMAGE, shell, template};
use crate::harness::operator::{METRICS, Operator, get, repeat};
use crate::harness::setup::{self, logs, root};
use crate::harness::wait::DEADLINE;

/// Queries that may have no answer: two operators would have to want the same pod at the same time.
const MAY_BE_EMPTY: [&str; 1] = ["arl_claim_conflicts_total"];
/// What the scenario gives cause for; nothing lasts long enough here to fire.
const PENDING: [&str; 3] = ["ArlSandboxesWaiting", "ArlWarmPoolEmpty", "ArlWarmPoolPodsFailing"];

/// A running Prometheus; it is ended and its data go with it.
struct Prometheus {
    process: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Prometheus {
    /// Starts one that scrapes this operator every second.
    async fn start(world: &World, operator: &Operator) -> Self {
        let program = std::env::var("PROMETHEUS").expect("PROMETHEUS: run this by `make test-prometheus`");
        let folder = logs().join(format!("{}.prometheus", world.ns));
        std::fs::create_dir_all(&folder).unwrap();
        let monitor =
            std::fs::read_to_string(root().join("deploy/kustomize/components/prometheus/servicemonitor.yaml"));
        let monitor: Value = serde_saphyr::from_str(&monitor.unwrap()).unwrap();
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [root().join("deploy/chart/files/alerts.yaml")],
            "scrape_configs": [{
                "job_name": "arl-operator",
                "honor_labels": monitor["spec"]["endpoints"][0]["honorLabels"],
                "static_configs": [{
                    "targets": [operator.address(METRICS).await.to_string()],
                    // What the Prometheus operator says of a target: the operator's namespace, not that of pools.
                    "labels": {"namespace": "arl-system", "service": "arl-operator-metrics", "pod": "arl-operator-0"},
                }],
            }],
        });
        // JSON is YAML too.
        std::fs::write(folder.join("config.yaml"), config.to_string()).unwrap();
        let log = folder.join("log");
        let process = Command::new(program)
            .arg(format!("--config.file={}", folder.join("config.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .expect("Prometheus starts");
        let told = || {
            let text = std::fs::read_to_string(&log).unwrap();
            let line = text.lines().find(|line| line.contains("Listening on"))?;
            line.split_once("address=")?.1.split_whitespace().next()?.parse().ok()
        };
        let address = timeout(DEADLINE, repeat(told)).await.unwrap_or_else(|_| panic!("see {}", log.display()));
        Self { process, folder, address }
    }

    /// The data of an answer; what is wrong where it is none.
    async fn ask(&self, path: &str) -> Result<Value, String> {
        let answer = get(self.address, &format!("/api/v1/{path}")).await;
        let body: Value = serde_json::from_str(&answer.body).map_err(|e| format!("{path}: {e}: {}", answer.body))?;
        if body["status"] == "success" { Ok(body["data"].clone()) } else { Err(format!("{path}: {body}")) }
    }

    /// Asks until the data are as wanted, which an Err explains.
    async fn comes_to(&self, path: &str, wanted: impl Fn(&Value) -> Result<(), String>) -> Value {
        let mut ticks = interval(Duration::from_millis(500));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lacking = String::new();
        let waiting = async {
            loop {
                ticks.tick().await;
                match self.ask(path).await {
                    Ok(data) => match wanted(&data) {
                        Ok(()) => return data,
                        Err(why) => lacking = why,
                    },
                    Err(why) => lacking = why,
                }
            }
        };
        let came = timeout(DEADLINE, waiting).await;
        came.unwrap_or_else(|_| panic!("{path}: {lacking}"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn encoded(query: &str) -> String {
    query.bytes().fold(String::new(), |mut out, byte| {
        let _ =
            if byte.is_ascii_alphanumeric() { write!(out, "{}", char::from(byte)) } else { write!(out, "%{byte:02X}") };
        out
    })
}

fn list<'a>(data: &'a Value, key: &str) -> &'a [Value] {
    data[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Work of every kind, some of which cannot be done.
async fn work(world: &World, round: usize) {
    let name = format!("s{round}");
    world.sandbox(&name, "p").await;
    let big = "head -c 3000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero | tr '\\0' y >&2";
    world.run(&name, &name, json!([shell("a", "true"), shell("big", big)])).await;
    world.run(&format!("{name}-fails"), &name, json!([shell("a", "false")])).await;
}

/// Grafana's variables, as it would fill them in.
fn filled(expression: &str) -> String {
    expression.replace("$__rate_interval", "1m").replace("$namespace", ".*")
}

/// Every query of every panel.
fn queries() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join("deploy/chart/files/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = list(&dashboard, "panels").iter();
    let of_panel = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = list(panel, "targets").to_vec();
        targets
            .into_iter()
            .map(move |target| (title.clone(), filled(target["expr"].as_str().unwrap())))
            .collect::<Vec<_>>()
    };
    panels.flat_map(of_panel).collect()
}

/// What the sample for KEDA asks, of this pool.
fn keda_query(namespace: &str, pool: &str) -> String {
    let text = std::fs::read_to_string(root().join("examples/autoscaling/keda.yaml")).unwrap();
    let sample: Value = serde_saphyr::from_str(&text).unwrap();
    let query = sample["spec"]["triggers"][0]["metadata"]["query"].as_str().unwrap();
    query.replace("\"default\"", &format!("\"{namespace}\"")).replace("python-pool", pool)
}

#[ignore = "needs Prometheus: make test-prometheus"]
#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_evaluates_every_alert_and_answers_the_dashboard() {
    let world = World::without_operator("prometheus").await;
    setup::allow_election(&world.client, &world.ns).await;
    let operator = world.another_operator("operator", &world.ns, &["--leader-elect"]).await;
    let prometheus = Prometheus::start(&world, &operator).await;

    world.pool("p", 2).await;
    let mut broken = template();
    broken["spec"]["containers"][0]["image"] = json!(format!("nosuch-{IMAGE}"));
    world.pool_of("broken", 1, &broken).await;
    world.sandbox("waits", "nosuch").await;
    world.pool_is_ready("p", 2).await;
    for round in 0..3 {
        work(&world, round).await;
    }

    // Every scrape so far was taken.
    let targets = prometheus.comes_to("targets?state=active", |data| {
        let all = list(data, "activeTargets");
        let is_up = all.len() == 1 && all.iter().all(|t| t["health"] == "up" && t["lastError"] == "");
        is_up.then_some(()).ok_or_else(|| format!("{all:#?}"))
    });
    targets.await;
    let failed = prometheus.ask(&format!("query?query={}", encoded("min_over_time(up[5m]) == 0"))).await.unwrap();
    assert_eq!(list(&failed, "result"), Vec::<Value>::new(), "a scrape failed");

    let groups = prometheus.comes_to("rules?type=alert", |data| {
        let rules: Vec<_> = list(data, "groups").iter().flat_map(|group| list(group, "rules")).collect();
        if let Some(bad) = rules.iter().find(|r| r["health"] != "ok") {
            return Err(bad.to_string());
        }
        let pending: BTreeSet<_> =
            rules.iter().filter(|r| r["state"] != "inactive").map(|r| r["name"].as_str().unwrap()).collect();
        (pending == BTreeSet::from(PENDING)).then_some(()).ok_or_else(|| format!("{pending:?} are pending or fire"))
    });
    let rules = list(&groups.await, "groups").iter().map(|group| list(group, "rules").len()).sum::<usize>();
    let text = std::fs::read_to_string(root().join("deploy/chart/files/alerts.yaml")).unwrap();
    assert_eq!(rules, text.matches("- alert: ").count());

    let queries = queries();
    assert!(queries.len() > 30, "{queries:?}");
    for (panel, query) in &queries {
        let answered = |data: &Value| {
            let is_answered = !list(data, "result").is_empty() || MAY_BE_EMPTY.iter().any(|name| query.contains(name));
            is_answered.then_some(()).ok_or_else(|| format!("the panel {panel:?} is empty: {query}"))
        };
        prometheus.comes_to(&format!("query?query={}", encoded(query)), answered).await;
    }
    let wanted = format!("query?query={}", encoded(&keda_query(&world.ns, "p")));
    let half_of_three = |data: &Value| {
        let value = data["result"][0]["value"][1].as_str();
        (value == Some("1.5")).then_some(()).ok_or_else(|| format!("three pods are held and nobody waits: {data}"))
    };
    prometheus.comes_to(&wanted, half_of_three).await;
    let metric = encoded("arl_warmpool_desired_pods");
    let namespaces = prometheus.ask(&format!("label/namespace/values?match[]={metric}")).await;
    assert_eq!(namespaces, Ok(json!([world.ns])), "the dashboard's variable");
    println!("{rules} alerts and {} queries were evaluated", queries.len());
}
