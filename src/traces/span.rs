//! A span.

use jiff::Timestamp;

/// Where a span belongs. <https://www.w3.org/TR/trace-context/#traceparent-header-field-values>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: u128,
    /// The span in it that is the parent.
    pub parent: Option<u64>,
    /// Whether who began the trace has it recorded; None where it began here.
    pub sampled: Option<bool>,
}

/// Something that took some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its trace and its parent.
    pub context: Context,
    /// Its id.
    pub id: u64,
    /// What it is: one of a few words.
    pub name: &'static str,
    /// From when.
    pub start: Timestamp,
    /// Until when.
    pub end: Timestamp,
    /// More about it.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it is no success, in a word.
    pub error: Option<String>,
}
