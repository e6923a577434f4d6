//! The operator: three kinds, one way through each of them.
//!
//! ```text
//!   API server ──watch──> cache ──change──> triggers ──wake──> queue ──key──> reconcile ──write──> API server
//!                           └──────────────── observe ──> plan ──> effects ──────┘   └──> runs ──exec──> pod
//! ```
//!
//! Modules by floor: each imports only what is on a floor below its own, which tests/architecture holds.
//!
//! | floor | modules | what is there |
//! |---|---|---|
//! | 1 | `arrival`, `burst`, `clock`, `flags`, `object`, `texts` | values: an object's key, uid and version; the time; what the process was told |
//! | 2 | `logs`, `metrics`, `pod` | what is counted and logged; a pod with the fields that are read of it, and how it was lost |
//! | 3 | `cache`, `connect`, `definitions`, `queue` | what is known of the cluster; the way to the API server; keys to work on |
//! | 4 | `runs`, `traces`, `triggers` | the execution of steps in pods; spans; which change wakes whom |
//! | 5 | `effects` | all calls that write to the API server, and what became of each |
//! | 6 | `leader`, `stalled` | which of several operators works; showing on an object which call keeps failing for it |
//! | 7 | `controller` | the worker: takes a key, reconciles, retries what failed |
//! | 8 | `warmpool`, `sandbox`, `task` | the three kinds, which do not know each other |
//! | 9 | `operator` | all of it put together, once for each watched namespace, since no reference leaves a namespace |
//! | 10 | `collector`, `endpoints` | the metrics of what is in caches and queues; the probes and /metrics |
//!
//! [`warmpool`], [`sandbox`] and [`task`] have the same files: `observe` reads the cache into one value, `plan` decides from that value and
//! a clock reading, `status` says what the status must then be. Both are pure and tested by tables. Every write in [`effects`] names
//! the version it was decided on, so that a second operator or a crash in between cannot make it wrong; what would be final is asked of the API server first, since the cache may be late. Reconcile starts a
//! run, looks at it and ends it, and never waits for a command.
//!
//! Where to look:
//!
//! | question | file |
//! |---|---|
//! | Which Sandbox gets which pod? | `cache/pairing.rs` pairs them in order of creation; `sandbox/plan.rs` (`without_pod`) decides the claim; `effects/pods.rs` (`claim`) writes it |
//! | What happens to a write that is refused? | `effects/failure.rs` classes it; `controller.rs` tries it again, by `queue/mod.rs` later each time; `stalled.rs` shows it on the object, `sandbox/mod.rs` as ClaimRefused on one that waits, `warmpool/setback.rs` on a pool |
//! | Who may delete a pod? | only `delete_pod` in `effects/pods.rs`, called for idle pods by `warmpool/mod.rs`, for a Sandbox's own by `sandbox/mod.rs`, and for one with processes that cannot be ended by `task/leftovers.rs`; and `refuse_unmarked` there, for one whose marks admission takes away; the pods of an object that is deleted go by the cluster's garbage collector |
//! | How is a run found again after a restart? | `task/plan.rs` (`unfollowed`) starts to follow it; `runs/agent/follow.rs` attaches to the agent's record of it; `runs/agent/stream.rs` (`end_unwanted`) and `task/leftovers.rs` (`end_orphans`) end those that nobody wants |
//! | What is asked of the API server, since the cache may be late? | what ends something for good: `confirm` in `sandbox/confirm.rs` and `task/mod.rs`, `confirm_tasks` in `effects/confirm.rs`, `is_unfinished` in `effects/objects.rs` |
//! | What bounds a page of a list? | `PAGE` in `cache/watch.rs`, `effects/confirm.rs` and `effects/pods.rs`; where the API server streams lists there are no pages |
//! | How much may outputs take? | `runs/report.rs` as they arrive, `runs/quota.rs` all together, `task/report.rs` in the status |
//! | How much of what Tasks carry is in memory? | `runs/contents.rs`: a Task that finds no room waits in `task/mod.rs` (`start`) |
//! | What does a pod's end mean? | `pod/lost.rs` |
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
pub mod burst;
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
