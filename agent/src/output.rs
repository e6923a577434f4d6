//! What a step prints, bounded: the beginning and the end are kept, the middle is counted.

use std::collections::VecDeque;

/// Bytes kept of the beginning of a stream.
pub const HEAD: usize = 16 * 1024;
/// Bytes kept of its end.
pub const TAIL: usize = 48 * 1024;
/// Bytes kept of all outputs of a run: a Task's status cannot show more.
pub const RUN_MAX: usize = 512 * 1024;
/// What is kept of an output where that would be too much. Earlier steps make room for later ones, which tell more of the end.
pub const SHORT: usize = 1024;

/// A stream being drained. It never holds more than [`HEAD`] + [`TAIL`] bytes.
#[derive(Clone, Debug, Default)]
pub struct Output {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: usize,
}

impl Output {
    /// Takes what was printed next.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = if self.is_cut() { 0 } else { HEAD - self.head.len() };
        self.total += bytes.len();
        let (first, rest) = bytes.split_at(bytes.len().min(room));
        self.head.extend_from_slice(first);
        let rest = &rest[rest.len().saturating_sub(TAIL)..];
        let excess = (self.tail.len() + rest.len()).saturating_sub(TAIL);
        self.tail.drain(..excess);
        self.tail.extend(rest);
    }

    /// How many bytes were printed.
    pub fn printed(&self) -> usize {
        self.total
    }

    /// Whether something was left out.
    pub fn is_cut(&self) -> bool {
        self.total > self.kept()
    }

    /// How many bytes are kept.
    pub fn kept(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Keeps at most `max` bytes: a quarter of them from the beginning, the rest from the end.
    pub fn shorten(&mut self, max: usize) {
        if self.kept() <= max {
            return;
        }
        let mut tail = std::mem::take(&mut self.tail);
        if tail.len() < max - max / 4 {
            // Nothing was left out so far: what is kept in two parts is one.
            self.head.iter().rev().for_each(|byte| tail.push_front(*byte));
        }
        // Copied, and not cut where it is: what that leaves free of a block fits no other output of the same size, so that memory would grow with
        // every output that was ever shortened.
        self.tail = tail.iter().skip(tail.len() - (max - max / 4)).copied().collect();
        self.head = self.head[..self.head.len().min(max / 4)].to_vec();
    }

    /// What was kept: of the beginning, of the end, and how many bytes there were.
    pub fn parts(&self) -> (Vec<u8>, Vec<u8>, usize) {
        (self.head.clone(), self.tail.iter().copied().collect(), self.total)
    }

    /// What [`Output::parts`] gave.
    pub(crate) fn of_parts(head: Vec<u8>, tail: Vec<u8>, total: usize) -> Self {
        Self { head, tail: tail.into(), total }
    }

    /// What was kept, as text, and whether something was left out.
    pub fn text(&self) -> (String, bool) {
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        if !self.is_cut() {
            let whole = [self.head.as_slice(), &tail].concat();
            return (String::from_utf8_lossy(&whole).into_owned(), false);
        }
        let (head, tail) = (whole_end(&self.head), whole_start(&tail));
        let left_out = self.total - head.len() - tail.len();
        (format!("{}{}{}", String::from_utf8_lossy(head), marker(left_out), String::from_utf8_lossy(tail)), true)
    }
}

fn marker(bytes: usize) -> String {
    format!("\n[... {bytes} bytes left out ...]\n")
}

/// Without a character that was cut at the end.
fn whole_end(bytes: &[u8]) -> &[u8] {
    let lead = bytes.iter().rev().take(4).position(|b| b & 0xc0 != 0x80);
    let Some(back) = lead else { return bytes };
    let start = bytes.len() - 1 - back;
    let len = match bytes[start] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    if start + len > bytes.len() { &bytes[..start] } else { bytes }
}

/// Without a character that was cut at the start.
fn whole_start(bytes: &[u8]) -> &[u8] {
    let cut = bytes.iter().take(3).take_while(|b| **b & 0xc0 == 0x80).count();
    &bytes[cut..]
}

/// `text` in at most about `max` bytes: a quarter of it from the beginning, the rest from the end.
pub fn shorten(text: &str, max: usize) -> Option<String> {
    if text.len() <= max {
        return None;
    }
    let (head, tail) = ends(text, max);
    let cut = &text[head.len()..text.len() - tail.len()];
    let left_out = match left_out_before(cut) {
        None => cut.len(),
        Some(bytes) => (cut.len() - marker(bytes).len()).saturating_add(bytes),
    };
    Some(format!("{head}{}{tail}", marker(left_out)))
}

/// What [`shorten`] keeps of a text that is longer than `max`.
pub fn ends(text: &str, max: usize) -> (&str, &str) {
    let head = &text[..text.floor_char_boundary(max / 4)];
    (head, &text[text.ceil_char_boundary(text.len().saturating_sub(max - max / 4))..])
}

/// What a marker in `text` says was left out there: it is left out in turn, and what it stood for still counts.
fn left_out_before(text: &str) -> Option<usize> {
    let (before, _) = text.rsplit_once(" bytes left out ...]\n")?;
    let (_, number) = before.rsplit_once("\n[... ")?;
    number.parse().ok().filter(|bytes: &usize| bytes.to_string() == number)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// What programs print: a few bytes again and again, text or not, up to somewhat more than is kept.
    fn print() -> impl Strategy<Value = Vec<u8>> {
        let bytes = prop_oneof![
            ".{1,30}".prop_map(String::into_bytes),
            vec(any::<u8>(), 1..30),
            vec(prop::sample::select(&[0x7f, 0x80, 0xbf, 0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0xff][..]), 1..8),
        ];
        let length = prop_oneof![0..100_usize, HEAD - 5..HEAD + 5, HEAD + TAIL - 5..HEAD + TAIL + 5, 0..100_000_usize];
        (bytes, length).prop_map(|(bytes, length)| bytes.into_iter().cycle().take(length).collect())
    }

    proptest! {
        #[test]
        fn fuzz_output(bytes in print(), chunk in prop_oneof![1..9_usize, 1..70_000_usize]) {
            let output = printed(&bytes, chunk);
            let rest = &bytes[bytes.len().min(HEAD)..];
            let kept = (bytes[..bytes.len().min(HEAD)].to_vec(), rest[rest.len().saturating_sub(TAIL)..].to_vec());
            prop_assert_eq!(output.parts(), (kept.0, kept.1, bytes.len()));

            let (text, truncated) = output.text();
            prop_assert_eq!(truncated, bytes.len() > HEAD + TAIL);
            let whole = String::from_utf8_lossy(&bytes);
            if !truncated {
                prop_assert_eq!(text, whole);
            } else if let Ok(printed) = std::str::from_utf8(&bytes) {
                // Text stays text: nothing is replaced, and the sum is right.
                let (start, rest) = text.split_once("\n[... ").unwrap();
                let (left_out, end) = rest.split_once(" bytes left out ...]\n").unwrap();
                prop_assert_eq!(start.len() + left_out.parse::<usize>().unwrap() + end.len(), bytes.len());
                prop_assert!(printed.starts_with(start) && printed.ends_with(end));
                prop_assert!((HEAD - 3..=HEAD).contains(&start.len()) && (TAIL - 3..=TAIL).contains(&end.len()));
            }
        }

        #[test]
        fn fuzz_shorten_an_output(bytes in print(), chunk in 1..70_000_usize, max in 0..70_000_usize, next in 0..2_000_usize) {
            let mut output = printed(&bytes, chunk);
            let (is_longer, kept) = (output.kept() > max, output.parts());
            output.shorten(max);
            if is_longer {
                let ends = (bytes[..max / 4].to_vec(), bytes[bytes.len() - (max - max / 4)..].to_vec(), bytes.len());
                prop_assert_eq!(output.parts(), ends);
            } else {
                prop_assert_eq!(output.parts(), kept);
            }
            let cut = output.is_cut();
            output.push(&vec![b'n'; next]);
            prop_assert_eq!(output.printed(), bytes.len() + next);
            prop_assert!(!cut || output.parts().0.len() <= HEAD && output.parts().0.iter().eq(&bytes[..output.parts().0.len()]));
        }

        /// What was left out before still counts.
        #[test]
        fn fuzz_shorten(text in "[^\\[]{0,300}", first in prop_oneof![Just(1_000), 40..300_usize], max in 0..700_usize) {
            let once = shorten(&text, first).unwrap_or_else(|| text.clone());
            let max = if once == text { max } else { max.min(first / 2) };
            let Some(short) = shorten(&once, max) else {
                prop_assert!(once.len() <= max);
                return Ok(());
            };
            prop_assert!(once.len() > max);
            let (head, rest) = short.split_once("\n[... ").unwrap();
            let (left_out, tail) = rest.split_once(" bytes left out ...]\n").unwrap();
            prop_assert!(text.starts_with(head) && text.ends_with(tail));
            prop_assert!(head.len() <= max / 4 && tail.len() <= max - max / 4 && head.len() + tail.len() + 6 >= max);
            prop_assert_eq!(head.len() + left_out.parse::<usize>().unwrap() + tail.len(), text.len());
        }

        /// What a program prints may look like the mark of what was left out.
        #[test]
        fn fuzz_shorten_what_looks_shortened(
            parts in vec("\n\\[\\.\\.\\. (18446744073709551615|[0-9]{0,25}) bytes left out \\.\\.\\.\\]\n|.{0,9}", 0..9),
            max in 0..90_usize,
        ) {
            let text = parts.concat();
            prop_assert!(shorten(&text, max).is_none_or(|short| short.len() <= max + 50));
        }
    }

    fn printed(bytes: &[u8], chunk: usize) -> Output {
        let mut output = Output::default();
        bytes.chunks(chunk.max(1)).for_each(|c| output.push(c));
        output
    }

    #[test]
    fn what_fits_is_kept_whole() {
        for len in [0, 1, HEAD, HEAD + 1, HEAD + TAIL] {
            let bytes = vec![b'x'; len];
            assert_eq!(printed(&bytes, 1000).text(), ("x".repeat(len), false), "{len}");
        }
    }

    #[test]
    fn the_middle_is_left_out_and_counted() {
        let bytes: Vec<u8> = (0..HEAD + TAIL + 5000).map(|i| b'a' + u8::try_from(i % 26).unwrap()).collect();
        for chunk in [1, 777, bytes.len()] {
            let (text, truncated) = printed(&bytes, chunk).text();
            assert!(truncated);
            let expected = format!(
                "{}\n[... 5000 bytes left out ...]\n{}",
                std::str::from_utf8(&bytes[..HEAD]).unwrap(),
                std::str::from_utf8(&bytes[HEAD + 5000..]).unwrap()
            );
            assert_eq!(text, expected, "{chunk}");
        }
    }

    #[test]
    fn no_character_is_cut() {
        for (character, pad) in ["\u{e9}", "\u{20ac}", "\u{1f980}"].iter().flat_map(|c| (0..4).map(move |pad| (c, pad)))
        {
            let text = "y".repeat(pad) + &character.repeat(40_000);
            let (kept, truncated) = printed(text.as_bytes(), 4093).text();
            assert!(truncated && !kept.contains('\u{fffd}'), "{character}, pad {pad}");
        }
    }

    #[test]
    fn an_output_is_shortened_to_any_length() {
        for (max, kept) in [(0, ""), (1, "s"), (3, "its"), (4, "bits"), (7, "bd bits"), (100, "bits and bits")] {
            let mut output = printed(b"bits and bits", 2);
            output.shorten(max);
            let (head, tail, total) = output.parts();
            assert_eq!(([head, tail].concat(), total), (kept.as_bytes().to_vec(), 13), "{max}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(printed(b"a\xff\xfeb", 1).text().0, "a\u{fffd}\u{fffd}b");
    }

    #[test]
    fn shortening_keeps_head_and_tail() {
        assert_eq!(shorten("short", 5), None);
        let short = shorten(&"\u{e9}".repeat(1000), 100).unwrap();
        assert!(short.len() < 160 && short.contains("left out"));
    }
}
