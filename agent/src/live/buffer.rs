//! The last bytes of an output, with the offset at which they stand in it.

use std::collections::VecDeque;

/// What is kept of an output.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: VecDeque<u8>,
    end: u64,
}

impl Buffer {
    /// The offset of the first byte that is kept.
    pub fn start(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }

    /// How many bytes there were.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Adds bytes, and keeps the last `keep` of all.
    pub fn push(&mut self, bytes: &[u8], keep: usize) {
        self.end += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(keep)..];
        self.trim(keep - bytes.len());
        self.bytes.reserve_exact(bytes.len());
        self.bytes.extend(bytes);
    }

    /// Keeps only the last `keep` bytes.
    pub fn trim(&mut self, keep: usize) {
        self.bytes.drain(..self.bytes.len().saturating_sub(keep));
        if self.bytes.is_empty() || self.bytes.capacity() > 2 * keep.max(self.bytes.len()) {
            self.bytes.shrink_to_fit();
        }
    }

    /// Adds to `bytes` at most `max` from `offset` on, or from the first that is kept after it; returns the offset of the first.
    pub fn read(&self, offset: u64, max: usize, bytes: &mut Vec<u8>) -> u64 {
        let offset = offset.clamp(self.start(), self.end);
        let from = usize::try_from(offset - self.start()).unwrap_or(usize::MAX).min(self.bytes.len());
        let to = from.saturating_add(max).min(self.bytes.len());
        let (first, second) = self.bytes.as_slices();
        let mut add = |slice: &[u8], from: usize, to: usize| {
            bytes.extend_from_slice(&slice[from.min(slice.len())..to.min(slice.len())]);
        };
        add(first, from, to);
        add(second, from.saturating_sub(first.len()), to.saturating_sub(first.len()));
        offset
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        /// Whatever is read is what was printed at that offset, and no more than asked for is kept.
        #[test]
        fn fuzz_what_is_read_is_what_was_printed(
            prints in vec((vec(any::<u8>(), 0..40), 0..60_usize), 0..20), offset in 0..500_u64, max in 0..50_usize
        ) {
            let (mut buffer, mut all) = (Buffer::default(), Vec::new());
            for (bytes, keep) in prints {
                buffer.push(&bytes, keep);
                all.extend(bytes);
                prop_assert!(buffer.bytes.len() <= keep);
                prop_assert_eq!(buffer.end(), all.len() as u64);
                let mut read = Vec::new();
                let at = buffer.read(offset, max, &mut read);
                prop_assert!(at >= offset.min(buffer.end()) && read.len() <= max);
                let from = usize::try_from(at).unwrap();
                prop_assert_eq!(&all[from..from + read.len()], &read[..]);
                let rest = buffer.end() - at;
                prop_assert_eq!(read.len() as u64, rest.min(max as u64));
            }
        }
    }

    #[test]
    fn memory_is_given_back_where_it_is_more_than_twice_what_is_kept() {
        let mut buffer = Buffer::default();
        buffer.push(&[1; 1000], 1000);
        for (keep, stays) in [(600, true), (400, false)] {
            buffer.trim(keep);
            assert_eq!(buffer.bytes.capacity() >= 1000, stays, "{keep}");
        }
        buffer.trim(0);
        assert_eq!((buffer.start(), buffer.end(), buffer.bytes.capacity()), (1000, 1000, 0));
    }
}
