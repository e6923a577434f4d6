//! The operator: three kinds, one way through each of them.
//!
//! ```text
//!   API server ──watch──> cache ──change──> triggers ──wake──> queue ──key──> reconcile ──write──> API server
//!                           └──────────────── observe ──> plan ──> effects ──────┘   └──> runs ──exec──> pod
//! ```
//!
//! - [`cache`] watches pools, Sandboxes, Tasks and their pods once each; [`triggers`] says whom a change concerns;
//!   [`queue`] hands keys to workers, [`controller`] is the worker.
//! - [`warmpool`], [`sandbox`], [`task`] have the same files: `observe` reads the cache into one value, `plan` decides from that
//!   value and a clock reading, `status` says what the status must then be. Both are pure and tested by tables.
//! - [`effects`] is the only code that writes. Every write names the version it was decided on, so that an old cache, a second
//!   operator or a crash in between cannot make it wrong.
//! - [`stalled`] shows on an object which call to the API keeps failing for it.
//! - [`runs`] executes steps in pods; reconcile starts, looks and ends, and never waits for a command.
//! - [`leader`] lets one of several operators work: the others keep their caches warm and stand by.
//! - [`metrics`] is what they count, and [`endpoints`] shows it, beside the probes.
//! - [`operator`] puts it together, once for each watched namespace, since no reference leaves a namespace.
//!
//! Words that mean one thing here:
//!
//! | word | what it is |
//! |---|---|
//! | pool | a WarmPool |
//! | idle pod | a pod of a pool that no Sandbox holds. Its label `pod-state` is `ready`, the reference's word, even while it starts |
//! | claim | the one patch that gives an idle pod to a Sandbox |
//! | allocated | held by a Sandbox |
//! | executor container | the container of a pod that steps run in |
//! | step | one command or one file of a Task |
//! | run | the execution of a Task's steps, which goes on in the pod without the operator |
//! | agent | our program in the pod that executes a run and keeps its record |
//! | stream | the connection to an agent, through `pods/exec`, that runs are started and followed by |
//! | Exec mode, plain exec | `executor.mode: Exec`: no agent; each step is one call of `pods/exec` |
//! | effects | calls to the API server; all writes are there |
//! | arrival | an object's place among those created in the same second |
//! | settle | to ask an agent for the rest of a run's record, after its container was started again |
#![forbid(unsafe_code)]

pub use arl_agent::output;

pub mod arrival;
pub mod cache;
pub mod clock;
pub mod collector;
pub mod connect;
pub mod controller;
pub mod definitions;
pub mod effects;
pub mod endpoints;
pub mod flags;
pub mod leader;
pub mod logs;
pub mod metrics;
pub mod object;
pub mod operator;
pub mod pod;
pub mod queue;
pub mod runs;
pub mod sandbox;
pub mod stalled;
pub mod task;
pub mod texts;
pub mod traces;
pub mod triggers;
pub mod warmpool;
