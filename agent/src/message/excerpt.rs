//! What is kept of an output.

use minicbor::{Decode, Encode};

use crate::output::{HEAD, Output, TAIL};

/// What was kept of an output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Excerpt {
    /// Its beginning.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub head: Vec<u8>,
    /// Its end, if the beginning is not all.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub tail: Vec<u8>,
    /// How many bytes there were.
    #[n(2)]
    pub total: u64,
}

impl Excerpt {
    /// Keeps `max` bytes: a quarter of them from the beginning, the rest from the end.
    pub fn shorten(&mut self, max: usize) {
        if self.head.len() + self.tail.len() <= max {
            return;
        }
        let is_whole = self.total == (self.head.len() + self.tail.len()) as u64;
        let end = if is_whole { [self.head.as_slice(), &self.tail].concat() } else { std::mem::take(&mut self.tail) };
        self.tail = end[end.len().saturating_sub(max - max / 4)..].to_vec();
        self.head.truncate(max / 4);
        self.head.shrink_to_fit();
    }
}

impl TryFrom<Excerpt> for Output {
    type Error = &'static str;

    fn try_from(excerpt: Excerpt) -> Result<Self, &'static str> {
        let Excerpt { head, tail, total } = excerpt;
        let (total, kept) = (usize::try_from(total).unwrap_or(usize::MAX), head.len() + tail.len());
        if head.len() > HEAD || tail.len() > TAIL || total < kept {
            return Err("an output is larger than what is kept of it can be");
        }
        Ok(Self::of_parts(head, tail, total))
    }
}

impl From<&Output> for Excerpt {
    fn from(output: &Output) -> Self {
        let (head, tail, total) = output.parts();
        Self { head, tail, total: total as u64 }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Excerpts as they come from a place where the user's code runs: what is said to be kept need not fit what is.
    pub(crate) fn excerpt() -> impl Strategy<Value = Excerpt> {
        let kept = |max: usize| prop_oneof![Just(0), 1..20_usize, max - 1..max + 2];
        (kept(HEAD), kept(TAIL), prop_oneof![0..70_000_u64, any::<u64>()], any::<u8>())
            .prop_map(|(head, tail, total, byte)| Excerpt { head: vec![byte; head], tail: vec![byte; tail], total })
    }

    proptest! {
        #[test]
        fn fuzz_excerpts(excerpt in excerpt()) {
            let Excerpt { head, tail, total } = excerpt.clone();
            let kept = (head.len() + tail.len()) as u64;
            let is_possible = head.len() <= HEAD && tail.len() <= TAIL && total >= kept;
            let output = Output::try_from(excerpt.clone());
            prop_assert_eq!(output.is_ok(), is_possible);
            if let Ok(output) = output {
                prop_assert_eq!(Excerpt::from(&output), excerpt);
                prop_assert_eq!(output.text().1, total > kept);
            }
        }

        #[test]
        fn fuzz_shortened_excerpts(bytes in vec(any::<u8>(), 0..300), repeat in 1..600_usize, max in 0..2000_usize) {
            let printed = bytes.repeat(repeat);
            let mut output = Output::default();
            output.push(&printed);
            let mut excerpt = Excerpt::from(&output);
            for max in [max, max / 2] {
                excerpt.shorten(max);
                prop_assert!(excerpt.head.len() + excerpt.tail.len() <= max);
                prop_assert!(printed.starts_with(&excerpt.head) && printed.ends_with(&excerpt.tail));
                prop_assert_eq!(excerpt.total, printed.len() as u64);
                prop_assert!(Output::try_from(excerpt.clone()).is_ok());
            }
        }
    }

    #[test]
    fn a_quarter_is_kept_of_the_beginning_and_the_rest_of_the_end() {
        for (head, tail, total, expected) in [
            ("abcdefgh", "", 8, ("a", "fgh")),
            ("abcd", "efgh", 8, ("a", "fgh")),
            ("abcd", "wxyz", 26, ("a", "xyz")),
            ("abcd", "z", 26, ("a", "z")),
        ] {
            let mut excerpt = Excerpt { head: head.into(), tail: tail.into(), total };
            excerpt.shorten(4);
            let expected = Excerpt { head: expected.0.into(), tail: expected.1.into(), total };
            assert_eq!(excerpt, expected, "{head} {tail}");
        }
    }

    #[test]
    fn outputs_that_cannot_be_are_refused() {
        let excerpt = |head, tail, total| Excerpt { head: vec![0; head], tail: vec![0; tail], total };
        for bad in [excerpt(HEAD + 1, 0, 1 << 20), excerpt(0, TAIL + 1, 1 << 20), excerpt(2, 2, 3)] {
            assert!(Output::try_from(bad).is_err());
        }
        let mut output = Output::default();
        output.push(b"hello");
        assert_eq!(Output::try_from(Excerpt::from(&output)).unwrap().text(), output.text());
    }
}
