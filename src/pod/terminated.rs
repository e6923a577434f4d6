//! How a container ended, in words and by what it shows.

use super::Terminated;

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
