//! What a row says of the setup of its Sandbox.

use arl_crds::{SetupStatus, TaskState, name::is_name};

use super::{rows::SandboxRow, table::Row};
use crate::object::{Key, Uid};

impl SandboxRow {
    /// What is on record of its setup.
    pub fn setup(&self) -> Option<&SetupStatus> {
        self.status()?.setup.as_ref()
    }

    /// The Task on record that sets it up.
    pub fn setup_task(&self) -> Option<(Key, Uid)> {
        let setup = self.setup().filter(|setup| is_name(&setup.task))?;
        Some((self.key().sibling(&setup.task), Uid(setup.task_uid.clone())))
    }

    /// Whether Tasks may run in it: it has no setup, or that has succeeded, by what is on record.
    pub fn is_set_up(&self) -> bool {
        self.sandbox.spec.setup.is_none() || self.setup().is_some_and(|setup| setup.state == TaskState::Succeeded)
    }
}
