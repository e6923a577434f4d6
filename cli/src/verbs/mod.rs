//! A verb a module: its flags, and what it does.

pub mod claim;
pub mod completion;
pub mod cp;
pub mod doctor;
pub mod exec;
pub mod get;
pub mod kill;
pub mod man;
pub mod pool;
pub mod ps;
pub mod reap;
pub mod release;
pub mod report;
pub mod run;
pub mod shell;
pub mod snapshot;
pub mod task;
pub mod top;
pub mod ui;
pub mod version;
pub mod wait;
pub mod why;
