//! The results as JSON and as a table.

use std::{fs, path::Path, thread::available_parallelism};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    contestant::Who,
    figures,
    flags::Flags,
    results::{Grown, Results},
    stats::Series,
};

/// The lines between which a table goes.
fn markers(at_scale: bool) -> [String; 2] {
    let command = if at_scale { SCALE } else { BENCH };
    ["begin", "end"].map(|what| format!("<!-- {command}: {what} -->"))
}

const BENCH: &str = "make bench";
const SCALE: &str = "make bench SCALE=10";

/// The results and where they come from.
pub struct Report {
    /// What was measured.
    pub results: Results,
    /// The operator's resident memory at the end and at most.
    pub memory_mb: (f64, f64),
    /// The API server's version.
    pub kubernetes: String,
    /// Whether the figures mean little.
    pub quick: bool,
    /// Whether it was on fake nodes.
    pub at_scale: bool,
    /// Whether Exec mode was measured beside the default.
    pub exec: bool,
}

impl Report {
    /// As Markdown.
    pub fn table(&self) -> String {
        let mut lines = vec![
            format!(
                "`{}` on {} cores, Kubernetes {}, the operator a release build with one namespace; milliseconds from sending \
                 the create request to the watch event with the end.",
                self.command(),
                cores(),
                self.kubernetes
            ),
            String::new(),
            "| what | who | n | p50 | p90 | p99 | max | a second | floor = 1 | API writes: its own, all | CPU ms |"
                .to_owned(),
            "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|".to_owned(),
        ];
        for (workload, contestants) in self.results.grouped() {
            let floor = contestants.first().filter(|(who, _)| who.is_floor()).map(|(_, series)| *series);
            for (who, series) in contestants {
                lines.push(row(workload, who, series, floor));
            }
        }
        let (now, most) = self.memory_mb;
        lines.push(String::new());
        lines.push(format!("Memory of the operator: {now:.1} MB resident at the end, {most:.1} MB at most."));
        if let Some(grown) = self.results.grown {
            lines.push(format!(
                "From before the bursts until after them, when {} Sandboxes had a stream each, it grew by {:.1} MB: {:.0} KB each.",
                grown.sandboxes,
                grown.mb,
                grown.kb_each()
            ));
        }
        lines.extend_from_slice(&self.results.notes);
        if self.at_scale {
            lines.push("The pods are those of kwok: they are ready at once and run nothing.".to_owned());
        } else if !self.exec {
            lines.push("Exec mode was not measured beside the default.".to_owned());
        }
        lines.join("\n")
    }

    fn command(&self) -> &'static str {
        match (self.quick, self.at_scale) {
            (true, _) => "arl-bench --quick",
            (false, true) => SCALE,
            (false, false) => BENCH,
        }
    }

    fn json(&self) -> Value {
        let mut json = figures::of(&self.results);
        json["command"] = json!(self.command());
        json["quick"] = json!(self.quick);
        json["cores"] = json!(cores());
        json["kubernetes"] = json!(self.kubernetes);
        json["operator"] = json!({
            "rss_mb": self.memory_mb.0,
            "rss_max_mb": self.memory_mb.1,
            "stream_kb": self.results.grown.map(Grown::kb_each),
        });
        json
    }

    /// Writes the JSON file, and the table into the documentation where that was asked for.
    pub fn write(&self, flags: &Flags) -> Result<()> {
        if let Some(folder) = flags.json.parent() {
            fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        let text = serde_json::to_string_pretty(&self.json())? + "\n";
        fs::write(&flags.json, text).with_context(|| format!("{} cannot be written", flags.json.display()))?;
        let Some(docs) = &flags.docs else { return Ok(()) };
        let text = fs::read_to_string(docs).with_context(|| format!("{} cannot be read", docs.display()))?;
        let text = put(&text, &self.table(), self.at_scale).with_context(|| missing(docs, self.at_scale))?;
        fs::write(docs, text).with_context(|| format!("{} cannot be written", docs.display()))
    }
}

/// Fails where the table would have no place, which is better known before minutes of measuring.
pub fn has_markers(docs: &Path, at_scale: bool) -> Result<()> {
    let text = fs::read_to_string(docs).with_context(|| format!("{} cannot be read", docs.display()))?;
    if put(&text, "", at_scale).is_none() {
        bail!(missing(docs, at_scale));
    }
    Ok(())
}

fn missing(docs: &Path, at_scale: bool) -> String {
    let [begin, end] = markers(at_scale);
    format!("{} needs the lines {begin} and {end}, in this order, for the table", docs.display())
}

/// The text with `table` between the markers; None without them.
fn put(text: &str, table: &str, at_scale: bool) -> Option<String> {
    let [begin, end] = markers(at_scale);
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{table}\n{end}{after}"))
}

fn row(workload: &str, who: Who, series: &Series, floor: Option<&Series>) -> String {
    let ms = |percent| shown(series.percentile_ms(percent), 1);
    let of_floor = floor.and_then(|floor| Some(series.percentile_ms(50)? / floor.percentile_ms(50)?));
    let writes = match (series.writes_per_op(is_its_own), series.writes_per_op(|_| true)) {
        (Some(own), Some(all)) => format!("{own:.1}, {all:.1}"),
        _ => "–".to_owned(),
    };
    format!(
        "| {workload} | {} | {} | {} | {} | {} | {} | {} | {} | {writes} | {} |",
        who.title(),
        series.count(),
        ms(50),
        ms(90),
        ms(99),
        ms(100),
        shown(series.per_s(), 1),
        shown(of_floor, 2),
        shown(series.cpu_ms_per_op(), 1),
    )
}

/// Whether a write is about the operation's own object or pod, and not about the pool, a new idle pod or an Event.
fn is_its_own(write: &str) -> bool {
    matches!(write, "patch pods" | "patch sandboxes/status" | "patch tasks/status")
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::stats::{Block, Sample};

    fn report() -> Report {
        let mut results = Results::default();
        let sent = Instant::now();
        for (who, ms) in [(Who::Operator, 30), (Who::Floor, 10), (Who::Exec, 90)] {
            for workload in ["claim, one at a time", "Task, one at a time", "Tasks, 32 in parallel"] {
                let sample = Sample { sent, seen: sent + Duration::from_millis(ms) };
                let writes = [("patch pods".to_owned(), 1), ("create events".to_owned(), 1)].into();
                results.series(workload, who).add(&Block::whole(vec![sample]), None, Some(writes));
            }
        }
        Report {
            results,
            memory_mb: (1.0, 2.0),
            kubernetes: "v1.34.4".to_owned(),
            quick: false,
            at_scale: false,
            exec: true,
        }
    }

    #[test]
    fn the_figures_that_others_read_are_there() {
        let json = report().json();
        let figure = |path: &str| {
            let found = json.pointer(path).and_then(Value::as_f64);
            format!("{:.0}", found.unwrap_or_else(|| panic!("{path}")))
        };
        assert_eq!(["/claim/p50_ms", "/claim/floor_p50_ms"].map(figure), ["30", "10"]);
        assert_eq!(["/task/p50_ms", "/task/floor_p50_ms", "/task/exec_p50_ms"].map(figure), ["30", "10", "90"]);
        let rates = ["/parallel32/per_s", "/parallel32/floor_per_s", "/parallel32/exec_per_s"].map(figure);
        assert_eq!(rates, ["33", "100", "11"]);
    }

    #[test]
    fn the_table_compares_with_the_floor() {
        let table = report().table();
        let row =
            "| claim, one at a time | **operator** | 1 | 30.0 | 30.0 | 30.0 | 30.0 | 33.3 | 3.00 | 1.0, 2.0 | – |";
        assert!(table.lines().any(|line| line == row), "{table}");
        let order: Vec<_> = table.lines().filter_map(|l| l.strip_prefix("| Task, one at a time | ")).collect();
        assert!(order[0].starts_with("floor") && order[2].starts_with("Exec mode"), "{order:?}");
    }

    #[test]
    fn the_table_replaces_what_is_between_the_markers() {
        for at_scale in [false, true] {
            let [begin, end] = markers(at_scale);
            let text = format!("a\n{begin}\nold\n{end}\nb\n");
            assert_eq!(put(&text, "new", at_scale), Some(format!("a\n{begin}\nnew\n{end}\nb\n")));
            assert_eq!(put(&text, "new", !at_scale), None);
            assert_eq!(put(&format!("{end}{begin}"), "new", at_scale), None);
        }
    }
}
