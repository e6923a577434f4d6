//! `top`: what is there, as it changes.

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use tokio::{
    io::AsyncReadExt,
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use crate::{
    connect::Connection,
    dashboard::{Frame, draw},
    failure::{Failure, HANG_UP},
    interrupt::Interrupts,
    live_objects::LiveObjects,
    print, table,
    terminal::{self, FullScreen},
    usage::{self, Usage},
};

/// The metrics API cannot be watched, and has new values about as often.
const MEASURE_EVERY: Duration = Duration::from_secs(15);
/// How long that may take: it is an API server of its own.
const MEASURE_MAX: Duration = Duration::from_secs(10);
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
    if !terminal::is_output() || !terminal::is_input() {
        let usage = interrupts.or(async { Ok(measured(connection).await) }).await?;
        return print::data(&text(connection, &objects, &usage, None));
    }
    let _screen = FullScreen::enter().map_err(|error| Failure::ours(format!("the terminal: {error}")))?;
    let mut resized = terminal::resized().map_err(|error| Failure::signals(&error))?;
    let (mut changes, mut input, mut keys) = (objects.changes(), tokio::io::stdin(), [0; KEYS_MAX]);
    let (mut usage, mut redraw) = (measure(connection), interval(DRAW_EVERY));
    redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let text = text(connection, &objects, &usage.borrow_and_update(), Some(terminal::columns_and_rows()));
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
            Ok(()) = usage.changed() => {}
            _ = redraw.tick() => {}
            told = changes.changed() => match told {
                Ok(()) => sleep_until(again).await,
                Err(_) => return Err(Failure::ours("the watch has ended")),
            },
        }
    }
}

/// What Sandboxes use, again and again: beside what is drawn, which does not wait for it.
fn measure(connection: &Connection) -> watch::Receiver<BTreeMap<String, Usage>> {
    let (sender, usage) = watch::channel(BTreeMap::new());
    let connection = connection.clone();
    tokio::spawn(async move {
        let mut again = interval(MEASURE_EVERY);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !sender.is_closed() {
            again.tick().await;
            sender.send_replace(measured(&connection).await);
        }
    });
    usage
}

/// What Sandboxes use; nothing where that takes too long.
async fn measured(connection: &Connection) -> BTreeMap<String, Usage> {
    timeout(MEASURE_MAX, usage::of_sandboxes(connection)).await.unwrap_or_default()
}

fn text(
    connection: &Connection,
    objects: &LiveObjects,
    usage: &BTreeMap<String, Usage>,
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
