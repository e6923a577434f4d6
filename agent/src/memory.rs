//! Whether processes of the container were killed for lack of memory.

use std::fs;

/// Where the kernel counts the processes of this container that it kills for memory, be it at the container's limit, at the pod's or where the
/// node has no more: control groups version 2 and 1.
const COUNTERS: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

/// How many it has killed, where that can be known.
pub fn kills() -> Option<u64> {
    COUNTERS.iter().find_map(|path| count(&fs::read_to_string(path).ok()?))
}

fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_versions_are_read() {
        assert_eq!(super::count("low 0\nhigh 0\nmax 2\noom 1\noom_kill 3\n"), Some(3));
        assert_eq!(super::count("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"), Some(4));
        assert_eq!(super::count("anything"), None);
    }
}
