//! Texts of others, made fit to be shown: what a container, a kubelet or a webhook says ends up in conditions, Events and logs,
//! which people read in terminals.

use std::error::Error;

/// What stands where a text was cut.
const CUT: &str = " [...]";

/// The text on one line of at most `max` bytes, without what a terminal or a browser would act on: control characters (with them
/// the escape sequences of terminals) become spaces, marks that are not seen or turn the direction of writing are left out.
pub fn printable(text: &str, max: usize) -> String {
    // Whatever is left out, this much cannot be needed: a text of megabytes is not walked through.
    let bounded = &text[..text.floor_char_boundary(max.saturating_mul(4))];
    let mut shown: String = bounded.chars().filter_map(shown).collect();
    if shown.len() > max || bounded.len() < text.len() {
        shown.truncate(shown.floor_char_boundary(max.saturating_sub(CUT.len())));
        shown.push_str(CUT);
    }
    shown
}

/// An error with what led to it: many errors' own words end before their cause.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let reason = cause.to_string();
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        source = cause.source();
    }
    text
}

/// Whether a part of it was cut.
pub fn is_cut(text: &str) -> bool {
    text.contains(CUT)
}

fn shown(c: char) -> Option<char> {
    match c {
        '\u{2028}' | '\u{2029}' => Some(' '),
        // <https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>, and what has no width.
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => None,
        c if c.is_control() => Some(' '),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_cause_is_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Caused(&'static str, #[source] Option<Box<Caused>>);
        let caused = |text, by| Caused(text, by);
        let error = caused("a", Some(Box::new(caused("a: b", Some(Box::new(caused("b", None)))))));
        assert_eq!(with_causes(&error), "a: a: b");
        assert_eq!(with_causes(&caused("x", Some(Box::new(caused("y", None))))), "x: y");
    }

    #[test]
    fn what_a_terminal_would_act_on_is_taken_out() {
        for (given, expected) in [
            ("plain: \u{e4}\u{2713} \u{1f600}", "plain: \u{e4}\u{2713} \u{1f600}"),
            ("a\nb\tc\r\n\0d", "a b c   d"),
            ("\u{1b}[2J\u{1b}[31mred\u{9b}0m", " [2J [31mred 0m"),
            ("user\u{202e}txt.exe\u{2066}x\u{2069}", "usertxt.exex"),
            ("no\u{200b}width\u{feff}\u{e0041}", "nowidth"),
            ("line\u{2028}paragraph\u{2029}end", "line paragraph end"),
        ] {
            assert_eq!(printable(given, 100), expected);
        }
    }

    #[test]
    fn what_is_too_long_says_that_it_was_cut() {
        assert_eq!(printable(&"x".repeat(100), 20), format!("{}{CUT}", "x".repeat(14)));
        assert!(is_cut(&format!("why: {}; what to do", printable(&"x".repeat(100), 20))) && !is_cut("x [..]"));
        assert_eq!(printable(&"\u{202e}".repeat(1_000_000), 20), CUT);
        assert_eq!(printable("exactly", 7), "exactly");
    }

    proptest! {
        #[test]
        fn fuzz_texts_are_bounded_and_stay_as_they_are(text: String, max in CUT.len()..64) {
            let once = printable(&text, max);
            prop_assert!(once.len() <= max, "{once:?}");
            prop_assert!(!once.contains(char::is_control));
            prop_assert_eq!(&printable(&once, max), &once);
        }
    }
}
