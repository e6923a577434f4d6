//! Tables as kubectl prints them, and lengths of time as it writes them.

use arl_crds::text::printable;
use comfy_table::{ContentArrangement, Table as Drawn, presets};
use jiff::Timestamp;

use crate::terminal;

/// Far more than a cell needs.
const CELL_MAX: usize = 2048;
/// Between two columns.
const GAP: u16 = 3;
/// Cells are not broken into pieces that are shorter, as long as a column can be left out instead.
const PIECE: usize = 10;
/// Columns that a narrow terminal goes without, the first of them first.
const DISPENSABLE: [&str; 18] = [
    "AGE",
    "CLIENTS",
    "TTY",
    "ALLOCATED",
    "DURATION",
    "POD",
    "STARTED",
    "WAITING",
    "FILL",
    "WANTED",
    "STEP",
    "EXIT",
    "MEMORY",
    "CPU",
    "TASK",
    "SANDBOX",
    "POOL",
    "PHASE",
];

/// A table with a name for each column.
#[derive(Debug)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// One without rows.
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. What others wrote is made fit to be shown.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell, CELL_MAX)).collect());
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As lines, for this terminal if there is one.
    pub fn lines(&self, has_header: bool) -> String {
        let width = terminal::is_output().then(|| terminal::columns_and_rows().0);
        self.fitted(has_header, width)
    }

    /// As lines of this width: columns are left out, and cells broken, where they must be.
    pub fn fitted(&self, has_header: bool, width: Option<u16>) -> String {
        let shown = self.columns(width);
        let mut drawn = Drawn::new();
        drawn.load_style(presets::NOTHING);
        if has_header {
            drawn.add_row(shown.iter().map(|column| self.header[*column]));
        }
        for row in &self.rows {
            drawn.add_row(shown.iter().filter_map(|column| row.get(*column)));
        }
        for column in drawn.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        drawn.set_content_arrangement(ContentArrangement::Disabled);
        let whole = drawn.trim_fmt();
        let widest = whole.lines().map(|line| line.chars().count()).max().unwrap_or_default();
        let text = match width {
            Some(width) if widest > usize::from(width) => {
                drawn.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
                drawn.trim_fmt()
            }
            _ => whole,
        };
        if text.is_empty() { text } else { text + "\n" }
    }

    /// Those that there is room for.
    fn columns(&self, width: Option<u16>) -> Vec<usize> {
        let mut shown: Vec<usize> = (0..self.header.len()).collect();
        // The first one has the names, after that of the namespaces.
        let names = usize::from(self.header.first() == Some(&"NAMESPACE"));
        let room = width.map_or(usize::MAX, usize::from);
        let needed: Vec<usize> = shown.iter().map(|column| self.needed(*column)).collect();
        for name in DISPENSABLE {
            if shown.iter().map(|column| needed[*column]).sum::<usize>() <= room {
                break;
            }
            shown.retain(|column| *column <= names || self.header[*column] != name);
        }
        shown
    }

    fn needed(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count().min(PIECE));
        cells.max().unwrap_or_default().max(self.header[column].len()) + usize::from(GAP)
    }
}

/// How long ago something was, as kubectl's AGE says it.
pub fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    let Some(since) = since else { return "<unknown>".to_owned() };
    let seconds = now.duration_since(since).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        _ if days < 730 => format!("{days}d"),
        _ => two(days / 365, "y", days % 365, "d"),
    }
}

fn two(large: i64, unit: &str, small: i64, smaller: &str) -> String {
    if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{smaller}") }
}

/// The clock of this machine.
#[expect(
    clippy::disallowed_methods,
    reason = "ages are shown by this machine's clock; what shows them takes it as an argument"
)]
pub fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let mut table = Table::new(&["NAME", "READY"]);
        table.row(["a-long-name".to_owned(), "1".to_owned()]);
        table.row(["b".to_owned(), "\u{1b}[31m2".to_owned()]);
        assert_eq!(table.fitted(true, None), "NAME          READY\na-long-name   1\nb              [31m2\n");
        assert_eq!(table.fitted(false, None), "a-long-name   1\nb              [31m2\n");
    }

    #[test]
    fn a_narrow_terminal_breaks_cells_and_no_line() {
        let mut table = Table::new(&["NAME", "MESSAGE"]);
        table.row(["pool".to_owned(), "the image cannot be pulled: its name is wrong ".repeat(3)]);
        let text = table.fitted(true, Some(40));
        assert!(text.lines().count() > 3 && text.lines().all(|line| line.chars().count() <= 40), "{text}");
    }

    #[test]
    fn a_narrow_terminal_goes_without_what_matters_least() {
        let mut table = Table::new(&["TASK", "SANDBOX", "STATE", "REASON", "STEP", "EXIT", "DURATION", "AGE"]);
        let cells = ["compile-and-test", "builder-1", "Failed", "StepFailed", "tests", "1", "12s", "5m"];
        table.row(cells.map(str::to_owned));
        assert_eq!(
            table.fitted(true, Some(50)),
            "TASK               SANDBOX     STATE    REASON\ncompile-and-test   builder-1   Failed   StepFailed\n"
        );
        assert!(table.fitted(true, Some(90)).contains("AGE"), "{}", table.fitted(true, Some(90)));
    }

    #[test]
    fn a_narrow_terminal_has_the_names() {
        let mut table = Table::new(&["NAMESPACE", "SANDBOX", "POOL", "PHASE", "REASON", "POD", "AGE"]);
        let cells = ["a-namespace", "builder-1", "p", "Ready", "Allocated", "p-80f88077-1", "5m"];
        table.row(cells.map(str::to_owned));
        let text = table.fitted(true, Some(40));
        assert!(text.contains("SANDBOX") && !text.contains("AGE"), "{text}");
        let mut table = Table::new(&["PID", "STATE", "TTY", "CLIENTS", "AGE", "COMMAND"]);
        table.row(["12345", "Running", "no", "1", "5m", "sleep 1000"].map(str::to_owned));
        assert_eq!(table.fitted(true, Some(36)), "PID     STATE     COMMAND\n12345   Running   sleep 1000\n");
    }

    #[test]
    fn ages_are_written_as_kubectl_does() {
        for (seconds, expected) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (599, "9m59s"),
            (3_600, "60m"),
            (10_860, "3h1m"),
            (86_400, "24h"),
            (176_400, "2d1h"),
            (8_640_000, "100d"),
            (80_000_000, "2y195d"),
            (-5, "0s"),
        ] {
            let now = Timestamp::from_second(100_000_000).unwrap();
            let since = Timestamp::from_second(100_000_000 - seconds).unwrap();
            assert_eq!(age(Some(since), now), expected);
        }
        assert_eq!(age(None, Timestamp::UNIX_EPOCH), "<unknown>");
    }
}
