//! What the client library logs. Python takes it with the next results and hands it to its own logging; what a call logs while it is waited
//! for wakes who waits.

use std::{
    collections::VecDeque,
    fmt::{Debug, Write},
    sync::{Mutex, Once},
};

use pyo3::prelude::*;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::set_global_default,
};

use crate::call::{lock, wake_waiter};

/// The most records that wait for Python; the oldest go first.
const RECORDS_MAX: usize = 256;

static RECORDS: Mutex<VecDeque<(u8, String)>> = Mutex::new(VecDeque::new());

/// Level, as Python numbers them, and text of what was logged since it was last asked for.
#[pyfunction]
pub(crate) fn take_logs() -> Vec<(u8, String)> {
    lock(&RECORDS).drain(..).collect()
}

/// Begins to keep what is logged.
pub(crate) fn keep_logs() {
    static KEPT: Once = Once::new();
    // Nothing else in the process logs by this copy of the library.
    KEPT.call_once(|| drop(set_global_default(Keeper)));
}

struct Keeper;

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_ours = ["arl_client", "arl_sandbox"].iter().any(|target| metadata.target().starts_with(target));
        metadata.is_event() && is_ours && *metadata.level() <= Level::DEBUG
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let level = match *event.metadata().level() {
            Level::ERROR => 40,
            Level::WARN => 30,
            Level::INFO => 20,
            _ => 10,
        };
        {
            let mut records = lock(&RECORDS);
            if records.len() == RECORDS_MAX {
                records.pop_front();
            }
            records.push_back((level, text.message + &text.fields));
        }
        if level > 10 {
            wake_waiter();
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message, and the fields behind it.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
