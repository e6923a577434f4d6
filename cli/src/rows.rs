//! Rows of objects that come one after the other, below each other.

use arl_crds::{Sandbox, Task, WarmPool, text::printable};
use jiff::Timestamp;
use kube::Resource;

use crate::screen::{POOL, SANDBOX, TASK, columns, of_pool, of_sandbox, of_task};

/// Far more than a cell needs.
const CELL_MAX: usize = 2048;
/// Between two columns.
const GAP: usize = 3;

/// A kind that has a row.
pub trait Row: Resource<DynamicType = ()> {
    /// The names of the columns.
    const HEADER: &'static [&'static str];
    /// What is in them.
    fn cells(&self, now: Timestamp) -> Vec<String>;
}

impl Row for WarmPool {
    const HEADER: &'static [&'static str] = &POOL;

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let mut cells = of_pool(self, &[], now).to_vec();
        // A pool does not say it, and the Sandboxes are not looked at.
        "-".clone_into(&mut cells[3]);
        cells
    }
}

impl Row for Sandbox {
    const HEADER: &'static [&'static str] = &SANDBOX;

    fn cells(&self, now: Timestamp) -> Vec<String> {
        of_sandbox(self, now).to_vec()
    }
}

impl Row for Task {
    const HEADER: &'static [&'static str] = &TASK;

    fn cells(&self, now: Timestamp) -> Vec<String> {
        of_task(self, now).to_vec()
    }
}

/// How rows are shown. A column is as wide as its widest cell so far.
#[derive(Debug)]
pub struct Rows {
    is_wide: bool,
    has_header: bool,
    has_namespace: bool,
    widths: Vec<usize>,
}

impl Rows {
    /// None yet.
    pub fn new(is_wide: bool, has_header: bool, has_namespace: bool) -> Self {
        Self { is_wide, has_header, has_namespace, widths: Vec::new() }
    }

    /// The rows of these objects, after the names of the columns where they are the first.
    pub fn lines<K: Row>(&mut self, objects: &[K], now: Timestamp) -> String {
        let columns = columns(K::HEADER, self.is_wide);
        let mut rows = Vec::new();
        if std::mem::take(&mut self.has_header) {
            let namespace = self.has_namespace.then_some("NAMESPACE");
            rows.push(namespace.into_iter().chain(K::HEADER[..columns].iter().copied()).map(str::to_owned).collect());
        }
        rows.extend(objects.iter().map(|object| {
            let namespace = self.has_namespace.then(|| object.meta().namespace.clone().unwrap_or_default());
            let cells = object.cells(now).into_iter().take(columns);
            namespace.into_iter().chain(cells).map(|cell| printable(&cell, CELL_MAX)).collect::<Vec<_>>()
        }));
        for row in &rows {
            self.widths.resize(self.widths.len().max(row.len()), 0);
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        rows.iter().map(|row| self.line(row)).collect()
    }

    fn line(&self, row: &[String]) -> String {
        let padded = row.iter().zip(&self.widths).map(|(cell, width)| format!("{cell:<width$}", width = width + GAP));
        format!("{}\n", padded.collect::<String>().trim_end())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sandbox(name: &str) -> Sandbox {
        let meta = json!({ "name": name, "namespace": "n", "creationTimestamp": "1970-01-01T00:00:30Z" });
        serde_json::from_value(json!({ "apiVersion": "arl.infra.io/v1alpha1", "kind": "Sandbox", "metadata": meta,
            "spec": { "poolRef": "p" }, "status": { "phase": "Ready", "podName": "p-1" } }))
        .unwrap()
    }

    #[test]
    fn rows_that_come_later_stand_below_those_before() {
        let mut rows = Rows::new(false, true, true);
        let now = Timestamp::from_second(60).unwrap();
        let first = rows.lines(&[sandbox("a-long-name"), sandbox("b")], now);
        let expected = "\
NAMESPACE   SANDBOX       POOL   PHASE   REASON   POD   AGE
n           a-long-name   p      Ready            p-1   30s
n           b             p      Ready            p-1   30s
";
        assert_eq!(first, expected);
        assert_eq!(rows.lines(&[sandbox("c")], now), "n           c             p      Ready            p-1   30s\n");
    }
}
