//! What all requests share.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{fill::Fill, guard::Guard, terminals::Terminals, view::View};
use crate::{connect::Connection, failure::Failure, live_objects::LiveObjects, table};

/// Changes that come faster are told together.
const TELL_LEAST: Duration = Duration::from_millis(500);

/// What all requests share.
pub struct Page {
    /// The way to the cluster.
    pub connection: Connection,
    /// Who may ask.
    pub guard: Guard,
    objects: LiveObjects,
    fill: Mutex<Fill>,
    /// Those that are open.
    pub terminals: Terminals,
    /// Told once the fill has taken a change.
    changes: watch::Sender<()>,
}

impl Page {
    /// Of this namespace, on this port.
    pub fn new(connection: &Connection, objects: LiveObjects, port: u16) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            connection: connection.clone(),
            guard: Guard::new(port)?,
            objects,
            fill: Mutex::default(),
            terminals: Terminals::new(),
            changes: watch::Sender::new(()),
        }))
    }

    /// What a browser opens.
    pub fn address(&self) -> String {
        self.guard.address()
    }

    /// Keeps how full the pools are, until the watch ends.
    pub async fn record(&self) -> Result<(), Failure> {
        let mut changes = self.objects.changes();
        loop {
            let view = self.view();
            self.fill.lock().unwrap_or_else(PoisonError::into_inner).record(table::now(), &view.fill());
            self.changes.send_replace(());
            let again = Instant::now() + TELL_LEAST;
            changes.changed().await.map_err(|_| Failure::ours("the watch has ended"))?;
            sleep_until(again).await;
        }
    }

    /// Ends what was started in Sandboxes.
    pub async fn close(&self) {
        self.terminals.close().await;
    }

    /// How full the pools were, as JSON.
    pub fn fill(&self) -> serde_json::Value {
        json!({ "fill": *self.fill.lock().unwrap_or_else(PoisonError::into_inner) })
    }

    /// Told of each change.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// What is there.
    pub fn view(&self) -> View {
        View::of(&self.connection.namespace, &self.objects.now(), self.objects.stale(), table::now())
    }
}
