//! The memory for what was printed and is to be read, divided among all that is in progress.

use arl_agent::message::live::WINDOW;

use super::Live;

/// The most bytes of outputs and inputs that are held for all of them. They are memory of the container.
const TOTAL_MAX: usize = 8 * 1024 * 1024;
/// What each may hold in any case, so that it goes on: it is set aside.
const SHARE_MIN: usize = 4 * 1024;

impl Live {
    /// Divides the memory among those that run. Those that have ended have at most half of it, and what their clients have not taken.
    pub(super) fn divide(&mut self) {
        let over = self.processes.values().filter(|process| process.is_over()).count();
        let mut held = 0;
        for process in self.processes.values_mut().filter(|process| process.is_over()) {
            process.trim((TOTAL_MAX / 4 / over.max(1)).min(WINDOW));
            held += process.weight();
        }
        let running = || self.processes.values().filter(|process| !process.is_over());
        let needed: Vec<usize> = running().flat_map(super::Process::needed).collect();
        let total = TOTAL_MAX.saturating_sub(held + needed.len() * SHARE_MIN);
        self.share = share(&needed, total).clamp(SHARE_MIN, WINDOW);
        for process in self.processes.values_mut().filter(|process| !process.is_over()) {
            process.trim(self.share * process.shares());
        }
        if needed.is_empty() {
            (self.scratch, self.chunk) = (Vec::new(), Vec::new());
        }
    }
}

/// How much each may hold, where some need more, so that all of them hold no more than `total`.
fn share(needed: &[usize], total: usize) -> usize {
    let mut share = total / needed.len().max(1);
    while share > SHARE_MIN {
        let (count, sum) =
            needed.iter().filter(|needed| **needed > share).fold((0, 0), |(n, sum), needed| (n + 1, sum + needed));
        let rest = total.saturating_sub(sum) / (needed.len() - count).max(1);
        if rest >= share {
            break;
        }
        share = rest;
    }
    share
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        /// Whoever holds what, all that may be held stays within what there is, as long as that is not held already.
        #[test]
        fn fuzz_shares_are_within_the_total(needed in vec(0..300_000_usize, 0..60), total in 0..(8_usize << 20)) {
            let share = share(&needed, total);
            let all: usize = needed.iter().map(|needed| share.max(*needed)).sum();
            let most = total.max(needed.iter().sum()) + needed.len() * SHARE_MIN;
            prop_assert!(all <= most, "{share}: {all} of {most}");
            prop_assert!(needed.iter().any(|needed| *needed > total / 60) || share >= total / needed.len().max(1));
        }
    }
}
