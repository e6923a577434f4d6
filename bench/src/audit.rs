//! Counting API writes by the API server's audit log: exact, and none of it self-reported.

use std::{
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::stats::Writes;

const DEADLINE: Duration = Duration::from_secs(20);

/// The audit log, and where to make a request that is found again in it.
pub struct Audit {
    path: PathBuf,
    api: Api<ConfigMap>,
    marks: AtomicUsize,
}

/// A place in the log, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Mark(u64);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    verb: String,
    #[serde(default)]
    user: User,
    #[serde(default)]
    object_ref: ObjectRef,
}

#[derive(Default, Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
}

impl Audit {
    /// The log at `path`.
    pub fn new(path: PathBuf, api: Api<ConfigMap>) -> Self {
        Self { path, api, marks: AtomicUsize::new(0) }
    }

    /// A place after the lines of all requests answered so far. A request is answered a moment before its line is written, so
    /// this waits for the line of a request made after all others.
    pub async fn mark(&self) -> Result<Mark> {
        let start = Mark(std::fs::metadata(&self.path).with_context(|| self.unreadable())?.len());
        let name = format!("arl-bench-mark-{}", self.marks.fetch_add(1, Ordering::Relaxed));
        self.api.get_opt(&name).await.context("the request that marks a place in the audit log failed")?;
        let wanted = format!("{}/configmaps/{name}\"", self.api.namespace().unwrap_or_default());
        let found = async {
            let mut ticks = interval(Duration::from_millis(20));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let (mut at, mut found) = (start.0, None);
                self.lines(start, |line| {
                    at += line.len() as u64;
                    if line.contains(&wanted) {
                        found = Some(Mark(at));
                    }
                    found.is_none()
                })?;
                if let Some(mark) = found {
                    return Ok(mark);
                }
            }
        };
        match timeout(DEADLINE, found).await {
            Ok(mark) => mark,
            Err(_) => bail!(
                "{} shows no request made {DEADLINE:?} ago: it is the log of another cluster, or was just rotated; \
                 run again, or with --no-audit",
                self.path.display()
            ),
        }
    }

    /// The writes of a user between two places.
    pub fn writes(&self, user: &str, from: Mark, to: Mark) -> Result<Writes> {
        let mut writes = Writes::new();
        let mut at = from.0;
        self.lines(from, |line| {
            at += line.len() as u64;
            if at > to.0 {
                return false;
            }
            if line.contains(user)
                && let Ok(request) = serde_json::from_str::<Line>(line)
                && request.user.username == user
                && !matches!(request.verb.as_str(), "get" | "list" | "watch")
            {
                *writes.entry(request.what()).or_default() += 1;
            }
            true
        })?;
        Ok(writes)
    }

    /// Gives each complete line from a place on to `each`, its end of line included, until that answers false.
    fn lines(&self, from: Mark, mut each: impl FnMut(&str) -> bool) -> Result<()> {
        let mut log = BufReader::new(File::open(&self.path).with_context(|| self.unreadable())?);
        log.seek(SeekFrom::Start(from.0)).with_context(|| self.unreadable())?;
        let mut line = String::new();
        while log.read_line(&mut line).with_context(|| self.unreadable())? > 0 {
            if !line.ends_with('\n') || !each(&line) {
                break;
            }
            line.clear();
        }
        Ok(())
    }

    fn unreadable(&self) -> String {
        format!("{} cannot be read; run with --no-audit to do without", self.path.display())
    }
}

impl Line {
    /// As RBAC writes it.
    fn what(&self) -> String {
        let ObjectRef { resource, subresource } = &self.object_ref;
        let part = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
        format!("{} {resource}{part}", self.verb)
    }
}
