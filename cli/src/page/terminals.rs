//! The terminals that are open.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::{body::Bytes, http::StatusCode};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::answer::Refusal;

/// Open at once, in all windows. A browser has six connections to a server; each holds one, and what is typed needs one more.
const TERMINALS_MAX: usize = 4;
/// A shell is killed after a grace; its end needs its way.
const ENDED_MAX: Duration = Duration::from_secs(5);

/// Columns and rows.
pub type Size = (u16, u16);

/// One of them.
#[derive(Clone, Debug)]
pub struct Terminal {
    /// Takes what is typed.
    pub input: mpsc::Sender<Bytes>,
    /// Takes another size.
    pub size: watch::Sender<Size>,
}

/// Those that are open, by the name that the page gave each.
#[derive(Debug)]
pub struct Terminals {
    open: Mutex<HashMap<String, Terminal>>,
    /// Held by each; closed once all are gone.
    alive: Mutex<Option<mpsc::Sender<()>>>,
    all_gone: tokio::sync::Mutex<mpsc::Receiver<()>>,
    closing: watch::Sender<bool>,
}

impl Terminals {
    /// None yet.
    pub fn new() -> Self {
        let (alive, all_gone) = mpsc::channel(1);
        Self {
            open: Mutex::default(),
            alive: Mutex::new(Some(alive)),
            all_gone: tokio::sync::Mutex::new(all_gone),
            closing: watch::Sender::new(false),
        }
    }

    /// One that is open.
    pub fn get(&self, id: &str) -> Result<Terminal, Refusal> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(id).cloned().ok_or((StatusCode::NOT_FOUND, "the shell has ended".to_owned()))
    }

    /// Takes one; what is to be held as long as its shell lives.
    pub fn insert(&self, id: String, terminal: Terminal) -> Result<mpsc::Sender<()>, Refusal> {
        let refused = |why: &str| (StatusCode::CONFLICT, why.to_owned());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= TERMINALS_MAX {
            return Err(refused(
                "too many terminals are open (a browser has six connections to one server, and each takes one); close one",
            ));
        }
        if open.contains_key(&id) {
            return Err(refused("this terminal is open already"));
        }
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let alive = alive.ok_or_else(|| refused("kubectl arl ui is about to end"))?;
        open.insert(id, terminal);
        Ok(alive)
    }

    /// Forgets one.
    pub fn remove(&self, id: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Told once all are to end.
    pub fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Ends all shells.
    pub async fn close(&self) {
        self.closing.send_replace(true);
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = timeout(ENDED_MAX, self.all_gone.lock().await.recv()).await;
    }
}
