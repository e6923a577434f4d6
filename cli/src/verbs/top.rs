//! `top`: what is there, as it changes.

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use tokio::{
    io::AsyncReadExt,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::{
    connect::Connection,
    dashboard::{Frame, draw},
    failure::{Failure, HANG_UP},
    interrupt::Interrupts,
    live_objects::LiveObjects,
    print, table,
    terminal::{self, FullScreen},
    usage,
};

/// The metrics API cannot be watched, and has new values about as often.
const MEASURE_EVERY: Duration = Duration::from_secs(15);
/// Ages go on where nothing changes.
const DRAW_EVERY: Duration = Duration::from_secs(1);
/// Changes that come faster are drawn together.
const DRAW_LEAST: Duration = Duration::from_millis(200);
/// Bytes of keys read at once.
const KEYS_MAX: usize = 64;
const ESC: u8 = 0x1b;
const CONTROL_C: u8 = 3;

/// Show pools, Sandboxes with their CPU and memory, and Tasks, as they change; once, where the output is no terminal.
#[derive(Args, Debug)]
#[command(after_help = "q or Ctrl-C leaves. CPU and memory are shown where the cluster has metrics.k8s.io.")]
pub struct Flags {}

/// Draws until somebody leaves.
pub async fn top(connection: &Connection, interrupts: &Interrupts) -> Result<(), Failure> {
    let objects = interrupts.or(LiveObjects::watch(connection)).await?;
    let mut usage = interrupts.or(async { Ok(usage::of_sandboxes(connection).await) }).await?;
    if !terminal::is_output() || !terminal::is_input() {
        return print::data(&text(connection, &objects, &usage, None));
    }
    let _screen = FullScreen::enter().map_err(|error| Failure::ours(format!("the terminal: {error}")))?;
    let mut resized = terminal::resized().map_err(|error| Failure::signals(&error))?;
    let (mut changes, mut input, mut keys) = (objects.changes(), tokio::io::stdin(), [0; KEYS_MAX]);
    let (mut measure, mut redraw) = (interval(MEASURE_EVERY), interval(DRAW_EVERY));
    measure.set_missed_tick_behavior(MissedTickBehavior::Delay);
    redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let text = text(connection, &objects, &usage, Some(terminal::columns_and_rows()));
        terminal::draw(&text).map_err(|error| Failure::output(&error))?;
        let again = Instant::now() + DRAW_LEAST;
        tokio::select! {
            interrupt = interrupts.first() => return Err(interrupt.into()),
            read = input.read(&mut keys) => match read {
                Ok(read) if read > 0 => if leaves(&keys[..read]) { return Ok(()) },
                // The terminal is gone.
                _ => return Err(Failure::quiet(HANG_UP)),
            },
            _ = resized.recv() => {}
            _ = measure.tick() => usage = usage::of_sandboxes(connection).await,
            _ = redraw.tick() => {}
            told = changes.changed() => match told {
                Ok(()) => sleep_until(again).await,
                Err(_) => return Err(Failure::ours("the watch has ended")),
            },
        }
    }
}

fn text(
    connection: &Connection,
    objects: &LiveObjects,
    usage: &BTreeMap<String, usage::Usage>,
    size: Option<(u16, u16)>,
) -> String {
    let (columns, rows) = (size.map(|(columns, _)| columns), size.map(|(_, rows)| rows));
    let (stale, objects) = (&objects.stale(), &objects.now());
    let (namespace, now) = (&connection.namespace, table::now());
    draw(Frame { namespace, objects, usage, stale: stale.as_ref(), now, columns, rows })
}

/// Keys as a terminal in raw mode sends them. One that sends several bytes, such as an arrow, begins with the byte of Esc.
fn leaves(keys: &[u8]) -> bool {
    match keys {
        [ESC] => true,
        [ESC, ..] => false,
        _ => keys.iter().any(|key| [b'q', CONTROL_C].contains(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_does_not_leave() {
        for (keys, expected) in [
            (&b"q"[..], true),
            (b"\x1b", true),
            (b"\x03", true),
            (b"jq", true),
            (b"\x1b[A", false),
            (b"\x1bOq", false),
            (b"Q\r", false),
        ] {
            assert_eq!(leaves(keys), expected, "{keys:?}");
        }
    }
}
