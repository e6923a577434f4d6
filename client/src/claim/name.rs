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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_is_named_for_its_pool_in_63_characters() {
        assert_eq!(named("python-pool", 0xab), "python-pool-0000000000ab");
        assert_eq!(named(&"x".repeat(63), (1 << 48) - 1).len(), 63);
        assert_eq!(named(&format!("{}-y", "x".repeat(49)), 0), format!("{}-000000000000", "x".repeat(49)));
    }
}
