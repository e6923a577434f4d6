//! Names of objects.

/// Whether it can be the name of an object, and so a part of an address: what was written into a status by hand may be none. See
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names>.
pub fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = bytes.first().zip(bytes.last());
        ends.is_some_and(|(first, last)| is_plain(*first) && is_plain(*last))
            && bytes.iter().all(|byte| is_plain(*byte) || *byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Whether it can be the value of a label, other than none at all, and so a part of a selector: `a,b` would be two. See
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>.
pub fn is_label_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    bytes.len() <= 63
        && ends.is_some_and(|(first, last)| first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_label_selects_nothing_else() {
        for value in ["a", "Run_7.b-c", "0", &"n".repeat(63)] {
            assert!(is_label_value(value), "{value}");
        }
        for text in ["", "a,b", "a=b", "a b", "!a", "-a", "a.", "\u{e9}", "a\n", &"n".repeat(64)] {
            assert!(!is_label_value(text), "{text:?}");
        }
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        for name in ["a", "t", "p-1", "a-1.b", "0.b-c.d", "python-pool-1.x", &"n".repeat(253)] {
            assert!(is_name(name), "{name}");
        }
        for text in [
            "",
            "..",
            "a/b",
            "../secrets/x",
            "../../../api/v1/secrets",
            "a/../../secrets/b",
            "a?b",
            "a?watch=1",
            "a?container=b",
            "a%2fb",
            "A",
            "-a",
            "a-",
            "a..b",
            "a ",
            "a\u{1b}",
            &"n".repeat(254),
        ] {
            assert!(!is_name(text), "{text:?}");
        }
    }
}
