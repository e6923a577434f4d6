//! What the operator knows of the cluster: each kind watched once, kept in tables, and each change passed to [`crate::triggers`].
//!
//! Everything here is a past state of the API server, possibly an old one. Nothing that is read here makes a write safe:
//! writes carry the version they were decided on, see [`crate::effects`].

mod abridge;
mod costly;
mod demand;
mod listing;
mod nodes;
mod outages;
mod pairing;
mod pods;
mod refused;
mod rows;
mod setups;
mod table;
mod tables;
mod wake;
mod watch;

pub use abridge::{abridge_pool, abridged_fingerprint, slim};
pub use arl_client::guarded::Guarded;
pub use demand::PoolDemand;
pub use pods::PodIndex;
pub use refused::ClaimRefusal;
pub use rows::{SandboxId, SandboxIndex, SandboxRow, TaskIndex, TaskRow};
pub use table::{Change, Row, Table};
pub use tables::{Cache, Tables};
pub use wake::Wake;
pub use watch::{Source, Watch};

#[cfg(test)]
mod tests;
