//! The operator: three kinds, which the crate `arl_crds` (`crds/`) defines, and one way through each of them.
//!
//! ```text
//!   API server ──watch──> cache ──change──> triggers ──wake──> queue ──key──> reconcile ──write──> API server
//!                           └──────────────── observe ──> plan ──> effects ──────┘   └──> runs ──exec──> pod
//! ```
//!
//! Modules by floor: each imports only what is on a floor below its own, which tests/architecture checks.
//!
//! | floor | modules | what is there |
//! |---|---|---|
//! | 1 | `arrival`, `burst`, `clock`, `flags`, `object`, `open_files`, `texts` | values: an object's key, uid and version, its place in a queue, and how many start at once; the time; the flags; the limit of open files; text of others, bounded and made printable |
//! | 2 | `logs`, `metrics`, `pod` | what is counted and logged; a pod with the fields that are read of it, and how it was lost |
//! | 3 | `cache`, `connect`, `definitions`, `queue` | what is known of the cluster; the way to the API server; whether its definitions are the ones of this version; keys to work on |
//! | 4 | `runs`, `traces`, `triggers` | the execution of steps in pods; spans; which change wakes whom |
//! | 5 | `effects` | all calls that write to the API server, but for the streams of `runs`; and what became of each |
//! | 6 | `leader`, `stalled` | which of several operators works; showing on an object which call keeps failing for it |
//! | 7 | `controller` | the worker: takes a key, reconciles, retries what failed |
//! | 8 | `warmpool`, `sandbox`, `task` | the three kinds, which do not know each other |
//! | 9 | `operator` | all of it put together, once for all namespaces, or for each that is watched: no reference leaves a namespace |
//! | 10 | `collector`, `endpoints` | the metrics of what is in caches, queues and runs; the probes and /metrics |
//!
//! [`warmpool`], [`sandbox`] and [`task`] have the same files: `observe` reads the cache, and what this process remembers, into one value; `plan`
//! decides from that value and a clock reading; `status` says what the status must then be (of a Task that ends, `report` does). `plan` and
//! `status` are pure and tested by tables. A write in [`effects`] that changes an object names the version it was decided on, and one that
//! creates has a name that only it can have, so that a second operator or a crash in between cannot make it wrong; what would be final is asked
//! of the API server first, since the cache may be late. Reconcile starts a run, looks at it and ends it, and never waits for a command.
//!
//! Where to look:
//!
//! | question | file |
//! |---|---|
//! | Which Sandbox gets which pod? | `cache/pairing.rs` pairs the Sandboxes, in order of creation, with the pods, in order of their `Rank`; `sandbox/plan.rs` (`without_pod`) decides the claim; `effects/pods.rs` (`claim`) writes it |
//! | What happens to a write that is refused? | `effects/failure.rs` classes it. Where the object changed meanwhile (`since` in `effects/mod.rs`), nothing is done: the watch event reconciles it again. Other failures `controller.rs` retries with growing pauses (`queue/mod.rs`), and `stalled.rs` shows them on the object. After a refused claim the pod and the Sandbox pause (`cache/refused.rs`), and the Sandbox says ClaimRefused; after a refused creation of a pod its pool pauses (`warmpool/setback.rs`, applied in `warmpool/plan.rs`) and says so. A status that is too large is shortened (`task/mod.rs`); an Event that is refused is dropped (`effects/events.rs`) |
//! | Who may delete a pod? | only `delete_pod` and `delete_unmarked` in `effects/pods.rs`. The first is called for idle pods, and those of a pool that somebody labelled otherwise, by `warmpool/carry_out.rs`, for a Sandbox's own by `sandbox/mod.rs`, as `warmpool/plan.rs` and `sandbox/plan.rs` decide, and for one with processes that cannot be ended by `task/leftovers.rs`, as `task/plan.rs` decides; the second for a pod whose marks or agent admission changed as it was created or claimed. The pods of an object that is deleted go by the cluster's garbage collector |
//! | How is a run found again after a restart? | of a pod with the agent: `task/plan.rs` (`unfollowed`) follows one that is on record, and `task/waiting.rs` sends one that is not; a run's id is its Task's uid, so that the agent (agent/src/supervise/runs.rs) follows one that it knows and starts any other. `task/mod.rs` (`start`) hands both to `runs/agent/follow.rs` and `runs/agent/attached.rs`, which take over the agent's record; `runs/agent/stream.rs` (`end_unwanted`) ends those that nobody wants. With plain exec its end is not known: Interrupted |
//! | What is asked of the API server, since the cache may be late? | what ends something for good, or makes a Sandbox claim once more: `confirm` and `is_confirmed` in `sandbox/confirm.rs`, `confirm` in `task/mod.rs`, `confirm_tasks` in `effects/confirm.rs`, `is_unfinished` in `effects/objects.rs` |
//! | What bounds a page of a list? | `PAGE` in `cache/watch.rs`, `cache/nodes.rs`, `effects/confirm.rs` and `effects/pods.rs`; where the API server streams lists, the watches of `cache/watch.rs` have no pages |
//! | How much may outputs take? | agent/src/output.rs for each, `runs/report.rs` as they arrive, `runs/quota.rs` all together, `task/report.rs` in the status |
//! | How much of what Tasks carry is in memory? | `cache/abridge.rs` while they wait; `runs/contents.rs` while they are sent: a Task that finds no room waits in `task/mod.rs` (`start`) |
//! | What does a pod's end mean? | `pod/lost.rs` |
//! | When has a Sandbox been idle for too long? | `sandbox/plan.rs` (`with_pod`, `after_release`) decides, by the time in `sandbox/idle.rs` and, since live processes count, `sandbox/live.rs` |
//! | What happens when a watch breaks? | `cache/watch.rs` lists anew while the table stays; `cache/listing.rs` takes the list over as a whole; `unseen` in `triggers.rs` says whom a list wakes because it lacks what they rest on |
//! | Who writes the words on a Task? | `task/status.rs` before its end; `task/plan.rs`, `task/waiting.rs`, `task/deletion.rs` and `task/report.rs` at its end; `stalled.rs` where a call keeps failing |
//! | What keeps several operators apart? | where leader election is asked for, the Lease, `leader/mod.rs`: the others watch and do not work (`operator/mod.rs`); without it nothing but the versions and names above, which suffice |
//! | Where does a field of a Task reach its steps? | its fields, and how much they carry, are in the crate of the kinds; `task/mod.rs` (`start`) puts together what is sent, `runs/agent/sent.rs` and `runs/script.rs` word it for the pod; `cache/abridge.rs` says what is left out before that |
//!
//! Words that have a meaning of their own here:
//!
//! | word | what it is |
//! |---|---|
//! | pool | a WarmPool |
//! | idle pod | a pod of a pool that no Sandbox holds. Its label `pod-state` is `ready`, the reference's word, even while it starts |
//! | claim | the one patch that gives an idle pod to a Sandbox |
//! | allocated | held by a Sandbox |
//! | executor container | the container of a pod that steps run in |
//! | step | one command or one file of a Task |
//! | run | the execution of a Task's steps; with the agent it goes on in the pod without the operator |
//! | agent | our program in the pod that executes a run and keeps its record; `runs::Agent` is the operator's side of it |
//! | marks | the labels and the owner by which a pod is known as its pool's or its Sandbox's |
//! | stream | the connection to an agent, through `pods/exec`, that runs are started and followed by |
//! | Exec mode, plain exec | `executor.mode: Exec`: no agent; each step is one call of `pods/exec` |
//! | effects | calls to the API server: all writes but the streams of runs, and the reads that confirm them |
//! | arrival | an object's place in its queue: when it was created and, within a second, the version it was first seen with |
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
pub mod open_files;
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
