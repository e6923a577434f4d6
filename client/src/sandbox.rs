//! A Sandbox that was claimed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arl_crds::{
    Sandbox as SandboxObject, Step, Task as TaskObject, TaskSpec, TaskState, TaskStatus, condition, reason::TaskReason,
};
use kube::api::{Patch, PatchParams};
use tokio::sync::watch;

use crate::{
    client::Client,
    command::Command,
    error::{Error, Fault},
    files::Files,
    process::{Finished, Process},
    session::Session,
    watch::{Seen, refused, unreadable},
};

/// A Sandbox. Clones share its session. It stays until it is released, or idle too long; dropping this does not release it.
#[derive(Clone, Debug)]
pub struct Sandbox {
    client: Client,
    name: Arc<str>,
    /// Another of its name may come after it.
    uid: Option<Arc<str>>,
    pool: Arc<str>,
    session: Session,
    /// How many Tasks have not finished, where it is released after the last of them.
    until_released: Option<Arc<AtomicUsize>>,
}

impl Sandbox {
    pub(crate) fn new(
        client: Client,
        name: String,
        uid: Option<String>,
        pool: String,
        session: Session,
        keep: bool,
    ) -> Self {
        let until_released = (!keep).then(Arc::default);
        Self { client, name: name.into(), uid: uid.map(Into::into), pool: pool.into(), session, until_released }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The name of its pool.
    pub fn pool(&self) -> &str {
        &self.pool
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its uid, which no other has; none where the API server did not say.
    pub fn uid(&self) -> Option<&str> {
        self.uid.as_deref()
    }

    /// The name of its pod.
    pub fn pod(&self) -> &str {
        &self.session.place().pod
    }

    /// Its live processes and files.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Runs a command to its end: see [`Session::run`].
    pub async fn run(&self, command: Command) -> Result<Finished, Error> {
        self.session.run(command).await
    }

    /// Starts a process: see [`Session::start`].
    pub async fn start(&self, command: Command) -> Result<Process, Error> {
        self.session.start(command).await
    }

    /// Its files.
    pub fn files(&self) -> Files {
        self.session.files()
    }

    /// Runs a Task object in it, the audited way, and returns its result. A Task that failed is a result too. Where this is dropped before it
    /// has finished, the Task is deleted, which ends what it runs.
    pub async fn task(&self, steps: Vec<Step>, timeout: Option<Duration>) -> Result<TaskStatus, Error> {
        let Some(unfinished) = &self.until_released else { return self.run_task(steps, timeout).await };
        let unfinished = Unfinished::count(unfinished);
        let result = self.run_task(steps, timeout).await;
        if result.is_ok()
            && unfinished.end()
            && let Err(error) = self.release().await
        {
            tracing::warn!(sandbox = self.name(), %error, "a Sandbox that was to be released after its Task is left to its idle time");
        }
        result
    }

    async fn run_task(&self, steps: Vec<Step>, timeout: Option<Duration>) -> Result<TaskStatus, Error> {
        let name = format!("{}-{:08x}", self.name, fastrand::u32(..));
        let timeout = timeout.map(|timeout| format!("{}ms", timeout.as_millis()));
        let mut spec = serde_json::json!({ "sandboxRef": &*self.name, "steps": steps });
        if let Some(timeout) = timeout {
            spec["timeout"] = timeout.into();
        }
        let spec: TaskSpec = serde_json::from_value(spec).map_err(|error| Error::Usage(error.to_string()))?;
        let mut object = TaskObject::new(&name, spec);
        object.metadata.labels = Some(self.client.labels().into_iter().collect());
        let seen = self.client.watched_tasks().object(&name);
        let provisional = self.client.create(self.client.tasks(), object).await?;
        let result = self.end_of(&name, seen).await?;
        provisional.keep();
        Ok(result)
    }

    /// What a Task that was created comes to.
    async fn end_of(&self, name: &str, mut seen: watch::Receiver<Seen<TaskObject>>) -> Result<TaskStatus, Error> {
        let finished = |task: &TaskObject| {
            let is_finished = |status: &&TaskStatus| status.state.is_some_and(TaskState::is_finished);
            task.status.as_ref().filter(is_finished).cloned()
        };
        let deleted = || Error::Usage(format!("Task {name} was deleted before its end was known"));
        loop {
            let now = seen.borrow_and_update().clone();
            match now {
                Seen::There(task) => {
                    if let Some(status) = finished(&task) {
                        return Ok(status);
                    }
                    if let Some(error) = self.missed_by(&task).await {
                        return Err(error);
                    }
                }
                Seen::Deleted(task) => return finished(&task).ok_or_else(deleted),
                Seen::Unreadable(why) => return Err(unreadable(format!("Task {name}"), &why)),
                Seen::Refused(status) => return Err(refused("Tasks", &status)),
                // Unless the list is older than the Task, that came and went between two watches.
                Seen::Unlisted if matches!(self.client.tasks().get_opt(name).await, Ok(None)) => return Err(deleted()),
                Seen::Unlisted | Seen::Unknown => {}
            }
            seen.changed().await.map_err(|_| Error::Usage("the client was dropped".into()))?;
        }
    }

    /// Why a Task that waits for this Sandbox waits in vain: it would wait for another of its name.
    async fn missed_by(&self, task: &TaskObject) -> Option<Error> {
        let finished = condition::find(&task.status.as_ref()?.conditions, "Finished")?;
        if finished.reason != TaskReason::SandboxNotFound.as_str() {
            return None;
        }
        // An operator may not have heard of the Sandbox yet.
        let found = self.client.sandboxes().get_opt(&self.name).await.ok()?;
        let is_this = |found: &SandboxObject| {
            found.metadata.deletion_timestamp.is_none() && found.metadata.uid.as_deref() == self.uid()
        };
        let message = format!("Sandbox {} was deleted", self.name);
        (!found.as_ref().is_some_and(is_this)).then(|| Error::PodLost {
            pod: self.pod().to_owned(),
            message,
            fault: Fault::Usage,
        })
    }

    /// Deletes it once it has been idle for so long, whatever its claim said; whole seconds, rounded up. Needs the right to patch Sandboxes.
    pub async fn set_idle_ttl(&self, ttl: Duration) -> Result<(), Error> {
        let mut change = serde_json::json!({ "spec": { "ttlSecondsAfterFinished": ttl_seconds(ttl) } });
        if let Some(uid) = &self.uid {
            change["metadata"]["uid"] = (**uid).into();
        }
        let patched = self.client.sandboxes().patch(&self.name, &PatchParams::default(), &Patch::Merge(change)).await;
        patched.map(drop).map_err(Error::api("change", format!("Sandbox {}", self.name)))
    }

    /// Gives it up: the Sandbox and its pod are deleted; another of its name, claimed since, is not. Where the API server does not answer, that is tried for some 15 s.
    /// Once it is done, commands and files of this Sandbox and its clones fail.
    pub async fn release(&self) -> Result<(), Error> {
        self.client.release(&self.name, self.uid.as_deref()).await?;
        self.session.release();
        Ok(())
    }
}

/// A Task that has not finished, among those of a Sandbox.
struct Unfinished<'a>(&'a AtomicUsize);

impl<'a> Unfinished<'a> {
    fn count(all: &'a AtomicUsize) -> Self {
        all.fetch_add(1, Ordering::SeqCst);
        Self(all)
    }

    /// Ends it; whether no other is left.
    fn end(self) -> bool {
        let all = self.0;
        std::mem::forget(self);
        all.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An idle time as a spec has it, which knows whole seconds; 0 would be none at all.
pub(crate) fn ttl_seconds(ttl: Duration) -> i32 {
    let seconds = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0));
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_time_is_rounded_up_to_whole_seconds() {
        for (ttl, seconds) in [
            (Duration::ZERO, 0),
            (Duration::from_millis(1), 1),
            (Duration::from_secs(1), 1),
            (Duration::from_millis(1500), 2),
            (Duration::MAX, i32::MAX),
        ] {
            assert_eq!(ttl_seconds(ttl), seconds, "{ttl:?}");
        }
    }
}
