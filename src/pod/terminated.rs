//! How a container ended, in words and by what it shows.

use super::{ContainerStatus, Pod, Terminated};

/// 128 and the numbers of TERM and KILL.
const BY_SIGNAL: [i32; 2] = [137, 143];

impl Terminated {
    /// Whether it was killed for lack of memory.
    pub fn is_out_of_memory(&self) -> bool {
        self.reason == "OOMKilled"
    }

    /// Whether the runtime could not even start it, and says why in the message.
    pub fn could_not_start(&self) -> bool {
        ["StartError", "ContainerCannotRun"].contains(&self.reason.as_str())
    }

    /// Whether it ended with its node, or the runtime or kubelet there lost track of it: no code in it can have that said.
    pub fn ended_with_its_node(&self) -> bool {
        ["Unknown", "ContainerStatusUnknown"].contains(&self.reason.as_str())
    }

    /// Whether somebody else ended it, such as the kubelet where a probe fails.
    pub fn was_signalled(&self) -> bool {
        !self.is_out_of_memory() && BY_SIGNAL.contains(&self.exit_code)
    }

    /// How the container ended, such as `exited with code 3`.
    pub fn description(&self) -> String {
        match self.reason.as_str() {
            "OOMKilled" => "was killed for lack of memory".to_owned(),
            _ if self.could_not_start() => format!("could not be started: {}", self.message),
            _ if self.ended_with_its_node() => {
                format!("ended in a way that its node does not know ({}), as when that is restarted", self.reason)
            }
            "" | "Error" | "Completed" => format!("exited with code {}", self.exit_code),
            reason => format!("exited with code {} ({reason})", self.exit_code),
        }
    }
}

impl ContainerStatus {
    /// How it ended last, or ends now.
    fn ends(&self) -> impl Iterator<Item = &Terminated> {
        self.state.terminated.iter().chain(&self.last_state.terminated)
    }

    /// How it ended after it had run.
    pub(super) fn end_of_a_run(&self) -> Option<&Terminated> {
        self.ends().find(|end| !end.could_not_start())
    }
}

impl Pod {
    /// How this executor container ended; where that is not known of this one, how the one did that its status tells of.
    pub fn end_of(&self, container_id: &str) -> Option<&Terminated> {
        let container = self.executor_status();
        let mut ends = container.into_iter().flat_map(ContainerStatus::ends).chain(&self.last_end);
        let is_it = |end: &&Terminated| end.container_id.as_deref() == Some(container_id);
        ends.find(is_it).or_else(|| container?.end_of_a_run())
    }

    /// How its executor container ended when it last ran.
    pub fn last_executor_end(&self) -> Option<&Terminated> {
        self.executor_status().and_then(ContainerStatus::end_of_a_run).or(self.last_end.as_ref())
    }

    /// Why the last attempt failed to start the executor container again, in the words of the runtime or the kubelet.
    pub fn failed_restart(&self) -> Option<String> {
        let container = self.executor_status().filter(|container| container.state.running.is_none())?;
        let waiting = container.state.waiting.as_ref();
        // That it waits after a crash is expected, and says nothing of the attempt.
        let waiting = waiting.filter(|w| !w.message.is_empty() && w.reason != "CrashLoopBackOff");
        let failed = || container.ends().next().filter(|end| end.could_not_start());
        waiting
            .map(|waiting| format!("{}: {}", waiting.reason, waiting.message))
            .or_else(|| failed().map(|end| format!("{}: {}", end.reason, end.message)))
    }
}
