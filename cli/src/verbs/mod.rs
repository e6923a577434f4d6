//! A verb a module: its flags, and what it does.

pub mod claim;
pub mod completion;
pub mod cp;
pub mod exec;
pub mod get;
pub mod kill;
pub mod ps;
pub mod release;
pub mod run;
pub mod shell;
