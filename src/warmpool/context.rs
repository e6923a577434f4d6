//! What a pool is looked after with, and how what is known of it is remembered and recorded.

use std::sync::Arc;

use arl_crds::{WarmPool, WarmPoolStatus};
use jiff::Timestamp;

use super::{
    inject::AgentImage,
    memory::{Memories, Memory},
    observe::Observed,
    status,
};
use crate::{
    cache::Watch,
    clock::Clock,
    effects::{Effects, Event, Failure, Haste, Written},
    metrics::Metrics,
    object::{Key, Version},
};

/// What all pools are looked after with.
pub(super) struct Context {
    pub(super) watch: Arc<Watch>,
    pub(super) effects: Arc<Effects>,
    pub(super) clock: Clock,
    pub(super) agent: AgentImage,
    pub(super) metrics: Arc<Metrics>,
    pub(super) memories: Memories,
}

impl Context {
    pub(super) fn observe(&self, key: &Key, now: Timestamp) -> Option<Observed> {
        Observed::read(&self.watch.cache, key, &self.memories, &self.agent, now)
    }

    pub(super) fn remember<T>(&self, observed: &Observed, with: impl FnOnce(&mut Memory) -> T) -> T {
        self.memories.of(&Key::of(&*observed.pool), &observed.uid(), with)
    }

    /// Writes a status, and tells of what it changes.
    pub(super) async fn record(
        &self,
        haste: Haste,
        observed: &Observed,
        wanted: &WarmPoolStatus,
    ) -> Result<(), Failure> {
        match self.effects.write_status_in::<WarmPool>(haste, &Version::of(&*observed.pool), wanted, 0).await? {
            Written::Done(pool) => {
                self.watch.learn::<WarmPool>(pool);
                self.remember(observed, Memory::recorded);
                for (reason, note) in status::events(observed.pool.status.as_ref(), wanted) {
                    self.effects.event(Event::about(&*observed.pool, reason, note));
                }
            }
            Written::Changed => {}
            Written::Gone => self.remember(observed, |memory| memory.is_gone = true),
            Written::TooLarge(failure) => return Err(failure),
        }
        Ok(())
    }
}
