//! When claims count as one burst. What costs a node time that those who claim wait for, pods and streams that nobody waits for yet, is
//! put off until a burst is over.

use std::time::Duration;

/// Claims that follow each other within this time are of one burst.
pub const QUIET: Duration = Duration::from_millis(500);
/// A burst puts off what comes after it for this long at most.
pub const AT_MOST: Duration = Duration::from_secs(5);
