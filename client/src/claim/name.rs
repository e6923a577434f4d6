//! Names of Sandboxes.

/// So much of a pool's name is in that of a Sandbox, which fits into a label.
const POOL_MAX: usize = 50;

/// A name for a Sandbox of `pool`, at random, of 63 characters at most.
pub fn name_for(pool: &str) -> String {
    named(pool, fastrand::u64(..1 << 48))
}

fn named(pool: &str, number: u64) -> String {
    let start = &pool[..pool.floor_char_boundary(POOL_MAX)];
    format!("{}-{number:012x}", start.trim_end_matches(['-', '.']))
}

/// Whether an object can have this name: it becomes part of a path.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names>
pub(super) fn can_be(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    (1..=253).contains(&name.len()) && name.chars().all(inner) && !name.starts_with('.') && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path() {
        for (name, is_name) in [
            ("python-pool-1.x", true),
            ("", false),
            ("..", false),
            ("a/../../secrets/b", false),
            ("a?container=b", false),
            ("A", false),
            (&"a".repeat(254), false),
        ] {
            assert_eq!(can_be(name), is_name, "{name}");
        }
    }

    #[test]
    fn a_sandbox_is_named_for_its_pool_in_63_characters() {
        assert_eq!(named("python-pool", 0xab), "python-pool-0000000000ab");
        assert_eq!(named(&"x".repeat(63), (1 << 48) - 1).len(), 63);
        assert_eq!(named(&format!("{}-y", "x".repeat(49)), 0), format!("{}-000000000000", "x".repeat(49)));
    }
}
