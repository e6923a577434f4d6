//! Since when a pod and its containers are as they are, by the operator's own clock: those of the API server and of the nodes may be
//! ahead of it or behind.

use jiff::Timestamp;

use super::{ContainerStatus, Pod, Terminated};

impl Pod {
    /// The same, seen at this time. A container that runs then has run since its node says, if that is no later.
    #[must_use]
    pub fn seen_at(mut self, now: Timestamp) -> Self {
        self.seen = Some(now);
        self.unready_since = (!self.is_ready()).then_some(now);
        self.down_since = self.running_container().is_none().then_some(now);
        let last_end = self.executor_status().and_then(ContainerStatus::end_of_a_run);
        self.last_end = last_end.map(|end| Terminated { message: String::new(), ..end.clone() });
        self.first_seen = Some(now);
        for running in self.containers_mut().filter_map(|c| c.state.running.as_mut()) {
            running.since = running.started_at.as_ref().map(|at| at.0.min(now));
        }
        self
    }

    /// What was seen of the same pod before goes on.
    pub fn succeed(&mut self, before: &Self) {
        if self.unready_since.is_some() {
            self.unready_since = before.unready_since.or(self.unready_since);
        }
        if self.down_since.is_some() {
            self.down_since = before.down_since.or(self.down_since);
        }
        self.first_seen = before.first_seen.or(self.first_seen);
        self.last_end = self.last_end.take().or_else(|| before.last_end.clone());
        let seen = self.seen;
        for container in self.containers_mut() {
            let same =
                before.containers().find(|c| c.name == container.name && c.restart_count == container.restart_count);
            let since = same.and_then(|before| before.state.running.as_ref()?.since).or(seen);
            if let Some(running) = &mut container.state.running {
                running.since = since;
            }
        }
    }

    fn containers(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.status.init_container_statuses.iter().chain(&self.status.container_statuses)
    }

    fn containers_mut(&mut self) -> impl Iterator<Item = &mut ContainerStatus> {
        self.status.init_container_statuses.iter_mut().chain(&mut self.status.container_statuses)
    }
}
